"""Every form of the app, with a row to open it about and something to type: what the tests of forms have in common."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from sqlmodel import Session, SQLModel

from core import listing
from core.context import Context
from core.lists import LISTINGS
from core.sql import select
from tui import registry
from tui.verbs import Row
from tui.view import Form, Loaded


@dataclasses.dataclass(frozen=True)
class Case:
    """What is typed into one form. `verb`: `new`, `clone`, or the name of the verb that opens it."""

    kind: str
    verb: str
    where: dict[str, str] = dataclasses.field(default_factory=dict)
    """The row that it is about; the first one of its list when it names none."""
    typed: dict[str, str] = dataclasses.field(default_factory=dict)
    """Field to what is typed or chosen; a choice by the beginning of what is shown, after a `~`."""

    def __str__(self) -> str:
        return "-".join([self.kind, self.verb, *self.typed.values()])[:60]

    @property
    def form(self) -> Form:
        view = registry.VIEWS[self.kind]
        if self.verb in ("new", "clone"):
            assert view.form is not None
            like = view.form.like
            return view.form if self.verb == "new" else dataclasses.replace(view.form, load=like)  # type: ignore[arg-type]
        form = next(verb.form for verb in view.verbs if verb.name == self.verb)
        assert form is not None
        return form

    def row(self, session: Session, ctx: Context) -> Row | None:
        where = {"name": self.where["name"]} if set(self.where) == {"name"} else self.where
        found = listing.page(session, ctx, LISTINGS[self.kind], where=where, limit=1)
        return found[0] if found and (self.where or self.verb != "new") else None

    def opened(self, session: Session, ctx: Context) -> tuple[Loaded, dict[str, str]]:
        """The form as it begins, and with what is typed."""
        loaded = self.form.load(session, ctx, self.row(session, ctx))
        assert loaded.problem is None, loaded.problem
        return loaded, loaded.values | {name: _chosen(loaded, name, text) for name, text in self.typed.items()}


def _chosen(loaded: Loaded, name: str, text: str) -> str:
    if not text.startswith("~"):
        return text
    return ",".join(
        next(key for key, shown in loaded.choices[name] if shown.startswith(word)) for word in text[1:].split("+")
    )


def forms() -> Iterator[tuple[str, str, Form]]:
    """(kind, verb, form) of every form that a view opens."""
    for kind, view in registry.VIEWS.items():
        if view.form is not None:
            yield kind, "new", view.form
            if view.form.like is not None:
                yield kind, "clone", view.form
        for verb in view.verbs:
            if verb.form is not None:
                yield kind, verb.name, verb.form


# ---------------------------------------------------------------------------- what became of it

_SKIPPED = {"event", "host_networking", "networking_pending", "alembic_version"}
"""How often a host is told, and who did it how, is no part of what was asked for."""
_UNSAID = {
    "args",
    "request_id",
    "source",
    "id",
    "key_hash",
    "step_no",
    "updated_at",
    "generation",
    "revision",
}
_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b|\br-[0-9a-f]{8}\b")
_MAC = re.compile(r"fa:16:3e(:[0-9a-f]{2}){3}")


def ids(session: Session) -> set[str]:
    return {found for lines in _lines(session, set()).values() for line in lines for found in _ID.findall(line)}


def dump(session: Session, known: set[str]) -> dict[str, list[str]]:
    """Table to its rows as text, without what is made anew each time. `known`: ids that mean something."""
    session.flush()
    return _lines(session, known)


def _lines(session: Session, known: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table in SQLModel.metadata.sorted_tables:
        if table.name in _SKIPPED:
            continue
        rows: list[str] = []
        for row in session.execute(select(table)).mappings():
            kept: dict[str, Any] = {key: value for key, value in row.items() if not known or key not in _UNSAID}
            text = json.dumps(kept, default=str, sort_keys=True)
            if known:
                text = _MAC.sub("MAC", _ID.sub(lambda match: match[0] if match[0] in known else "NEW", text))
            rows.append(text)
        found[table.name] = sorted(rows)
    return found
