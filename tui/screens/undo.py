"""What you did lately, and what would take each of it back; what cannot be is said so, with what there is instead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.text import duration
from tui.verbs import MANY, Choice
from tui.view import Cell
from tui.widgets.bar import Question
from tui.widgets.lines import Line, drawn, fit

if TYPE_CHECKING:
    from core.undo import Deed
    from tui.app import Skydeck

SHOWN = 20
"""Deeds offered: who wants to go further back looks at the events."""

DID = 30
BACK = 34
"""Cells for what was done, and for what would be done."""


class UndoScreen(ModalScreen[None]):
    """Enter undoes what is highlighted, after the question that the inverse verb would ask."""

    app: Skydeck

    BINDINGS: ClassVar[list[Any]] = [
        Binding("escape,q", "leave", "back", id="undo.leave", show=False),
        Binding("j", "step('down')", "down", id="undo.down", show=False),
        Binding("k", "step('up')", "up", id="undo.up", show=False),
    ]

    DEFAULT_CSS = "UndoScreen Question { display: none; }"

    def __init__(self) -> None:
        super().__init__()
        self._deeds: list[Deed] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog menu"):
            yield Line(id="title")
            yield OptionList(compact=True)
            yield Line(id="loses")
            yield Question()
            yield Line(id="foot")

    def on_mount(self) -> None:
        self.query_one("#title", Line).show([("Undo", "head"), (": what you did, newest first", "")])
        self.query_one("#foot", Line).show([("Enter", "key"), (" undoes it  ", ""), ("q", "key"), (" back", "")])
        self.query_one(OptionList).focus()
        self._load()

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        from core import undo

        ctx = self.app.seat.request()
        self._deeds = await self.app.seat.read(lambda session: undo.recent(session, ctx, limit=SHOWN))
        if not self._deeds:
            self.dismiss()
            self.app.tell("there is nothing to undo", "You changed nothing yet.", tone="ok")
            return
        options = self.query_one(OptionList)
        now = self.app.seat.now()
        options.add_options([_option(deed, now) for deed in self._deeds])
        options.highlighted = next((at for at, deed in enumerate(self._deeds) if deed.why_not is None), 0)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        deed = self._deeds[event.option_index]
        cells: list[Cell] = []
        if deed.why_not is not None:
            cells = [(deed.why_not[0], "warn"), (f"  {deed.why_not[1]}", "dim")]
        elif deed.loses:
            cells = [("not as it was: ", "warn"), (deed.loses, "")]
        self.query_one("#loses", Line).show(cells)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        deed = self._deeds[event.option_index]
        if deed.why_not is not None:
            self.app.tell(f"cannot undo: {deed.why_not[0]}", deed.why_not[1], tone="warn")
            return
        self._undo(deed)

    @work(group="undo", exclusive=True)
    async def _undo(self, deed: Deed) -> None:
        from core import undo
        from core.errors import SkydeckError

        if deed.asks or self.app.seat.cloud in self.app.settings.protected_clouds:
            many = deed.dangerous and len(deed.inverses) > MANY
            if not await (self._type(deed) if many else self._ask(deed)):
                return
        seat = self.app.seat
        ctx = seat.request()
        try:
            done, refused = await seat.call(lambda: undo.undo(seat.store, ctx, seat.config, deed.request_id))
        except SkydeckError as bad:
            self.dismiss()
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        self.dismiss()
        self.app.see_to_engine()
        self.app.news()
        for says, refusal in refused[1:]:
            self.app.keep(f"{says}: {refusal.title}", refusal.hint, tone="bad")
        if refused:
            _, refusal = refused[0]
            self.app.tell(f"undone {len(done)}, refused {len(refused)}: {refusal.title}", refusal.hint, tone="bad")
        else:
            self.app.tell(f"undone: {deed.says}", tone="ok")

    async def _ask(self, deed: Deed) -> bool:
        yes = (Choice(key="y", label="[y]es", value="yes"),)
        tone = "alarm" if deed.dangerous else "ask"
        return (
            await self.query_one(Question).ask(f"{deed.says[:1].upper()}{deed.says[1:]}?", yes, tone=tone) is not None
        )

    async def _type(self, deed: Deed) -> bool:
        from tui.screens.confirm import TypeOut

        agreed: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self.app.push_screen(TypeOut(deed.says, f"undo {len(deed.inverses)}"), agreed.set_result)
        return bool(await agreed)

    def action_step(self, way: str) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if way == "down" else options.action_cursor_up()

    def action_leave(self) -> None:
        self.dismiss()


def _option(deed: Deed, now: int) -> Option:
    noun, _, act = deed.action.rpartition(".")
    more = f" +{len(deed.names) - 1}" if len(deed.names) > 1 else ""
    did = f"{act} {noun if noun != 'instance' else ''} ".replace("_", " ").replace("  ", " ") + f"{deed.names[0]}{more}"
    possible = deed.why_not is None
    cells: list[Cell] = [(f"{duration(now - deed.at):>4}  ", "dim"), (fit(did, DID), "" if possible else "dim")]
    cells.append(
        (fit(f" {deed.says}" if possible else " cannot be undone", BACK).rstrip(), "ok" if possible else "dim")
    )
    return Option(drawn(cells), id=deed.request_id)
