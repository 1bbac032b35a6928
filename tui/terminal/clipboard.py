"""The clipboard of the terminal in front of the person, wherever the app runs: OSC 52, through tmux and screen too."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

MOST: Final = 74_994
"""Bytes that terminals take: base64 of more exceeds 100,000 characters, at which the strictest of them stop (hterm)."""

_CHUNK: Final = 76
"""Letters in one of screen's strings, whose length it limits."""


def osc52(text: str, environ: Mapping[str, str]) -> str | None:
    """What to write to the terminal so that its clipboard holds the text; None when it is longer than it takes.

    tmux gets the sequence as itself (`set-clipboard on`) and wrapped for passing on (`allow-passthrough on`): which of
    both it obeys is its configuration's, and obeying twice changes nothing. screen only ever passes on.
    """
    data = text.encode()
    if len(data) > MOST:
        return None
    payload = base64.b64encode(data).decode("ascii")
    bare = f"\x1b]52;c;{payload}\x07"
    terminal = environ.get("TERM", "")
    if environ.get("TMUX") or terminal.startswith("tmux"):
        return bare + "\x1bPtmux;" + bare.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if environ.get("STY") or terminal.startswith("screen"):
        chunks = "\x1b\\\x1bP".join(payload[at : at + _CHUNK] for at in range(0, len(payload), _CHUNK))
        wrapped = f"\x1bP\x1b]52;c;{chunks}\x07\x1b\\"
        # TERM=screen without screen's own variable is an older tmux far away, or screen far away: tmux drops strings
        # that do not begin with its name, and screen drops OSC 52.
        return wrapped if environ.get("STY") else bare + wrapped
    return bare
