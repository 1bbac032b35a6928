"""A line that is typed, in the order in which its keys came.

Textual's own handles letters at once, but Backspace and its like only after they have come back from the app: of keys
that arrive together (a slow link, a fast hand) the letters would be first.
"""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class TypedLine(Input):
    """An Input that does its own keys itself."""

    async def _on_key(self, event: events.Key) -> None:
        own = () if event.is_printable else self._bindings.key_to_bindings.get(event.key, ())
        for binding in own:
            event.stop()
            event.prevent_default()
            await self.run_action(binding.action)
            return
        await super()._on_key(event)
