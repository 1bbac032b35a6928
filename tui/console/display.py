"""Where an instance's display can be seen, for as long as the address lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from tui.screens.reading import Reading
from tui.view import Cell, Lines

if TYPE_CHECKING:
    from tui.app import Skydeck


class DisplayScreen(Reading):
    app: Skydeck

    BINDINGS = [Binding("c", "copy", "Copy the address", id="display.copy", show=False)]

    def __init__(self, name: str, url: str) -> None:
        """`url`: vnc://ADDRESS:PORT."""
        super().__init__()
        self._name = name
        self._url = url

    def title_cells(self) -> list[Cell]:
        return [("Display of ", "dim"), (self._name, "head"), ("   c copies the address", "dim")]

    def lines(self, width: int) -> Lines:
        address, _, port = self._url.partition("://")[2].rpartition(":")
        return [
            [("", "")],
            [("  ", ""), (self._url, "key")],
            [("", "")],
            [("  One viewer, of your user on this machine, within two minutes; then ask again (O).", "")],
            [("", "")],
            [("  Here:            ", "dim"), (f"vncviewer {address}::{port}", "")],
            [("  From elsewhere:  ", "dim"), (f"ssh -L {port}:{address}:{port} THIS-MACHINE", "")],
            [("                   ", "dim"), ("and a viewer there, at the same address", "")],
        ]

    def action_copy(self) -> None:
        if self.app.copy(self._url):
            self.app.tell("copied the address", tone="ok")
