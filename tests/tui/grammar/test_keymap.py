"""Every key is declared once, with an id and a help; what a person moves is there, and clashes are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.driving import Cloud, driven
from tui import keysdoc
from tui.keymap import Keymap, all_shown, declarations, exists, normal, shown
from tui.settings import Settings

DECLARED = {
    "move.down": "j,down",
    "app.help": "question_mark",
    "app.hold": "p",
    "instance.stop": "S",
    "instance.describe": "d",
    "volume.describe": "d",
    "volume.attach": "A",
    "form.submit": "ctrl+s",
}


def test_the_document_is_what_the_declarations_say() -> None:
    path = Path(__file__).parents[3] / "docs" / "keys.md"
    assert path.read_text() == keysdoc.rendered(), "python -m tui.keysdoc > docs/keys.md"


def test_every_key_has_an_id_and_a_help_and_ids_are_unique() -> None:
    found = declarations()
    ids = [one.id for one in found]
    assert len(ids) == len(set(ids)) > 100
    for one in found:
        assert one.help[0].isupper() or not one.help[0].isalpha(), one
        assert all(exists(key) for key in one.keys.split(",")), one


@pytest.mark.parametrize(
    ("typed", "name", "text"),
    [
        ("?", "question_mark", "?"),
        ("Ctrl+N", "ctrl+n", "Ctrl+N"),
        ("K", "K", "K"),
        ("PageDown", "pagedown", "PgDn"),
        (" space ", "space", "Space"),
        ("f5", "f5", "f5"),
        ("-", "minus", "-"),
    ],
)
def test_keys_are_named_as_people_write_them(typed: str, name: str, text: str) -> None:
    assert (normal(typed), shown(name)) == (name, text)
    assert exists(name)
    assert not exists("contrl+x y")


def test_what_is_moved_is_there_and_nowhere_else() -> None:
    keys = Keymap(DECLARED, {"instance.stop": "ctrl+x, K", "every.describe": "i"})
    assert keys.keys == {"instance.stop": "ctrl+x,K", "instance.describe": "i", "volume.describe": "i"}
    assert keys.problems == []
    assert all_shown(keys.keys["instance.stop"]) == "Ctrl+X K"


@pytest.mark.parametrize(
    ("changes", "problem", "keys"),
    [
        # The one that was moved has the key; the other keeps what else it has.
        ({"instance.stop": "j"}, "j is instance.stop now: move.down has lost it", {"move.down": "down"}),
        ({"instance.stop": "p"}, "p is instance.stop now: app.hold has lost it", {"app.hold": ""}),
        # Another noun's key is free here; a form's too.
        ({"instance.stop": "A"}, None, {}),
        ({"app.hold": "ctrl+s"}, None, {}),
        # Two that change places do not clash.
        ({"instance.stop": "d", "instance.describe": "S"}, None, {"instance.describe": "S"}),
        ({"instance.halt": "K"}, "keymap: nothing is called 'instance.halt'", {}),
        ({"instance.stop": "nosuchkey"}, "keymap: there is no key 'nosuchkey' (instance.stop)", {}),
    ],
)
def test_clashes(changes: dict[str, str], problem: str | None, keys: dict[str, str]) -> None:
    found = Keymap(DECLARED, changes)
    assert found.problems == ([problem] if problem else [])
    assert {id: key for id, key in found.keys.items() if id in keys} == keys


async def test_the_app_with_a_keymap(seeded: Cloud) -> None:
    keymap = {"instance.start": "K", "move.down": "n", "app.hold": "ctrl+y", "app.nothing": "x"}
    async with driven(seeded, settings=Settings(keymap=keymap)) as app:
        await app.until("nothing is called 'app.nothing' and")
        await app.press("n")
        assert "batch-10" in app.cursor
        await app.press("j")
        assert "batch-10" in app.cursor, "j moves no more"
        await app.press("b")
        await app.press("ctrl+y")
        await app.until("held")
        await app.press("ctrl+y", "K")
        await app.until("starting batch-10")
        await app.press("question_mark")
        await app.until("Help: Instances")
        assert any(line.split()[:2] == ["K", "Start"] for line in app.lines)
        await app.press("q", "colon")
        await app.type("keys")
        await app.press("enter")
        await app.until("n is move.down now: instance.new and ")
        await app.press("slash")
        await app.type("instance.start")
        await app.until("K              instance.start  Start  (was b)")
