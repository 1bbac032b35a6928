"""What is typed at a console: bytes for the guest, and the few keys that are for us.

Ctrl+] leaves at once. Ctrl+^ begins a command: `!` takes the console over, or shares it again; `s` tells the guest's
shell the size of this terminal; `?` says all this; Ctrl+^ again sends it to the guest. A `!` alone takes over as well,
for one whose keys reach nobody anyway.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

LEAVE: Final = 0x1D
"""Ctrl+]."""

COMMAND: Final = 0x1E
"""Ctrl+^ (Ctrl+6 on many keyboards)."""

HELP: Final = (
    "Ctrl+] leaves · Ctrl+^ ! takes the console over, or shares it again · "
    "Ctrl+^ s tells the shell this terminal's size · Ctrl+^ Ctrl+^ sends Ctrl+^"
)


class Act(enum.Enum):
    LEAVE = enum.auto()
    TAKE = enum.auto()
    """Take over, or share again when it was taken."""
    SIZE = enum.auto()
    HELP = enum.auto()


_COMMANDS: Final = {ord("!"): Act.TAKE, ord("s"): Act.SIZE, ord("?"): Act.HELP}


class Keys:
    """Reads what is typed, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._commanding = False

    def typed(self, data: bytes, *, typing: bool) -> Iterator[bytes | Act]:
        """The parts of it, in order; nothing comes after LEAVE. `typing`: keys reach the guest. No data: the terminal
        is gone."""
        if not data:
            yield Act.LEAVE
            return
        if not typing and data == b"!" and not self._commanding:
            yield Act.TAKE
            return
        plain = bytearray()
        for byte in data:
            act: Act | None = None
            if byte == LEAVE:
                act = Act.LEAVE
            elif self._commanding:
                self._commanding = False
                act = _COMMANDS.get(byte)
                if byte == COMMAND:
                    plain.append(byte)
            elif byte == COMMAND:
                self._commanding = True
            else:
                plain.append(byte)
            if act is not None:
                if plain:
                    yield bytes(plain)
                    plain.clear()
                yield act
                if act is Act.LEAVE:
                    return
        if plain:
            yield bytes(plain)
