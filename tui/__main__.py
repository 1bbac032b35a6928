"""`skydeck`: the app, or one command. Decides which before anything heavy is imported: `--version` answers at once,
and the app's first paint does not wait for the command line's libraries."""

from __future__ import annotations

import os
import sys

from tui.cli import COMPLETING

VERSION = "0.1.0"
"""As in pyproject.toml; a test compares them. Asking importlib.metadata doubles the time of `--version`."""

LOCATOR = (":", "/")
"""What a view locator begins with: `:inst /web`."""


def main() -> int:
    """Run what the arguments ask for and answer the exit status."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        print(f"skydeck {VERSION}")
        return 0
    if COMPLETING not in os.environ and (not arguments or arguments[0].startswith(LOCATOR)):
        from tui.app import run

        run(" ".join(arguments) or None)
        return 0
    from tui.cli.root import main as command

    return command(arguments)


if __name__ == "__main__":
    sys.exit(main())
