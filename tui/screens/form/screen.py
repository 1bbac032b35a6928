"""The form's screen: filled in already, judged while one types, and submitted with Ctrl+S from anywhere."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, Static

from tui.forms import derived, handing, kept
from tui.forms.judging import Verdict, blamed, judge
from tui.header import freshness, identity
from tui.screens.form.entry import Entry
from tui.verbs import Row
from tui.view import Cell, Field, Form, Handed, Lines, Loaded, View
from tui.views.funnel import funnel_lines
from tui.widgets.choice import ChoiceLine, ManyLine
from tui.widgets.lines import Line, page

if TYPE_CHECKING:
    from core.errors import SkydeckError
    from core.rehearsal import Count
    from tui.app import Skydeck

PAUSE = 0.15
"""Seconds without a key after which what was typed is judged: a word is judged once, not letter by letter."""


class FormScreen(Screen[None]):
    app: Skydeck

    BINDINGS = [
        Binding("ctrl+s", "submit", "submit", id="form.submit", show=False, priority=True),
        Binding("ctrl+y", "copy", "copy the command", id="form.copy", show=False, priority=True),
        Binding("ctrl+r", "anew", "begin anew", id="form.anew", show=False, priority=True),
        Binding("ctrl+o", "write", "write the file in an editor", id="form.write", show=False, priority=True),
        Binding("escape", "leave", "leave, keeping a draft", id="form.leave", show=False),
        # With priority: keys typed ahead belong to the field that this one leads to.
        Binding("down,enter,tab", "app.focus_next", "next field", id="form.next", show=False, priority=True),
        Binding("up,shift+tab", "app.focus_previous", "field before", id="form.before", show=False, priority=True),
    ]

    def __init__(self, view: View, form: Form, row: Row | None, *, values: dict[str, str] | None = None) -> None:
        """`values`: what some fields are to begin with, in place of what is loaded."""
        super().__init__()
        self._view = view
        self._form = form
        self._row = row
        self._given = values or {}
        self._loaded: Loaded | None = None
        self._fields: list[Field] = []
        self._submit_when_loaded = False
        self._busy = False
        self._over = False
        """Submitted or left: what is judged now is nobody's."""
        self._touched = False
        self._verdict = Verdict()
        self._judged: dict[str, str] | None = None
        """The values that the verdict is of."""
        self._drafted = False

    def compose(self) -> ComposeResult:
        yield Line(id="header")
        yield Line(id="crumb")
        yield VerticalScroll(id="fields", can_focus=False)
        yield Static(id="about", markup=False)
        yield Line(id="foot")

    def on_mount(self) -> None:
        self._draw_crumb()
        keys: list[tuple[str, str]] = [("Ctrl+S", self._form.title.lower()), ("Esc", "leave")]
        keys += [("← →", "choose")] if any(one.choices for one in self._form.fields) else []
        keys += [("Space", "take")] if any(one.several for one in self._form.fields) else []
        keys += [("Ctrl+O", "editor")] if any(one.document for one in self._form.fields) else []
        keys += [("Ctrl+Y", "copy line")]
        self.query_one("#foot", Line).show([cell for key, what in keys for cell in ((key, "key"), (f" {what}  ", ""))])
        seat, feed = self.app.seat, self.app.feed
        self.query_one("#header", Line).show(
            identity(seat.cloud, seat.ctx, width=self.size.width),
            freshness(self.app.header, silence=feed.silence if feed else 0.0, trouble=feed.trouble if feed else ""),
        )
        self._load()

    def _draw_crumb(self) -> None:
        draft: list[Cell] = [("a draft you left; ", "warn"), ("Ctrl+R", "key"), (" begins anew", "")]
        self.query_one("#crumb", Line).show(
            [(f"{self._view.title} > ", "dim"), (self._form.title, "head")], draft if self._drafted else []
        )

    # ------------------------------------------------------------------ filling in

    @property
    def _key(self) -> kept.Key:
        about = str(self._row[self._view.key]) if self._row is not None and self._view.key in self._row else ""
        return self._view.kind, self._form.title, about

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        from core.errors import SkydeckError

        seat = self.app.seat
        ctx = seat.request()
        try:
            loaded = await seat.read(lambda session: self._form.load(session, ctx, self._row))
            if not self.query("#crumb"):
                return  # left before there was anything to fill in
        except SkydeckError as bad:
            self._say(_told(bad.title, bad.hint, "bad"))
            return
        if loaded.problem is not None and loaded.remedy:
            self._remedy(loaded.problem[0], loaded.remedy)
            return
        if loaded.problem is not None:
            self._say(_told(*loaded.problem, "warn"))
            return
        last = self.app.kept.chosen(seat.config.home, ctx.project_id, self._view.kind, self._form)
        loaded.values.update({name: value for name, value in last.items() if _offered(loaded, name, value)})
        self._loaded = loaded
        await self._fill(self.app.kept.draft(self._key))
        if self._submit_when_loaded:
            self.action_submit()

    def _remedy(self, why: str, kind: str) -> None:
        """The form of what is missing, in place of this one."""
        from tui.registry import VIEWS

        view = VIEWS[kind]
        assert view.form is not None
        form = dataclasses.replace(view.form, title=f"{view.form.title}: {why[:1].lower()}{why[1:].rstrip('.')}")
        self.app.switch_screen(FormScreen(view, form, None))

    async def _fill(self, draft: dict[str, str] | None) -> None:
        """The fields, with what was loaded, what was asked for, and what was left half done."""
        loaded = self._loaded
        assert loaded is not None
        self._drafted = draft is not None
        self._fields = [field for field in self._form.fields if field.name not in loaded.hidden]
        values = loaded.values | self._given | (draft or {})
        area = self.query_one("#fields", VerticalScroll)
        await area.remove_children()
        await area.mount(*(Entry(field, loaded, values.get(field.name, "")) for field in self._fields))
        if not self.query("#crumb"):
            return
        self._touched = self._drafted
        self._first().focus()
        self._draw_crumb()
        self._draw_about()
        self._judge()

    def _first(self) -> Any:
        """The field to begin with: the first that is typed and still empty without a word why, else the first."""
        return self.query(Entry).first().widget

    def _entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.query(Entry) if entry.field.name == name), None)

    def values(self) -> dict[str, str]:
        """What stands in the fields, and what stays behind them."""
        found = dict(self._loaded.values) | self._given if self._loaded else {}
        return found | {entry.field.name: entry.value for entry in self.query(Entry)}

    @on(Input.Changed)
    @on(ChoiceLine.Changed)
    @on(ManyLine.Changed)
    def _changed(self) -> None:
        if self._loaded is None or self.values() == self._loaded.values | self._given:
            return  # the fields saying what they were given
        self._touched = True
        self._draw_about()
        self._judge()

    # ------------------------------------------------------------------ what would become of it

    @property
    def judged(self) -> bool:
        """Whether what is shown is what the verb says to the values as they are now."""
        return self._judged == self.values() or not self._form.rehearsed

    @work(exclusive=True, group="judge")
    async def _judge(self) -> None:
        """Ask the verb itself, once the typing pauses."""
        from core.errors import SkydeckError

        loaded, form, seat = self._loaded, self._form, self.app.seat
        if not form.rehearsed or loaded is None:
            return
        await asyncio.sleep(PAUSE if self._touched else 0)
        values, fields, ctx = self.values(), self._fields, seat.request()
        try:
            verdict = await seat.call(
                lambda: judge(
                    seat.store, seat.config, ctx, form=form, fields=fields, start=loaded.values, values=values
                )
            )
        except SkydeckError as bad:
            verdict = Verdict(refused=bad)
        if not self._over and not self._busy:
            self._judged = values
            self._show(verdict)

    def _show(self, verdict: Verdict, *, submitted: bool = False) -> None:
        """The verdict: at the field it is about, else below all of them."""
        self._verdict = verdict
        # Nobody is told off for what they have not begun to fill in.
        tone = "bad" if self._touched or submitted else "dim"
        for entry in self.query(Entry):
            mine = verdict.refused if verdict.field == entry.field.name else None
            entry.say(mine.title if mine else "", mine.hint if mine else "", tone)
            if mine and entry.widget.has_focus:
                self.call_after_refresh(entry.scroll_visible, animate=False)
        self._draw_about()
        if submitted and (entry_ := self._entry(verdict.field)):
            entry_.widget.focus()

    def _draw_about(self) -> None:
        loaded, verdict = self._loaded, self._verdict
        if loaded is None:
            return
        values = self.values()
        for entry in self.query(Entry):
            entry.display = entry.field.when(values)
        lines: Lines = [_quota(verdict.counts)] if verdict.counts else []
        lines += self._form.preview(loaded, values)
        for place, words in enumerate(self.commands()):
            lines.append([(f"{'' if place else 'same as':<13}", "dim"), (words, "")])
        if verdict.refused is not None and not verdict.field:
            tone = "bad" if self._touched or self._busy else "warn"
            lines += _told(verdict.refused.title, verdict.refused.hint, tone)
            if funnel := getattr(verdict.refused, "funnel", None):
                lines += funnel_lines(funnel)
        self._say(lines)

    def commands(self) -> Sequence[str]:
        """The lines of a shell that do the same; none while the values make no sense to them."""
        return [shlex.join(["skydeck", *words]) for words in self._words()]

    def _words(self) -> Sequence[Sequence[str]]:
        from core.errors import SkydeckError

        if self._loaded is None:
            return []
        seat = self.app.seat
        # A command works in the project of the configuration, unless it names the one that is worked in here.
        here = seat.ctx.project_name
        other = ["--project", here] if here != seat.config.project else []
        try:
            return [[*other, *words] for words in derived.commands(self._view, self._form, self._loaded, self.values())]
        except SkydeckError:
            return []

    def _say(self, lines: Lines) -> None:
        self.query_one("#about", Static).update(page(lines))

    # ------------------------------------------------------------------ the end

    def action_submit(self) -> None:
        if self._loaded is None:
            self._submit_when_loaded = True  # Ctrl+S came before the fields: two keys are two keys
        elif not self._busy:
            self._submit()

    @work(group="submit", exclusive=True)
    async def _submit(self) -> None:
        from core.errors import SkydeckError

        seat, values = self.app.seat, self.values()
        ctx = seat.request()
        self._busy = True
        try:
            said = await seat.call(lambda: self._done(ctx, values))
        except SkydeckError as bad:
            self._refused(bad, values)
            return
        finally:
            self._busy = False
        self._over = True
        self.app.kept.drop(self._key)
        self.app.kept.submitted(seat.config.home, ctx.project_id, self._view.kind, self._form, values)
        self.dismiss()
        match self._form.handed:
            case Handed.BEHIND:
                self.app.run_worker(handing.behind(self.app, self._words()[0]), group="handed")
            case Handed.IN_FRONT:
                handing.in_front(self.app, self._words()[0])
                return
            case Handed.NOBODY:
                pass
        self.app.tell(said, tone="ok")
        self.app.see_to_engine()
        self.app.news()
        if self._form.then is not None:
            self.app.browse(self._form.then.kind)

    def _done(self, ctx: Any, values: dict[str, str]) -> str:
        """On the writing thread: do it, or see that its command would."""
        seat, form = self.app.seat, self._form
        if form.handed is Handed.NOBODY:
            return form.submit(seat.store, seat.config, ctx, values)
        from core import rehearsal

        with rehearsal.of(seat.store) as trial:
            return form.submit(trial, seat.config, ctx, values)

    def _refused(self, bad: SkydeckError, values: dict[str, str]) -> None:
        assert self._loaded is not None
        known = self._verdict
        if known.refused is not None and known.refused.title == bad.title:
            at, counts = known.field, known.counts
        else:
            at, counts = blamed(bad, fields=self._fields, start=self._loaded.values, values=values), {}
        self._show(Verdict(refused=bad, field=at, counts=counts), submitted=True)
        self.app.keep(bad.title, bad.hint, tone="bad")

    def action_copy(self) -> None:
        """The commands, to the clipboard (OSC 52)."""
        if lines := self.commands():
            self.app.copy_to_clipboard("\n".join(lines))
            self.query_one("#crumb", Line).show(
                [(f"{self._view.title} > ", "dim"), (self._form.title, "head")], [("copied the command", "ok")]
            )

    def action_write(self) -> None:
        """Write the file that a field names in an editor."""
        from tui.forms import editor

        if entry := next((entry for entry in self.query(Entry) if entry.field.document), None):
            editor.write_file(self, entry.widget, self.values().get("name", ""))

    @work(exclusive=True, group="load")
    async def action_anew(self) -> None:
        """As it was when it was opened, without what was typed since."""
        if self._loaded is not None:
            self.app.kept.drop(self._key)
            self._verdict = Verdict()
            await self._fill(None)

    def action_leave(self) -> None:
        """Leave. What was typed is kept, and is there when the form is opened again."""
        if self._loaded is not None and self._touched and not self._busy:
            values = {entry.field.name: entry.value for entry in self.query(Entry)}
            if any(self._loaded.values.get(name, "") != value for name, value in values.items()):
                self.app.kept.leave(self._key, values)
            else:
                self.app.kept.drop(self._key)
        self._over = True
        self.dismiss()


def _told(title: str, hint: str, tone: str) -> Lines:
    lines: Lines = [[("! ", tone), (title, tone)]]
    return [*lines, [(f"  {hint}", "")]] if hint else lines


def _offered(loaded: Loaded, name: str, value: str) -> bool:
    """Whether a choice of the last time is still one: what it meant may be gone."""
    if name not in loaded.values or name in loaded.hidden:
        return False
    choices = loaded.choices.get(name)
    return choices is None or all(part in {key for key, _ in choices} for part in value.split(","))


def _quota(counts: dict[str, Count]) -> list[Cell]:
    """`quota after  instances 7/10   ram 14/50G`; what is too much in the colour of danger."""
    cells: list[Cell] = [("quota after  ", "dim")]
    for resource, count in counts.items():
        scale, unit = (1024, "G") if resource == "ram" else (1, "")
        limit = f"{count.limit // scale}{unit}" if count.limit >= 0 else "-"
        cells.append((f"{resource} {count.after // scale}/{limit}   ", "bad" if count.over else ""))
    return cells
