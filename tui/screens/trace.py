"""Following a packet from one object of the cloud to an address that is typed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, Static

from tui.text import safe
from tui.view import Lines
from tui.views.trace import trace_lines
from tui.widgets.lines import Line, page
from tui.widgets.typed import TypedLine

if TYPE_CHECKING:
    from tui.app import Skydeck

PROTOCOLS = ("icmp", "tcp", "udp", "sctp")


def asked(text: str) -> tuple[str, str, int | None]:
    """(destination, protocol, port) of `10.0.0.5`, `web-2 tcp 80` or `web-2 tcp/80`. Raises ValueError."""
    words = text.replace("/", " ").split()
    if not 1 <= len(words) <= 3:
        raise ValueError("an address or a name, then perhaps a protocol and a port")
    protocol = words[1] if len(words) > 1 else "icmp"
    if protocol not in PROTOCOLS:
        raise ValueError(f"{protocol} is not one of {', '.join(PROTOCOLS)}")
    if len(words) < 3:
        return words[0], protocol, None
    if not words[2].isdecimal() or int(words[2]) > 65535:
        raise ValueError(f"{words[2]} is no port")
    return words[0], protocol, int(words[2])


class TraceScreen(Screen[None]):
    app: Skydeck

    BINDINGS = [
        Binding("escape", "leave", "back", id="trace.leave", show=False),
        Binding("ctrl+r", "again", "again", id="trace.again", show=False),
        Binding("down", "scroll(1)", "down", id="trace.down", show=False),
        Binding("up", "scroll(-1)", "up", id="trace.up", show=False),
        Binding("pagedown", "scroll(10)", "page down", id="trace.page_down", show=False),
        Binding("pageup", "scroll(-10)", "page up", id="trace.page_up", show=False),
    ]

    def __init__(self, source: str, name: str) -> None:
        """`source` is the id of a server or port, `name` what people call it."""
        super().__init__()
        self._source = source
        self._name = name
        self._asked = ""

    def compose(self) -> ComposeResult:
        yield Line(id="crumb")
        with Horizontal(classes="field"):
            yield Line(classes="label", id="to")
            yield TypedLine(
                placeholder="10.0.0.5   web-2   web-2 tcp 80   198.51.100.10", id="destination", compact=True
            )
        with VerticalScroll(id="body"):
            yield Static(id="text", markup=False)
        yield Line(id="foot")

    def on_mount(self) -> None:
        self.query_one("#crumb", Line).show([("Trace from ", "dim"), (self._name, "head")])
        self.query_one("#to", Line).show([(f"{'to':<12}", "dim")])
        self.query_one("#foot", Line).show(
            [
                *(("Enter", "key"), (" follow  ", "")),
                *(("Ctrl+R", "key"), (" again, with fresh counters  ", "")),
                *(("↑ ↓", "key"), (" scroll  ", "")),
                *(("Esc", "key"), (" back", "")),
            ]
        )
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        self._asked = event.value
        self.action_again()

    def action_again(self) -> None:
        if not self._asked.strip():
            return
        try:
            destination, protocol, port = asked(self._asked)
        except ValueError as bad:
            self._say([[("! ", "bad"), (str(bad), "bad")]])
            return
        self._say([[("asking the hosts…", "dim")]])
        self._follow(destination, protocol, port)

    @work(group="trace", exclusive=True)
    async def _follow(self, destination: str, protocol: str, port: int | None) -> None:
        from core.errors import SkydeckError

        try:
            followed = await self.app.seat.trace(self._source, destination, protocol, port)
        except SkydeckError as bad:
            self._say([[("! ", "bad"), (bad.title, "bad")], [(f"  {safe(bad.hint)}", "")]])
            return
        self._say(trace_lines(followed))

    def _say(self, lines: Lines) -> None:
        if self.is_attached and self.query("#text"):
            self.query_one("#text", Static).update(page(lines))

    def action_scroll(self, by: int) -> None:
        self.query_one("#body", VerticalScroll).scroll_relative(y=by, animate=False)

    def action_leave(self) -> None:
        self.dismiss()
