"""An error in the app itself: what of it a person is shown, and where the rest is kept.

What an error says may hold a stranger's text, and what its variables hold surely does: the terminal gets none of that
unescaped, and nothing of the variables.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from rich.text import Text

from tui.text import safe, safe_lines

FILE = "app-error.log"


def told(error: BaseException, home: Path | None) -> Text:
    """For the terminal, after it was given back; the whole traceback goes to a file in `home`."""
    kept = _keep(error, home)
    lines = [
        "skydeck: an error in the app itself; what was accepted goes on without it.",
        f"  {safe(type(error).__name__)}: {safe(str(error))[:500]}",
        f"  Where it happened is in {kept}" if kept else f"  {safe_lines(_where(error))}",
    ]
    return Text("\n".join(lines), no_wrap=True)


def _keep(error: BaseException, home: Path | None) -> Path | None:
    if home is None or not home.is_dir():
        return None
    path = home / FILE
    try:
        path.touch(mode=0o600)
        path.write_text(safe_lines("".join(traceback.format_exception(error))))
    except OSError:
        return None  # a full disk must not hide the error itself
    return path


def _where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return "".join(traceback.format_list(last)).strip()
