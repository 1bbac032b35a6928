"""What is done with a list: order, columns, marks, faults, holding it still, and the way back."""

from __future__ import annotations

import dataclasses

import pytest

from tests.tui.driving import LARGE, Cloud, driven
from tests.tui.test_browser import add, change, instance, on, operations
from tui import registry, shape
from tui.keymap import MOVES
from tui.locator import Locator
from tui.settings import load

INSTANCES = registry.VIEWS["instance"]


def test_a_choice_of_columns_is_words() -> None:
    available = shape.available(INSTANCES, ["name", "vcpus", "launched_at"])
    assert [column.title for column in available[-2:]] == ["VCPUS", "LAUNCHED AT"]
    chosen = shape.chosen(available, ["vcpus", "gone", "name:30", "image?", "name", "host:999?"])
    assert [(shape.named(one), one.width, one.grow, one.wide) for one in chosen] == [
        ("vcpus", 14, 0, False),
        ("name", 30, 0, False),
        ("image", 16, 0, True),
        ("host", shape.WIDEST, 0, True),
    ]
    assert [shape.word(one) for one in chosen] == ["vcpus", "name", "image?", "host?"]
    assert shape.chosen(available, ["gone"]) == INSTANCES.columns[:1], "a list shows something"
    assert shape.column_key(INSTANCES, ["created_at"], "AGE") == "created_at"
    assert shape.column_key(INSTANCES, ["created_at"], "colour") == "colour"


async def test_columns_are_chosen_in_the_app_and_kept(seeded: Cloud) -> None:
    path = seeded[0].home / "config.toml"
    path.write_text("# mine\n")
    async with driven(seeded, LARGE) as app:
        await app.press("C")
        await app.until("Columns of instances")
        # STATUS is hidden, IP goes before the name and is narrower, a column that the view does not know is shown.
        await app.press("j", "space", "space", "j", "K", "K", "left", "G", "space")
        await app.until(lambda: "STATUS" not in app.lines[2].split("╭")[0])
        assert app.lines[2].split()[:2] == ["IP", "NAME^"]
        await app.press("s")
        await app.until("sort:LAUNCHED AT^")
        await app.press("escape")
        await app.until(lambda: app.lines[2].split()[:2] == ["NAME", "STATUS"])
        assert path.read_text() == "# mine\n", "Esc leaves all as it was"
        await app.press("C", "j", "space", "space", "enter")
        await app.until(lambda: "STATUS" not in app.lines[2])
        await app.until(lambda: load(path).columns)
    assert path.read_text().startswith("# mine\n")
    kept = load(path)
    assert kept.columns["instance"][:2] == ["name", INSTANCES.columns[2].key or "ip"]
    async with driven(
        seeded, LARGE, settings=dataclasses.replace(kept, columns={"instance": ["name", "vcpus:9"]})
    ) as app:
        await app.until(lambda: app.lines[2].split() == ["NAME^", "VCPUS"])
        assert app.cursor.split() == [">", "batch-04", "1"]
        await app.press("greater_than_sign")
        await app.until("sort:VCPUS^")
        await app.press("w")
        await app.until("FLAVOR")
        await app.press("C", "r", "enter")
        await app.until(lambda: "instance" not in load(path).columns)


