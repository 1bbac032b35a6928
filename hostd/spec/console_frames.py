"""The frames of a console's stream: the first byte tells bytes of the serial line from notes (JSON).

An empty frame ends its direction, as on every stream.
"""

from __future__ import annotations

import json
from typing import Any, Final

from hostd.spec.codec import dump, frame, load
from hostd.spec.consoles import ConsoleNote, ConsoleWish
from hostd.spec.errors import ErrorCode, HostError

_BYTES: Final = b"b"
_NOTE: Final = b"n"


def bytes_frame(data: bytes) -> bytes:
    """A frame of a console's stream with bytes of the serial line."""
    return frame(_BYTES + data)


def note_frame(note: ConsoleNote | ConsoleWish) -> bytes:
    """A frame of a console's stream with a note."""
    return frame(_NOTE + json.dumps(dump(note)).encode())


def console_frame(body: bytes, kind: type) -> Any:
    """What a frame of a console's stream holds: bytes, or a note, which is loaded as `kind`.

    Raises HostError(PROTOCOL).
    """
    tag, rest = body[:1], body[1:]
    if tag == _BYTES:
        return bytes(rest)
    if tag != _NOTE:
        raise HostError(ErrorCode.PROTOCOL, f"a console's frame begins with {tag!r}")
    try:
        return load(kind, json.loads(rest))
    except ValueError as bad:
        raise HostError(ErrorCode.PROTOCOL, f"a note that is no JSON: {bad}") from bad
