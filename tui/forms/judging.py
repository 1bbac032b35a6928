"""What a form's verb would say to the values as they stand, and which field it would say it of.

The verb itself is asked, by rehearsing it: no rule is restated here. It answers with a sentence, not with a field's
name; the field is found by looking for what was typed in the sentence, and else by putting fields back one by one
until the verb has nothing against them, or something else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tui.view import Field, Form

if TYPE_CHECKING:
    from core.errors import SkydeckError
    from core.rehearsal import Count

Values = dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What would become of the form if it were submitted now."""

    refused: SkydeckError | None = None
    """None: it would be accepted."""
    field: str = ""
    """The field the refusal is about; empty: the form as a whole."""
    counts: dict[str, Count] = dataclasses.field(default_factory=dict)
    """What would change of what a quota counts."""


def judge(
    store: Any, config: Any, ctx: Any, *, form: Form, fields: Sequence[Field], start: Values, values: Values
) -> Verdict:
    """Rehearse the form's verb. `start` is what the form began with, `fields` those that are shown.

    Raises Unavailable when the store cannot be used.
    """
    from core import rehearsal

    def tried(these: Values) -> rehearsal.Outcome:
        return rehearsal.outcome(store, ctx, lambda trial: form.submit(trial, config, ctx, these))

    found = tried(values)
    if found.refused is None:
        return Verdict(counts=found.counts)

    def other(field: str) -> bool:
        """Whether it would say something else if this field were as it was at the start."""
        refused = tried(values | {field: start.get(field, "")}).refused
        return refused is None or refused.title != found.refused.title  # type: ignore[union-attr]

    at = blamed(found.refused, fields=fields, start=start, values=values, other=other)
    return Verdict(refused=found.refused, field=at, counts=found.counts)


def blamed(refused: SkydeckError, *, fields: Sequence[Field], start: Values, values: Values, other: Any = None) -> str:
    """The field a refusal is about; empty for one that is about none. `other` (field) tells whether
    the refusal goes when that field is put back."""
    from core.errors import Forbidden, NoValidHost, QuotaExceeded, Unavailable

    if isinstance(refused, (Forbidden, NoValidHost, QuotaExceeded, Unavailable)):
        return ""
    said = f"{refused.title}\n{refused.hint}"
    quoted = [field.name for field in fields if _quoted(values.get(field.name, ""), said)]
    if len(quoted) == 1:
        return quoted[0]
    changed = [field.name for field in fields if values.get(field.name) != start.get(field.name)]
    guilty = [name for name in changed if len(changed) == 1 or (other is not None and other(name))]
    if guilty:
        # Of two that do not go together, the one below: it is filled in with the other in view.
        return guilty[-1]
    named = [field.name for field in fields if _named(field, refused.title)]
    return named[0] if named else ""


def _quoted(value: str, said: str) -> bool:
    if not value.strip():
        return f"{value!r}" in said
    return f"{value.strip()!r}" in said or (len(value.strip()) > 2 and f" {value.strip()} " in f" {said} ")


def _named(field: Field, title: str) -> bool:
    names = {field.name.replace("_", " "), field.label.lower(), field.called.replace("_", " ")}
    return any(re.search(rf"\b{re.escape(name)}\b", title.lower()) for name in names)
