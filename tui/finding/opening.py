"""Opening an object, or a list, from wherever one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tui import registry
from tui.locator import Locator
from tui.verbs import Row
from tui.view import View

if TYPE_CHECKING:
    from tui.app import Skydeck


def open_object(app: Skydeck, kind: str, key: Any, *, instead: Callable[[], None] | None = None) -> None:
    """The page of an object, in front of what is there; a message when it is gone, or has no page. `instead`: done then
    as well, to show the next best."""
    app.run_worker(_open(app, kind, key, instead), group="open", exclusive=True)


async def _open(app: Skydeck, kind: str, key: Any, instead: Callable[[], None] | None) -> None:
    from core import listing as lists
    from core.errors import SkydeckError

    seat = app.seat
    if kind not in seat.listings:
        app.tell(f"there is no page about a {said(kind)}", tone="warn")
        return
    ctx, listing = seat.ctx, seat.listings[kind]
    try:
        row = await seat.read(lambda session: lists.one(session, ctx, listing, key))
    except SkydeckError as bad:
        app.tell(bad.title, bad.hint, tone="bad")
        return
    if row is None:
        if instead is not None:
            instead()
        # On the page that comes in front now.
        hint = "Or it is another project's: 0 shows all projects."
        app.call_after_refresh(app.tell, f"that {said(kind)} is gone", hint, tone="warn")
        return
    show(app, kind, row)


def show(app: Skydeck, kind: str, row: Row, *, tab: str = "") -> None:
    """The page of an object that has been read."""
    from tui.screens.detail import DetailScreen

    view = registry.VIEWS.get(kind)
    if view is None:
        app.tell(f"there is no page about a {said(kind)}", tone="warn")
        return
    app.push_screen(DetailScreen(view, row, tab))


def owner(app: Skydeck, view: View, row: Row) -> None:
    """The page of what an object belongs to."""
    app.run_worker(_owner(app, view, row), group="open", exclusive=True)


async def _owner(app: Skydeck, view: View, row: Row) -> None:
    from core import relations
    from core.errors import SkydeckError

    ctx = app.seat.ctx
    try:
        found = await app.seat.read(lambda session: relations.owner(session, ctx, view.kind, row))
    except SkydeckError as bad:
        app.tell(bad.title, bad.hint, tone="bad")
        return
    if found is None:
        app.tell(f"this {said(view.kind)} belongs to nothing you may see", tone="warn")
        return
    show(app, found.kind, found.row)


FORM_OPEN = ("a form is open", "Esc leaves it; then go elsewhere.")


def is_filling_in(app: Skydeck) -> bool:
    """Whether going to a list would lose what was typed into a form."""
    from tui.screens.form import FormScreen

    return any(isinstance(screen, FormScreen) for screen in app.screen_stack)


def show_list(app: Skydeck, locator: Locator) -> None:
    """A list, whatever is in front of it; a form that is being filled in stays."""
    if is_filling_in(app):
        app.tell(*FORM_OPEN, tone="warn")
        return
    while len(app.screen_stack) > 1:
        app.pop_screen()
    app.browser.go_to(locator)


def said(kind: str) -> str:
    """A kind in words: `floating ip`."""
    return kind.replace("_", " ")
