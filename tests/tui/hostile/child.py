"""The program as a person runs it, on a poisoned cloud; its guests' consoles say what a file says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from core.errors import HostFailed
from hostd.spec import LogRead
from tui.seat import Seat


class Told:
    """In place of a console log that is followed."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def read(self, lines: int) -> LogRead | None:
        return LogRead(text=self._text, cursor="1", whole=True, times=((0, 1_790_000_000.0),))

    async def close(self) -> None:
        pass


def main() -> None:
    text = Path(os.environ["SKYDECK_HOME"], "console.txt").read_bytes().decode()

    async def console_log(self: Seat, instance: str, lines: int) -> str:
        return text

    async def open_log(self: Seat, instance: str, lines: int) -> Told:
        return Told(text)

    async def trace(self: Seat, *asked: object) -> object:
        raise HostFailed(text[:200], hint=text[200:400])

    Seat.console_log = console_log  # type: ignore[method-assign]
    Seat.open_log = open_log  # type: ignore[method-assign,assignment]
    Seat.trace = trace  # type: ignore[method-assign,assignment]
    from tui.app import Skydeck

    app = Skydeck(engine=False)
    app.run(mouse=False)
    sys.exit(app.return_code)


if __name__ == "__main__":
    sys.exit(main())
