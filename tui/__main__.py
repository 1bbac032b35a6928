"""`skydeck`: the app, or one command. Decides which before anything heavy is imported: `--version` answers at once,
and the app's first paint does not wait for the command line's libraries."""

from __future__ import annotations

import os
import sys

from tui.cli import COMPLETING

LOCATOR = (":", "/")
"""What a view locator begins with: `:inst /web`."""


def main() -> int:
    """Run what the arguments ask for and answer the exit status."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        print(f"skydeck {_version()}")
        return 0
    if COMPLETING not in os.environ and (not arguments or arguments[0].startswith(LOCATOR)):
        from tui.app import run

        run(" ".join(arguments) or None)
        return 0
    from tui.cli.root import main as command

    return command(arguments)


def _version() -> str:
    # importlib.metadata alone takes longer to import than all the rest: it is asked for here only.
    from importlib.metadata import version

    return version("skydeck")


if __name__ == "__main__":
    sys.exit(main())
