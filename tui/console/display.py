"""Where an instance's display can be seen, for as long as the address lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from tui.screens.reading import Reading
from tui.view import Cell, Lines

if TYPE_CHECKING:
    from tui.app import Skydeck


def url(address: str, port: int) -> str:
    return f"vnc://{address}:{port}"


class DisplayScreen(Reading):
    app: Skydeck

    BINDINGS = [Binding("c", "copy", "Copy the address", id="display.copy", show=False)]

    def __init__(self, name: str, address: str, port: int) -> None:
        super().__init__()
        self._name = name
        self._address = address
        self._port = port

    def title_cells(self) -> list[Cell]:
        return [("Display of ", "dim"), (self._name, "head"), ("   c copies the address", "dim")]

    def lines(self, width: int) -> Lines:
        port = self._port
        return [
            [("", "")],
            [("  ", ""), (url(self._address, port), "key")],
            [("", "")],
            [("  One viewer, of your user on this machine, within two minutes; then ask again (O).", "")],
            [("", "")],
            [("  Here:            ", "dim"), (f"vncviewer {self._address}::{port}", "")],
            [("  From elsewhere:  ", "dim"), (f"ssh -L {port}:{self._address}:{port} THIS-MACHINE", "")],
            [("                   ", "dim"), ("and a viewer there, at the same address", "")],
        ]

    def action_copy(self) -> None:
        if self.app.copy(url(self._address, self._port)):
            self.app.tell("copied the address", tone="ok")
