"""Why: what is wrong with an object, what would help, and why each verb that cannot be done to it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import work
from textual.widgets import Static

from tui.screens.reading import Reading
from tui.verbs import Reason, Row, Verb
from tui.view import Cell, Lines
from tui.views.why import of_object
from tui.widgets.lines import page

if TYPE_CHECKING:
    from tui.app import Skydeck


class WhyScreen(Reading):
    """About a row of a kind; with `verbs`, those that cannot be done to it now, each with its reason."""

    app: Skydeck

    def __init__(self, kind: str, row: Row | None, name: str, verbs: Sequence[tuple[Verb, Reason]]) -> None:
        super().__init__()
        self._kind = kind
        self._row = row
        self._whose = name
        self._verbs = verbs

    def on_mount(self) -> None:
        super().on_mount()
        self._look()

    def title_cells(self) -> list[Cell]:
        return [("Why: ", ""), (self._whose, "head")]

    def lines(self, width: int) -> Lines:
        return self._refused()

    @work(exclusive=True, group="why")
    async def _look(self) -> None:
        from core.errors import SkydeckError

        seat, row = self.app.seat, self._row
        if row is None:
            return
        ctx = seat.request()
        try:
            found = await seat.read(lambda session: of_object(session, ctx, self._kind, row))
        except SkydeckError as bad:
            found = [[(bad.title, "bad")], [(f"  {bad.hint}", "")]]
        if self.is_attached:
            refused = self._refused()
            self.query_one("#text", Static).update(
                page([*found, *([[("", "")]] if found and refused else []), *refused])
            )

    def _refused(self) -> Lines:
        if not self._verbs:
            return []
        who = self.app.seat.ctx
        lines: Lines = [[("Cannot be done now", "head")]]
        together: dict[Reason, list[Verb]] = {}
        for verb, refusal in self._verbs:
            together.setdefault(refusal, []).append(verb)
        for (why, hint), verbs in together.items():
            keys: list[Cell] = [("  ", "")]
            for verb in verbs:
                keys += [(verb.symbol, "key"), (f" {verb.label}  ", "")]
            lines += [keys, [("    ", ""), (why, "warn")]]
            if hint:
                lines.append([(f"    {hint}", "dim")])
        roles = ", ".join(sorted(who.roles)) or "none"
        lines += [
            [("", "")],
            [(f"You are {who.user_name} in project {who.project_name}, with the roles: {roles}", "dim")],
        ]
        return lines
