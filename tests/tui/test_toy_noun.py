"""A new noun costs one view declaration: a toy one gets its list, page, form, clone, YAML, palette, help and commands.

What the cloud does with kites (a table, its listing, three verbs) is the test's own; everything a person sees of them
comes from `VIEW`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import registry as registry_of_tables
from sqlmodel import Field as Stored
from sqlmodel import Session, SQLModel, col

from core import names
from core.errors import Invalid, NotFound
from core.identity import policy
from core.listing import Listing
from core.lists import LISTINGS
from core.sql import select
from core.store import Store, clock_of
from tests.tui import seed
from tests.tui.driving import SMALL, driven
from tui import registry
from tui.cli import root
from tui.cli.caller import Caller
from tui.forms import derived
from tui.locator import Locator
from tui.verbs import CLONE, COPY, DESCRIBE, NEW, OPEN, YAML, Row, Verb, deletion, editing
from tui.view import Column, Field, Form, Holds, Loaded, Tab, View
from tui.views.policy import needs_role

# ---------------------------------------------------------------------- what the cloud knows of kites


class Sky(SQLModel, registry=registry_of_tables()):
    """Its own metadata: no migration is to know kites."""


class Kite(Sky, table=True):
    id: str = Stored(primary_key=True)
    name: str
    tail_m: int
    colour: str
    flying: bool = False


LISTING = Listing(
    kind="kite",
    rule="kite:list",
    columns={name: col(getattr(Kite, name)) for name in ("id", "name", "tail_m", "colour", "flying")},
    source=lambda query: query.select_from(Kite),
    scope=lambda ctx: True,
)


def _check(name: str, tail_m: int) -> None:
    names.check(name, "kite")
    if not 1 <= tail_m <= 30:
        raise Invalid(f"a tail of {tail_m} m does not fly", hint="Between 1 and 30.")


def create(session: Session, ctx: Any, *, name: str, tail_m: int, colour: str, flying: bool) -> Kite:
    policy.authorize(ctx, "kite:create")
    _check(name, tail_m)
    kite = Kite(id=clock_of(session).uuid(), name=name, tail_m=tail_m, colour=colour, flying=flying)
    session.add(kite)
    session.flush()
    return kite


def find(session: Session, id: str) -> Kite:
    found = session.execute(select(Kite).where(col(Kite.id) == id)).scalars().first()
    if found is None:
        raise NotFound(f"no kite {id!r}")
    return found


def change(session: Session, ctx: Any, id: str, **values: Any) -> Kite:
    kite = find(session, id)
    for key, value in values.items():
        setattr(kite, key, value)
    _check(kite.name, kite.tail_m)
    return kite


def delete(session: Session, ctx: Any, id: str) -> None:
    session.delete(find(session, id))


# ---------------------------------------------------------------------- the one declaration


def _number(text: str) -> int:
    if not text.strip().isdecimal():
        raise Invalid(f"{text!r} is no length", hint="In metres.")
    return int(text)


def _values(values: dict[str, str]) -> dict[str, Any]:
    return {
        "name": values["name"].strip(),
        "tail_m": _number(values["tail_m"]),
        "colour": values["colour"],
        "flying": values["flying"] == "True",
    }


def _submit(store: Store, config: Any, ctx: Any, values: dict[str, str]) -> str:
    with store.write() as session:
        return f"kite {create(session, ctx, **_values(values)).name} made"


def _submit_edit(store: Store, config: Any, ctx: Any, values: dict[str, str]) -> str:
    with store.write() as session:
        return f"kite {change(session, ctx, values['id'], **_values(values)).name} changed"


CHOICES = {"colour": [("red", "red"), ("blue", "blue  like the sky")], "flying": [("True", "up"), ("False", "down")]}


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    return Loaded(values={"name": "kite-1", "tail_m": "3", "colour": "red", "flying": "False"}, choices=CHOICES)


def _load_row(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(values={key: str(value) for key, value in row.items()}, choices=CHOICES)


FIELDS = (
    Field(name="name", label="name"),
    Field(name="tail_m", label="tail", hint="m", holds=Holds.NUMBER),
    Field(name="colour", label="colour", choices=True, kept=True),
    Field(name="flying", label="flying", choices=True, holds=Holds.FLAG),
)

VIEW = View(
    kind="kite",
    title="Kites",
    aliases=("kt", "kite"),
    columns=(
        Column(title="NAME", key="name", width=16, grow=10),
        Column(title="TAIL", key="tail_m", width=5, right=True),
        Column(title="COLOUR", key="colour", width=8),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        CLONE,
        *editing(
            Form(title="Change kite", fields=FIELDS, load=_load_row, submit=_submit_edit),
            help="Change its tail and colour",
            disabled_reason=needs_role("kite:create"),
        ),
        Verb(
            name="land",
            key="L",
            label="land",
            help="Bring it down",
            run=lambda session, ctx, id, value: change(session, ctx, id, flying=False),
            done="landed",
        ),
        deletion(
            lambda session, ctx, id, value: delete(session, ctx, id),
            help="Let it go",
            disabled_reason=needs_role("kite:create"),
        ),
        YAML,
        COPY,
    ),
    form=Form(title="New kite", fields=FIELDS, load=_load, submit=_submit, like=_load_row),
    tabs=(Tab(title="Overview", read=lambda session, ctx, row, now: [[(f"a tail of {row['tail_m']} m", "")]]),),
    empty=lambda session, ctx: [("No kites.", "head"), ("n makes one.", "")],
    commands=True,
)


# ---------------------------------------------------------------------- what comes of it


@pytest.fixture
def kites(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setitem(registry.VIEWS, "kite", VIEW)
    monkeypatch.setitem(LISTINGS, "kite", LISTING)
    for rule in ("kite:list", "kite:create"):
        monkeypatch.setitem(policy.RULES, rule, "member")
    config, store, _ = seed.fresh(tmp_path / "home")
    with store.write() as session:
        Sky.metadata.create_all(session.connection())
    yield config, store
    store.close()


async def test_a_view_is_all_that_a_noun_needs(kites: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    config, store = kites

    async with driven((config, store), SMALL, Locator(kind="kite")) as app:
        await app.until("No kites.")  # the list, and what it says when it is empty
        await app.press("n")
        await app.until("skydeck kite create kite-1")  # the form, and the command of its own
        await app.press("down")
        await app.type("9")
        await app.until("a tail of 39 m does not fly")  # judged by the verb, at the field
        assert app.lines[5].strip().startswith("! a tail of 39 m does not fly  Between 1 and 30.")
        await app.press("backspace", "backspace", "5")
        await app.until("skydeck kite create --tail-m 5 kite-1")
        await app.press("ctrl+s")
        await app.until("kite kite-1 made")
        await app.until(lambda: "kite-1" in app.cursor)

        await app.press("N")  # another like it
        await app.until("create")
        await app.press("ctrl+s")
        await app.until(lambda: sum(line[2:].startswith("kite-1") for line in app.lines) == 2)

        await app.press("e")
        await app.until("Change kite")
        await app.press("down", "backspace", "7")
        await app.until("skydeck kite set --tail-m 7")
        await app.press("ctrl+s")
        await app.until("kite kite-1 changed")

        await app.press("d")  # its page
        await app.until("a tail of 7 m")
        await app.press("y")
        await app.until("colour: red")
        await app.press("q", "question_mark")  # its help
        await app.until("Bring it down")
        await app.press("escape", "colon")
        await app.type("kit")  # and its word
        await app.until("\n kites")
        await app.press("escape", "ctrl+p")
        await app.type("kite-1")  # and in the palette: the things themselves
        await app.until(lambda: sum("  kite  " in line for line in app.lines) == 2)
        await app.press("escape")

    monkeypatch.setattr(Caller, "store", property(lambda caller: store))
    monkeypatch.setattr(Caller, "config", property(lambda caller: config))
    monkeypatch.setattr(store, "close", lambda: None)

    def said(*words: str) -> str:
        status = root.main([*words])
        out = capsys.readouterr()
        assert status == 0, out.err
        return str(out.out + out.err)

    assert "kite " in said("--help")
    assert all(word in said("kite", "--help") for word in ("list", "show", "create", "set", "land", "delete"))
    assert "--flying" in said("kite", "create", "--help")
    assert "kite two made" in said("kite", "create", "--colour", "blue", "--tail-m", "4", "--flying", "two")
    listed = json.loads(said("kite", "list", "-f", "json", "--sort", "Name:desc"))
    assert [row["Name"] for row in listed] == ["two", "kite-1", "kite-1"]
    assert listed[0]["Colour"] == "blue"
    assert "kite two changed" in said("kite", "set", "--tail-m", "30", "two")
    assert json.loads(said("kite", "show", "-f", "json", "two"))["tail_m"] == 30
    assert "kite two: landed" in said("kite", "land", "two")
    assert "kite two: deleted" in said("kite", "delete", "two")
    assert root.main(["kite", "create", "--tail-m", "99", "x"]) == 2
    assert "a tail of 99 m does not fly" in capsys.readouterr().err

    # What a form shows is what that command line understands, here too.
    assert VIEW.form is not None
    loaded = _load(None, None, None)
    [line] = derived.commands(VIEW, VIEW.form, loaded, loaded.values | {"name": "-x", "flying": "True", "tail_m": "2"})
    assert "kite -x made" in said(*line)
