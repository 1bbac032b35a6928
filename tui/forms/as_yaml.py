"""Changing an object as YAML: its form's fields as a document, edited until it is taken, given up or left as it was."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from tui.forms import document, editor
from tui.verbs import Row
from tui.view import Form

if TYPE_CHECKING:
    from tui.screens.acting import ActingScreen


def change(screen: ActingScreen, form: Form, row: Row) -> None:
    """Begin; what comes of it is told when it comes."""
    screen.run_worker(_change(screen, form, row), group="as_yaml", exclusive=True)


async def _change(screen: ActingScreen, form: Form, row: Row) -> None:
    from core.errors import SkydeckError

    app, view = screen.app, screen.view
    seat, name = app.seat, screen.called(row)
    ctx = seat.request()
    try:
        loaded = await seat.read(lambda session: form.load(session, ctx, row))
    except SkydeckError as bad:
        app.tell(bad.title, bad.hint, tone="bad")
        return
    if loaded.problem is not None:
        app.tell(*loaded.problem, tone="warn")
        return
    path = editor.place(seat.config.home, view.kind, name, str(row[view.key])[:8], suffix=".yaml")
    text = document.write(form, loaded, about=f"{view.kind.replace('_', ' ')} {name}")
    if (left := editor.left(path)) not in ("", text):
        text = document.refused(left, "this text was left here before; it is not in force", "Empty it to begin anew.")
    while True:
        editor.keep(path, text)
        back = await editor.edit(app, path, title=f"{form.title}: {name}")
        if back is None or (back == text and text.startswith(document.REFUSED)):
            app.tell(f"{name} was not changed", f"The text is kept in {path}; E goes on with it.", tone="warn")
            return
        try:
            values = document.read(form, loaded, back, row=row)
            if values == loaded.values:
                path.unlink()
                app.tell(f"nothing was changed in {name}", tone="ok")
                return
            said = await seat.call(functools.partial(form.submit, seat.store, seat.config, ctx, values))
        except SkydeckError as bad:
            text = document.refused(back, bad.title, bad.hint)
            continue
        path.unlink()
        app.tell(said, tone="ok")
        screen.acted()
        app.see_to_engine()
        app.news()
        return
