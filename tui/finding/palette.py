"""Ctrl+P: one line to type in, and under it whatever it may mean: objects by name, id and address, lists, commands, and
what can be done here.

Every letter asks anew, and an answer to an older text is thrown away. One question is asked at a time, on a thread of
its own: what is typed meanwhile is asked about when it is answered, so that no stale search queues before a fresh one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input

from tui import registry
from tui.finding import opening
from tui.finding.matching import Entry, merged, offered, scope
from tui.locator import Locator
from tui.screens.acting import ActingScreen
from tui.verbs import Row
from tui.view import Cell, Column
from tui.widgets.lines import Line
from tui.widgets.pages import PAGE
from tui.widgets.table import RowList
from tui.widgets.typed import TypedLine

if TYPE_CHECKING:
    from tui.app import Skydeck

TONES = {
    **dict.fromkeys(("active", "available", "in-use", "up", "enabled"), "ok"),
    **dict.fromkeys(("error", "down", "error_deleting", "killed"), "bad"),
}
"""Of a state's first word; every other is plain."""


def _name(row: Row, now: int) -> Cell:
    return row["name"], "dim" if row["off"] else "key" if row["sort"] in ("list", "command") else ""


def _status(row: Row, now: int) -> Cell:
    word = row["status"]
    return word, TONES.get(word.lower(), "")


COLUMNS = (
    Column(title="NAME", width=16, grow=24, cell=_name),
    Column(title="WHAT", width=10, grow=6, cell=lambda row, now: (row["what"], "dim")),
    Column(title="STATUS", width=9, cell=_status),
    Column(title="FOUND BY", width=16, grow=60, cell=lambda row, now: (row["note"], "dim")),
)


class Typing(TypedLine):
    """The line; the keys that move in the list below are the screen's."""

    class Onward(Message):
        """Right, with nothing to the right of it."""

    def action_cursor_right(self, select: bool = False) -> None:
        if not select and self.cursor_at_end:
            self.post_message(self.Onward())
        else:
            super().action_cursor_right(select)


