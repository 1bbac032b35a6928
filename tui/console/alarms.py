"""What guests told on their consoles while the app is open, as messages: panics, memory, disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.text import safe

if TYPE_CHECKING:
    from tui.app import Skydeck

AT_ONCE = 3
"""Messages shown one by one; more at a time are counted."""


class Alarms:
    """Looks for new ones whenever the store has changed."""

    def __init__(self, app: Skydeck) -> None:
        self._app = app
        self._seen: int | None = None
        """The newest event that was looked at."""

    async def look(self) -> None:
        """Say what is new. What happened before the app was opened is in the audit list, and is not said."""
        from core.consoles import heard

        seat = self._app.seat
        ctx, seen = seat.ctx, self._seen
        if seen is None:
            self._seen = await seat.read(heard.newest)
            return
        found = await seat.read(lambda session: heard.since(session, ctx, seen))
        if not found:
            return
        self._seen = max(event.id or seen for event in found)
        bad = [event for event in found if event.action in heard.BAD]
        for event in found:
            words = heard.WORDS[event.action]
            told = event.after or {}
            times = f" ({told['times']} times)" if int(told.get("times", 1)) > 1 else ""
            name = safe(event.object_name)
            if event not in bad:
                self._app.keep(f"{name} {words}", tone="ok")
                continue
            title = f"{name}: {words}{times}"
            hint = f"{safe(told.get('line', ''))[:120]}   l reads its log"
            if len(bad) > AT_ONCE:
                self._app.keep(title, hint, tone="bad")
            else:
                self._app.tell(title, hint, tone="bad")
        if len(bad) > AT_ONCE:
            names = ", ".join(dict.fromkeys(safe(event.object_name) for event in bad[:AT_ONCE]))
            self._app.tell(f"{len(bad)} guests are in trouble: {names}, …", "M lists what they said", tone="bad")
