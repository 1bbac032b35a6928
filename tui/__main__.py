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

FLAGS = ("--read-only", "--ascii", "--theme")
"""Of the app; before a locator or alone. The last is followed by a name."""


def opening(arguments: list[str]) -> tuple[dict[str, bool | str], str] | None:
    """What the app is opened with, (settings, locator), when it is the app that these arguments mean."""
    settings: dict[str, bool | str] = {}
    left = list(arguments)
    while left and left[0].partition("=")[0] in FLAGS:
        flag, _, value = left.pop(0).partition("=")
        if flag == "--theme":
            settings["theme"] = value or (left.pop(0) if left else "")
        elif value:
            return None
        else:
            settings["read_only" if flag == "--read-only" else "ascii_only"] = True
    if left and not left[0].startswith(LOCATOR):
        return None
    return settings, " ".join(left)


def main() -> int:
    """Run what the arguments ask for and answer the exit status."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        print(f"skydeck {VERSION}")
        return 0
    if COMPLETING not in os.environ and (opened := opening(arguments)) is not None:
        from tui.app import run

        settings, locator = opened
        run(locator or None, **settings)  # type: ignore[arg-type]
        return 0
    from tui.cli.root import main as command

    return command(arguments)


if __name__ == "__main__":
    sys.exit(main())
