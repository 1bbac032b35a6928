"""Every declaration holds: columns exist where they are read, keys do not clash, every width has a layout."""

from __future__ import annotations

import pytest

from core.lists import LISTINGS
from tui import registry
from tui.locator import Locator, parse, split_filter
from tui.screens.acting import ActingScreen
from tui.screens.browser import BrowserScreen
from tui.verbs import GENERAL, Confirm, Needs
from tui.view import View
from tui.widgets.columns import GUTTER, arrange

VIEWS = [pytest.param(view, id=kind) for kind, view in registry.VIEWS.items()]


@pytest.mark.parametrize("view", VIEWS)
def test_columns_are_the_listings(view: View) -> None:
    columns = LISTINGS[view.kind].columns
    assert view.key == LISTINGS[view.kind].key
    assert {column.key for column in view.columns if column.key} <= set(columns)
    assert {view.name, view.sort.removeprefix("-"), *view.copies} - {"ip"} <= set(columns)


@pytest.mark.parametrize("view", VIEWS)
def test_a_key_means_one_thing(view: View) -> None:
    keys = [verb.key for verb in (*view.verbs, *GENERAL)]
    assert sorted(set(keys)) == sorted(keys)
    names = [verb.name for verb in (*view.verbs, *GENERAL)]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("view", VIEWS)
def test_a_verb_does_one_of_three_things(view: View) -> None:
    for verb in view.verbs:
        assert [bool(verb.action), bool(verb.run), verb.form is not None].count(True) == 1, verb.name
        if verb.action:
            assert hasattr(BrowserScreen, f"go_{verb.action}"), verb.name
        if verb.run:
            assert verb.done
            assert verb.needs is (Needs.OBJECT if verb.pick else Needs.OBJECTS)
        if verb.dangerous:
            assert verb.confirm is not Confirm.NONE


def test_general_verbs_have_their_action() -> None:
    assert all(hasattr(BrowserScreen, f"go_{verb.action}") for verb in GENERAL)
    assert hasattr(ActingScreen, "go_menu")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("wide", [False, True])
def test_every_width_has_a_layout_that_fits(view: View, wide: bool) -> None:
    for width in range(40, 260):
        for first in range(len(view.columns)):
            layout = arrange(view.columns, width, wide=wide, first=first)
            used = GUTTER + sum(cells for _, cells in layout.columns) + len(layout.columns) - 1
            assert used <= width
            assert layout.columns[0][0] is view.columns[0]
            assert len({id(column) for column, _ in layout.columns}) == len(layout.columns)


@pytest.mark.parametrize("view", VIEWS)
def test_at_eighty_columns_nothing_usual_is_hidden(view: View) -> None:
    shown = {column.title for column, _ in arrange(view.columns, 80, wide=False, first=0).columns}
    assert {column.title for column in view.columns if not column.wide} <= shown


def test_words_are_unique_and_found_by_what_they_contain() -> None:
    words = [word for view in registry.VIEWS.values() for word in (*view.aliases, view.title.lower())]
    assert len(words) == len(set(words))
    assert registry.kind_of("i") == "instance"
    assert registry.suggest("work") == ["networks"]
    assert registry.suggest("p")[0] == "projects"
    assert registry.suggest("zzz") == []


@pytest.mark.parametrize(
    ("text", "word", "locator"),
    [
        ("i", "i", Locator(kind="")),
        (":i web /err", "i", Locator(kind="", project="web", filter="err")),
        ("i @all /err !x sort=-created_at", "i", Locator(kind="", project="@all", filter="err !x", sort="-created_at")),
        ("i status=error host=!kvm01", "i", Locator(kind="", filter="status=error host=!kvm01")),
        ("", "", Locator(kind="")),
    ],
)
def test_locators(text: str, word: str, locator: Locator) -> None:
    assert parse(text) == (word, locator)
    if word:
        assert parse(locator.show(word)) == (word, locator)


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("web", {}, "web"),
        ("!web", {}, "!web"),
        ("!", {}, ""),
        ("Status=error web", {"status": "error"}, "web"),
        ("status!=error", {"status": "!error"}, ""),
        ("status=", {}, ""),
        ("status=!", {}, ""),
    ],
)
def test_filters(text: str, where: dict[str, str], words: str) -> None:
    assert split_filter(text) == (where, words)