async def test_the_cursor_stays_on_its_object_through_every_order_and_on_the_way_back(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await on(app, "lb-09")
        for key in ("comma", "greater_than_sign", "greater_than_sign", "less_than_sign"):
            await app.press(key)
            await app.until(lambda: "lb-09" in app.cursor)
        for title in ("STATUSv", "STATUS^"):
            await app.pilot.click("#rows", offset=(20, 0))
            await app.until(f"sort:{title}")
            await app.until(lambda: "lb-09" in app.cursor)
        await app.press("d")
        await app.until("Instances > lb-09")
        await app.press("q", "colon")
        await app.type("hv")
        await app.press("enter")
        await app.until("Hosts(")
        await app.press("j", "enter")
        await app.until("kvm02 > Instances(all)")
        await app.press("j", "j", "q")
        await app.until("Hosts(")
        await app.until(lambda: "kvm02" in app.cursor)
        await app.press("q")
        await app.until(lambda: "lb-09" in app.cursor)
        await app.press("right_square_bracket")
        await app.until(lambda: "kvm02" in app.cursor)
        await app.press("minus")
        await app.until(lambda: "lb-09" in app.cursor)


async def test_ranges_of_marks_follow_the_order_and_die_with_their_objects(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("j", "V")
        await app.until("a range begins here")
        await app.press("j", "j", "V")
        await app.until("marks:3")
        assert list(app.app.browser.rows.marks.values()) == ["batch-10", "batch-16", "batch-22"]
        await app.press("G", "V")
        await app.until("marks:23")
        change(seeded[1], "web-00", deleted_at=1)
        await app.until("marks:22")
        await app.press("backslash")
        await app.until(lambda: "marks" not in app.text)
        await app.press("g", "space", "j", "j", "V")
        await app.until("marks:4")
        # The filter hides what is marked; marks are of objects, and what is done is done to them.
        await app.press("slash")
        await app.type("web")
        await app.press("enter")
        await app.until("marks:4")
        await app.press("b")
        await app.until(lambda: len(operations(seeded[1], "instance.start")) == 4)
        await app.press("backslash", "full_stop")
        await app.until("cannot start: ")


async def test_only_what_is_wrong(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="instance", filter="lb")) as app:
        await app.press("Z")
        await app.until("4/24   /lb status=ERROR")
        assert "faults" in app.lines[1]
        await app.press("Z")
        await app.until(lambda: app.app.browser.locator.filter == "lb")
        await app.press("colon")
        await app.type("flv")
        await app.press("enter")
        await app.until("Flavors(")
        await app.press("Z")
        await app.until("flavors are never at fault")


@pytest.mark.parametrize("kind", [kind for kind, view in registry.VIEWS.items() if view.faults])
async def test_every_filter_of_faults_can_be_asked(kind: str, seeded: Cloud) -> None:
    from core import cloud, listing
    from core.lists import LISTINGS
    from tui.locator import split_filter

    where, text = split_filter(registry.VIEWS[kind].faults)
    with seeded[1].read() as session:
        ctx = cloud.context(session, seeded[0], source="test")
        assert listing.count(session, ctx, LISTINGS[kind], where=where, text=text) >= 0


async def test_a_list_that_is_held_changes_only_when_it_goes_on(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("p")
        await app.until("held: p goes on")
        add(seeded[1], "web-00", "aaa-first")
        change(seeded[1], "batch-04", vm_state="active")
        await app.pilot.pause(0.5)
        assert "aaa-first" not in app.text
        assert "o SHUTOFF" in app.cursor
        await app.press("slash")
        await app.type("aaa")
        await app.until("aaa-first")
        await app.press("escape", "p")
        await app.until(lambda: "held" not in app.text and "aaa-first" in app.text)
        assert "batch-04       + ACTIVE" in app.text


async def test_the_last_action_is_repeated_on_what_is_meant_now(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("full_stop")
        await app.until("nothing was done yet")
        await app.press("b")
        await app.until("starting batch-04")
        await app.press("j", "full_stop")
        await app.until("starting batch-10")
        await app.press("colon")
        await app.type("vol")
        await app.press("enter")
        await app.until("Volumes(")
        await app.press("full_stop")
        await app.until("start cannot be done to volumes")


async def test_filters_find_letters_in_their_order_and_values_that_begin_so(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        for filter, count in (
            ("-f b2", 3),
            ("-f bt2", 1),
            ("-f !b2", 21),
            ("status=err*,pau*", 8),
            ("web !06", 3),
            ('name="web-06"', 1),
            ("flavor=m1.tiny,m1.large", 16),
        ):
            app.app.browser.visit(Locator(kind="instance", filter=filter))
            await app.until(f" {count}/24 ")


async def test_movement_is_the_same_in_lists_and_pages(seeded: Cloud) -> None:
    with seeded[1].read() as session:
        assert instance(session, "web-00")
    async with driven(seeded) as app:
        height = app.app.browser.rows.height
        for keys, at in (
            (("G",), 23),
            (("g",), 0),
            (("ctrl+d",), height // 2),
            (("ctrl+u",), 0),
            (("ctrl+f",), height),
            (("ctrl+b",), height - height),
            (("end", "up"), 22),
            (("home", "down", "j", "k"), 1),
        ):
            await app.press(*keys)
            assert app.app.browser.rows.cursor == at, keys
        await app.press("question_mark")
        await app.until("Help: Instances")
        body = app.app.screen.query_one("#body")
        for keys, scrolled in ((("j", "j"), 2), (("G",), body.max_scroll_y), (("g",), 0), (("ctrl+d",), 10)):
            await app.press(*keys)
            assert round(body.scroll_y) in (scrolled, scrolled + 1), keys
    assert set(MOVES) >= {"down", "up", "top", "bottom", "half_down", "half_up", "page_down", "page_up"}


async def test_help_is_searched(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("question_mark", "slash")
        await app.type("sort col")
        await app.until(lambda: "Everything about it" not in app.text)
        assert "Sort by the column to the left" in app.text
        assert "1 … 9" not in app.text
        await app.press("enter", "escape")
        await app.until("Everything about it")
        await app.press("slash")
        await app.type("recent")
        await app.until("1 … 9")
        await app.press("escape")
        await app.press("q")
        await app.until("Instances(admin)")