class Palette(ModalScreen[None]):
    app: Skydeck

    BINDINGS = [
        Binding("escape,ctrl+p", "leave", "back", id="palette.leave", show=False, priority=True),
        Binding("down,ctrl+n", "step(1)", "down", id="palette.down", show=False, priority=True),
        Binding("up", "step(-1)", "up", id="palette.up", show=False, priority=True),
        Binding("pagedown", "leap(1)", "page down", id="palette.page_down", show=False, priority=True),
        Binding("pageup", "leap(-1)", "page up", id="palette.page_up", show=False, priority=True),
        Binding("tab", "list", "its list", id="palette.list", show=False, priority=True),
    ]

    def __init__(self, behind: ActingScreen | None) -> None:
        """`behind`: the screen whose verbs are offered."""
        super().__init__()
        self._behind = behind
        self._wake = asyncio.Event()
        self._objects: list[Entry] = []
        self._asked = ""
        """The text that the objects answer."""
        self._entered = False
        """Enter was pressed before the answer to what was typed was there: it means what the answer begins with."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog palette"):
            yield Typing(id="find", compact=True, placeholder="a name, an id, an address, a list, an action; vol web")
            yield RowList(now=lambda: 0, id="found")
            yield Line(id="foot")

    def on_mount(self) -> None:
        rows = self.query_one(RowList)
        rows.can_focus = False
        rows.use(COLUMNS, key="id", label="name", sort="")
        self.query_one(Input).focus()
        self._show()
        self._follow()

    # ------------------------------------------------------------------ searching

    @on(Input.Changed)
    def _typed(self) -> None:
        self._entered = False
        self._wake.set()
        self._show()

    @work(group="search", exclusive=True)
    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            text = self._text
            if self.app.seat.ready and text != self._asked:
                await self._search(text)

    async def _search(self, text: str) -> None:
        from core import finding
        from core.errors import SkydeckError

        kind, words = scope(text)
        ctx, shown = self.app.seat.ctx, registry.VIEWS

        def read(session: Any) -> list[finding.Hit]:
            return finding.search(session, ctx, words, kinds=[kind] if kind else shown)

        try:
            hits = await self.app.seat.search(read)
        except SkydeckError as bad:
            self.query_one("#foot", Line).show([(f"! {bad.title}", "bad"), (f"  {bad.hint}", "")])
            return
        if not self.is_attached or not self.query(RowList):
            return
        self._asked = text
        self._objects = [_entry(hit) for hit in hits]
        if text == self._text:
            self._show(stay=True)
            if self._entered:
                self._take()

    @property
    def _text(self) -> str:
        return self.query_one(Input).value.strip()

    # ------------------------------------------------------------------ drawing

    def _show(self, *, stay: bool = False) -> None:
        """What is known of the text as it is now. Objects found by an older one stay until there are newer. `stay`:
        with the cursor where it was moved to."""
        text = self._text
        kind, words = scope(text)
        verbs, about = (), ""
        behind = self._behind
        if behind is not None:
            verbs = (*behind.verbs, *behind.generals)  # type: ignore[assignment]
            row = behind.under_cursor()
            about = behind.called(row) if row is not None else ""
        others = [] if kind else offered(text, verbs, behind.why_not if behind else lambda verb: None, about=about)
        objects = self._objects if text else []
        entries = merged(objects, others) if text else others
        rows = self.query_one(RowList)
        lines = [_row(entry) for entry in entries]
        pages = {at: lines[at * PAGE : (at + 1) * PAGE] for at in range(-(-len(lines) // PAGE))}
        nothing = f"Nothing is called {words}" if text == self._asked else "…"
        rows.say([] if lines else [[(nothing, "dim")]])
        stood = rows.cursor_id if stay and rows.cursor else None
        if stood is None:
            rows.restart()
        at = next((at for at, line in enumerate(lines) if line["id"] == stood), None)
        rows.show(len(lines), pages, at=at, asked_for=stood)
        where = self._where()
        what = f"{len(objects)} found" if text and text == self._asked else ""
        self.query_one("#foot", Line).show(
            [
                *(("Enter", "key"), (" open  ", "")),
                *(("Tab", "key"), (" its list  ", "")),
                *(("↑ ↓", "key"), (" move  ", "")),
                *(("Esc", "key"), (" back", "")),
            ],
            [(f"{what}  " if what else "", ""), (where, "dim")],
        )

    def _where(self) -> str:
        if not self.app.seat.ready:
            return ""
        ctx = self.app.seat.ctx
        return "in all projects" if ctx.all_projects else f"in {ctx.project_name}"

    # ------------------------------------------------------------------ moving and choosing

    @property
    def _chosen(self) -> Row | None:
        return self.query_one(RowList).row

    def action_step(self, by: int) -> None:
        self.query_one(RowList).action_move(by)

    def action_leap(self, by: int) -> None:
        self.query_one(RowList).action_leap(float(by))

    @on(Input.Submitted)
    @on(RowList.Opened)
    def _take(self) -> None:
        row = self._chosen
        if self._text != self._asked and (row is None or row["sort"] == "object" or row["rank"]):
            self._entered = True
            return
        if row is None:
            return
        if row["off"]:
            self.query_one("#foot", Line).show([(f"! {row['note']}", "warn")])
            return
        if row["sort"] != "object" and self._is_held():
            return
        self.dismiss()
        if row["sort"] == "object":
            opening.open_object(self.app, row["kind"], row["key"])
        elif row["sort"] == "list":
            opening.show_list(self.app, Locator(kind=row["key"]))
        elif row["sort"] == "command":
            self.app.command(row["key"])
        elif self._behind is not None:
            self._behind.action_do(row["key"])

    @on(Typing.Onward)
    def action_list(self) -> None:
        """The list that the object is in, with nothing but it and its like."""
        row = self._chosen
        if row is None or row["sort"] not in ("object", "list") or self._is_held():
            return
        self.dismiss()
        filter = "" if row["sort"] == "list" else row["name"] if row["named"] else row["key"]
        opening.show_list(self.app, Locator(kind=row["kind"] or row["key"], filter=filter))

    def _is_held(self) -> bool:
        """Whether a form behind this must not be left; says so."""
        if held := opening.is_filling_in(self.app):
            title, hint = opening.FORM_OPEN
            self.query_one("#foot", Line).show([(f"! {title}", "warn"), (f"  {hint}", "")])
        return held

    def action_leave(self) -> None:
        self.dismiss()


def _entry(hit: Any) -> Entry:
    view = registry.VIEWS[hit.kind]
    note = "" if hit.by == hit.name else hit.by
    return Entry(
        sort="object",
        key=hit.key,
        name=hit.name,
        what=view.title.lower().removesuffix("s"),
        status=hit.status,
        kind=hit.kind,
        note=note,
        rank=hit.rank,
    )


def _row(entry: Entry) -> Row:
    """As the list below takes it."""
    return {
        "id": f"{entry.sort} {entry.kind} {entry.key}",
        "named": bool(entry.name),
        **{name: getattr(entry, name) for name in ("sort", "key", "what", "status", "kind", "note", "off", "rank")},
        "name": entry.name or entry.key[:8],
    }
