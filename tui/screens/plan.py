"""A large act, laid out before it is done: which objects, in which order, what blocks it; agreed to by typing.

While it is open it follows the store, so that what is agreed to is what is so. Once it runs the page may be left: the
plan goes on, and says at the end what became of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Input, Static

from tui import readonly
from tui.keymap import moving
from tui.verbs import Choice
from tui.view import Cell, Lines
from tui.widgets.bar import Question
from tui.widgets.lines import Line, page
from tui.widgets.typed import TypedLine

if TYPE_CHECKING:
    from core.plans import Outcome, Plan, Step
    from tui.app import Skydeck

MARKS: dict[str, tuple[str, str]] = {
    "": (" ", ""),
    "running": ("~", "busy"),
    "done": ("+", "ok"),
    "refused": ("!", "bad"),
    "failed": ("!", "bad"),
}
"""What became of a step, to (glyph, tone)."""


class PlanScreen(Screen[None]):
    """Of the plan `name` (a key of core.plans.PLANS) for an object, by id."""

    app: Skydeck

    BINDINGS: ClassVar[list[Any]] = [
        Binding("escape", "leave", "back", id="plan.leave", show=False),
        *moving(half_down="leap(0.5)", half_up="leap(-0.5)", page_down="leap(1)", page_up="leap(-1)"),
        Binding("down", "scroll(1)", "down", id="plan.down", show=False),
        Binding("up", "scroll(-1)", "up", id="plan.up", show=False),
        Binding("q", "leave", "back", id="plan.back", show=False),
    ]

    DEFAULT_CSS = """
    PlanScreen #title { background: $panel; }
    PlanScreen #body { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    PlanScreen #how, PlanScreen #word { background: $surface; }
    PlanScreen #word { display: none; }
    PlanScreen Question { display: none; }
    """

    def __init__(self, name: str, object_id: str) -> None:
        super().__init__()
        self._which = name
        self._object_id = object_id
        self._plan: Plan | None = None
        self._became: dict[tuple[str, str, str, str], tuple[str, str]] = {}
        """Step to (what became of it, why)."""
        self._under_way = False
        self._result: Lines = []

    def compose(self) -> ComposeResult:
        yield Line(id="title")
        with VerticalScroll(id="body"):
            yield Static(id="text", markup=False)
        yield Line(id="how")
        yield TypedLine(id="word", compact=True)
        yield Question()
        yield Line(id="foot")

    def on_mount(self) -> None:
        self.query_one("#title", Line).show([("Plan", "head"), ("  …", "dim")])
        self.app.rows_changed.subscribe(self, lambda _: self._look())
        self.query_one("#body").focus()
        self._look()

    # ------------------------------------------------------------------ reading

    @work(group="look", exclusive=True)
    async def _look(self) -> None:
        from core import plans
        from core.errors import SkydeckError

        if self._under_way or self._result:
            return
        seat = self.app.seat
        ctx = seat.request()
        try:
            plan = await seat.read(lambda session: plans.plan(session, ctx, self._which, self._object_id))
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            if self._plan is None:
                self.dismiss()
            return
        if not self.is_attached or self._under_way:
            return
        first, self._plan = self._plan is None, plan
        self._draw()
        if first:
            self._ask()

    def _ask(self) -> None:
        assert self._plan is not None
        word = self.query_one("#word", Input)
        if self._plan.blocked or not self._plan.steps or self.app.seat.read_only:
            return
        if self._plan.typed:
            word.display = True
            word.focus()
        else:
            self._agreed()

    @work(group="agreed", exclusive=True)
    async def _agreed(self) -> None:
        """A plan of one step needs no more than a yes."""
        assert self._plan is not None
        yes = (Choice(key="y", label="[y]es", value="yes"),)
        answer = await self.query_one(Question).ask(f"{_upper(self._plan.title)}?", yes, tone="alarm")
        if answer is None:
            self.dismiss()
        else:
            self._begin()

    # ------------------------------------------------------------------ drawing

    def _draw(self) -> None:
        plan = self._plan
        if plan is None or not self.is_attached:
            return
        total, done = len(plan.steps), sum(what == "done" for what, _ in self._became.values())
        state: list[Cell] = [(f"{total} step{'s' if total != 1 else ''}", "dim")]
        if self._under_way:
            state = [(f"{done} of {total}", "busy")]
        elif self._result:
            state = [(f"{done} of {total} done", "ok" if done == total else "bad")]
        elif plan.blocked:
            state = [(" blocked ", "alarm")]
        self.query_one("#title", Line).show([("Plan: ", ""), (plan.title, "head")], state)
        self.query_one("#text", Static).update(page(self._lines(plan)))
        how: list[Cell] = []
        if not plan.steps and not plan.blocked:
            how = [("Nothing is to be done.", "ok")]
        elif self.app.seat.read_only:
            how = [(f"{_upper(readonly.WHY)}: the plan is only shown.", "warn")]
        elif plan.blocked:
            how = [("It cannot be done: see what blocks it, above. It is looked at again by itself.", "bad")]
        elif not self._under_way and not self._result and plan.typed:
            how = [("Type ", ""), (plan.word, "head"), (" and Enter: all of this is done, in this order", "")]
        self.query_one("#how", Line).show(how)
        leave = " back; it goes on" if self._under_way else " back" if self._result else " cancel"
        self.query_one("#foot", Line).show([("Esc", "key"), (leave + "  ", ""), ("PgUp PgDn", "key"), (" scroll", "")])

    def _lines(self, plan: Plan) -> Lines:
        lines: Lines = list(self._result)
        for one in sorted(plan.blockers, key=lambda one: not one.hard):
            lines += [
                [("! " if one.hard else "~ ", "bad" if one.hard else "warn"), (one.what, "bad" if one.hard else "")]
            ]
            lines += [[(f"    {one.hint}", "dim")]] if one.hint else []
        if lines:
            lines.append([("", "")])
        if plan.steps:
            lines.append([(plan.counted, "head")])
        phase, number = None, 0
        for step in plan.steps:
            if step.phase != phase:
                phase, number = step.phase, number + 1
                before = "" if number == 1 else "  when that is done"
                lines.append([(f"{number}.", "key"), (before, "dim")])
            what, why = self._became.get(_key(step), ("", ""))
            glyph, tone = MARKS[what]
            lines.append(
                [
                    (f" {glyph} ", tone),
                    (f"{step.act} {step.kind} ", tone),
                    (step.name, tone or "head"),
                    (f"  {why or step.note}", "bad" if why else "dim"),
                ]
            )
        if plan.keeps:
            lines.append([("", "")])
        lines += [[("stays: ", "dim"), (kept, "")] for kept in plan.keeps]
        return lines

    # ------------------------------------------------------------------ doing

    @on(Input.Submitted, "#word")
    def _typed(self, event: Input.Submitted) -> None:
        assert self._plan is not None
        if event.value.strip() == self._plan.word:
            self._begin()
        else:
            self.query_one("#how", Line).show(
                [("That is not ", "bad"), (self._plan.word, "head"), ("; nothing is done. Esc cancels", "")]
            )

    def _begin(self) -> None:
        if self._under_way or self._plan is None:
            return
        self._under_way = True
        self.query_one("#word").display = False
        self.query_one("#body").focus()
        self._draw()
        # Of the app, not of this page: leaving the page must not leave it half done.
        self.app.run_worker(self._carry_out(self._plan), group="plan")

    async def _carry_out(self, plan: Plan) -> None:
        from core import plans
        from core.errors import SkydeckError

        app, loop = self.app, asyncio.get_running_loop()
        seat, ctx = app.seat, app.seat.request()

        def tell(step: Step, what: str, why: str) -> None:
            loop.call_soon_threadsafe(self._step, step, what, why)

        app.see_to_engine()
        try:
            outcome = await asyncio.to_thread(plans.carry_out, seat.store, ctx, plan, tell=tell, leave=seat.leaving)
        except SkydeckError as bad:
            self._under_way = False
            app.tell(bad.title, bad.hint, tone="bad")
            self._look()
            return
        self._under_way = False
        self._finish(plan, outcome)

    def _step(self, step: Step, what: str, why: str) -> None:
        self._became[_key(step)] = (what, why)
        self._draw()

    def _finish(self, plan: Plan, outcome: Outcome) -> None:
        done = f"{len(outcome.done)} of {len(plan.steps)} done"
        if outcome.stopped is None:
            self._result = [[("+ ", "ok"), (f"{plan.title}: {done}", "ok")]]
            self.app.tell(f"{plan.title}: done", tone="ok")
        else:
            step, why, hint = outcome.stopped
            self._result = [
                [("! ", "bad"), (f"stopped at {step.act} {step.kind} {step.name}: {why}", "bad")],
                [(f"    {hint}", "")],
                [(f"    {done}, and stay done. The plan made again goes on from here.", "dim")],
            ]
            self.app.tell(f"{plan.title}: stopped, {done}: {why}", hint, tone="bad")
        self.app.news()
        self._draw()

    # ------------------------------------------------------------------ moving

    def action_scroll(self, by: int) -> None:
        self.query_one("#body").scroll_relative(y=by, animate=False)

    def action_leap(self, pages: float) -> None:
        body = self.query_one("#body")
        body.scroll_relative(y=round(body.size.height * pages), animate=False)

    def action_leave(self) -> None:
        self.dismiss()


def _key(step: Step) -> tuple[str, str, str, str]:
    return step.act, step.kind, step.id, step.note


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
