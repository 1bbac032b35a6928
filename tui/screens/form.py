"""The one form: a page of fields, filled in already; Ctrl+S submits it from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, Static

from tui.header import freshness, identity
from tui.verbs import Row
from tui.view import Field, Form, Lines, Loaded, View
from tui.views.funnel import funnel_lines
from tui.widgets.choice import ChoiceLine, ManyLine
from tui.widgets.lines import Line, page

if TYPE_CHECKING:
    from tui.app import Skydeck

LABEL = 12


class FormScreen(Screen[None]):
    app: Skydeck

    BINDINGS = [
        Binding("ctrl+s", "submit", "submit", id="form.submit", show=False, priority=True),
        Binding("escape", "leave", "cancel", id="form.leave", show=False),
        Binding("down,enter", "app.focus_next", "next field", id="form.next", show=False),
        Binding("up", "app.focus_previous", "field before", id="form.before", show=False),
        Binding("tab", "app.focus_next", "next field", show=False),
        Binding("shift+tab", "app.focus_previous", "field before", show=False),
    ]

    def __init__(self, view: View, form: Form, row: Row | None) -> None:
        super().__init__()
        self._view = view
        self._form = form
        self._row = row
        self._loaded: Loaded | None = None
        self._fields: list[Field] = []
        self._submit_when_loaded = False
        self._busy = False

    def compose(self) -> ComposeResult:
        yield Line(id="header")
        yield Line(id="crumb")
        yield VerticalScroll(id="fields")
        yield Static(id="about", markup=False)
        yield Line(id="foot")

    def on_mount(self) -> None:
        seat = self.app.seat
        self.query_one("#crumb", Line).show([(f"{self._view.title} > ", "dim"), (self._form.title, "head")])
        self.query_one("#foot", Line).show(
            [
                *(("Ctrl+S", "key"), (f" {self._form.title.lower()}  ", "")),
                *(("↑ ↓", "key"), (" fields  ", "")),
                *(("← →", "key"), (" choose  ", "")),
                *(
                    (("Space", "key"), (" take or leave  ", ""))
                    if any(one.several for one in self._form.fields)
                    else ()
                ),
                *(("Esc", "key"), (" cancel", "")),
            ]
        )
        feed = self.app.feed
        self.query_one("#header", Line).show(
            identity(seat.cloud, seat.ctx, width=self.size.width),
            freshness(self.app.header, silence=feed.silence if feed else 0.0, trouble=feed.trouble if feed else ""),
        )
        self._load()

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        from core.errors import SkydeckError

        seat = self.app.seat
        ctx = seat.request()
        try:
            loaded = await seat.read(lambda session: self._form.load(session, ctx, self._row))
        except SkydeckError as bad:
            self._say([[("! ", "bad"), (bad.title, "bad")], [(f"  {bad.hint}", "")]])
            return
        if loaded.problem is not None:
            self._say([[("! ", "warn"), (loaded.problem[0], "warn")], [(f"  {loaded.problem[1]}", "")]])
            return
        self._loaded = loaded
        self._fields = [field for field in self._form.fields if field.name not in loaded.hidden]
        await self.query_one("#fields").mount(*(self._line(field, loaded) for field in self._fields))
        self.query("#fields Input, #fields ChoiceLine, #fields ManyLine").first().focus()
        self._preview()
        if self._submit_when_loaded:
            self.action_submit()

    def _line(self, field: Field, loaded: Loaded) -> Horizontal:
        label = Line(classes="label")
        label.show([(f"{field.label:<{LABEL}}", "dim")])
        value = loaded.values.get(field.name, "")
        widget: ChoiceLine | ManyLine | Input
        if field.several:
            widget = ManyLine(loaded.choices.get(field.name, []), value, id=field.name)
        elif field.choices:
            widget = ChoiceLine(loaded.choices.get(field.name, []), value, id=field.name)
        else:
            widget = Input(value, placeholder=field.hint, id=field.name, compact=True, select_on_focus=False)
        return Horizontal(label, widget, classes="field")

    # ------------------------------------------------------------------ while it is filled in

    def values(self) -> dict[str, str]:
        """What stands in the fields, and what stays behind them."""
        found = dict(self._loaded.values) if self._loaded else {}
        for field in self._fields:
            widget = self.query_one(f"#{field.name}")
            assert isinstance(widget, ChoiceLine | ManyLine | Input)
            found[field.name] = widget.value
        return found

    @on(Input.Changed)
    @on(ChoiceLine.Changed)
    @on(ManyLine.Changed)
    def _changed(self) -> None:
        self._preview()

    def _preview(self) -> None:
        if self._loaded is not None:
            self._say(self._form.preview(self._loaded, self.values()))

    def _say(self, lines: Lines) -> None:
        self.query_one("#about", Static).update(page(lines))

    # ------------------------------------------------------------------ the end

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.focus_next()

    def action_submit(self) -> None:
        if self._loaded is None:
            self._submit_when_loaded = True  # Ctrl+S came before the fields: two keys are two keys
        elif not self._busy:
            self._submit()

    @work(group="submit", exclusive=True)
    async def _submit(self) -> None:
        from core.errors import NoValidHost, SkydeckError

        seat, values = self.app.seat, self.values()
        ctx = seat.request()
        self._busy = True
        try:
            said = await seat.call(lambda: self._form.submit(seat.store, seat.config, ctx, values))
        except SkydeckError as bad:
            lines: Lines = [[("! ", "bad"), (bad.title, "bad")], [(f"  {bad.hint}", "")]]
            if isinstance(bad, NoValidHost):
                lines += [[("", "")], *funnel_lines(bad.funnel)]
            self._say(lines)
            self.app.keep(bad.title, bad.hint, tone="bad")
            return
        finally:
            self._busy = False
        self.dismiss()
        self.app.tell(said, tone="ok")
        self.app.see_to_engine()
        self.app.news()
        if self._form.then is not None:
            self.app.browse(self._form.then.kind)

    def action_leave(self) -> None:
        self.dismiss()
