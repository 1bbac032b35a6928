"""The half of an acting screen that explains and takes back: why, plans, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.screen import Screen

from tui.verbs import Reason, Row, Verb
from tui.view import View

if TYPE_CHECKING:
    from tui.app import Skydeck


class TrustingScreen(Screen[None]):
    """What subclasses give is declared in `acting`."""

    app: Skydeck
    view: View

    if TYPE_CHECKING:

        @property
        def verbs(self) -> tuple[Verb, ...]: ...

        def why_not(self, verb: Verb) -> Reason | None: ...

        def under_cursor(self) -> Row | None: ...

        def called(self, row: Row) -> str: ...

    def go_why(self, row: Row | None) -> None:
        """What is wrong with what is under the cursor, and why each greyed verb is greyed."""
        self.explain(row or self.under_cursor(), [(verb, why) for verb in self.verbs if (why := self.why_not(verb))])

    def explain(self, row: Row | None, refused: list[tuple[Verb, Reason]]) -> None:
        """The page that says why."""
        from tui.screens.why import WhyScreen

        name = self.called(row) if row is not None else self.view.title
        self.app.push_screen(WhyScreen(self.view.kind, row, name, refused))

    def go_undo(self, row: Row | None) -> None:
        """What the person did, to be taken back."""
        from tui.screens.undo import UndoScreen

        self.app.push_screen(UndoScreen())

    def go_plan(self, row: Row | None) -> None:
        """`:plan`: what deleting, or emptying, the object under the cursor would do."""
        row = row or self.under_cursor()
        names = [verb.plan(row) for verb in self.view.verbs if row is not None]
        name = next((name for name in names if name), "")
        if row is None or not name:
            self.app.tell(f"{self.view.title.lower()} have no plan", "Hosts, projects and networks have.", tone="warn")
            return
        self.lay_out(name, row)

    def lay_out(self, name: str, row: Row) -> None:
        """The page of a plan."""
        from tui.screens.plan import PlanScreen

        self.app.push_screen(PlanScreen(name, row[self.view.key]))
