"""How the list behaves: the cursor stands on an object, marks are of objects, and what is asked is what was meant."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.hosts.hosts import Host
from core.operations.operations import Operation
from core.sql import select
from core.store import Store
from tests.tui.driving import LARGE, Cloud, Driver, driven
from tui.locator import Locator


def instance(session: Session, name: str) -> Instance:
    found: Instance = session.execute(
        select(Instance).where(col(Instance.name) == name, col(Instance.deleted_at) == 0)
    ).scalar_one()
    return found


def change(store: Store, name: str, /, **values: Any) -> None:
    """As another program would."""
    with store.write() as session:
        row = instance(session, name)
        for key, value in values.items():
            setattr(row, key, value)


def add(store: Store, like: str, name: str) -> None:
    with store.write() as session:
        row = instance(session, like)
        values = row.model_dump() | {"id": f"new-{name}", "name": name}
        session.add(Instance(**values))


def operations(store: Store, kind: str) -> list[Operation]:
    with store.read() as session:
        return list(session.execute(select(Operation).where(col(Operation.kind) == kind)).scalars())


async def on(app: Driver, name: str) -> None:
    """Move the cursor to a row of the unfiltered list."""
    for at in range(app.app.browser.rows.pages.count):
        if (app.app.browser.rows.pages.row(at) or {}).get("name") == name:
            app.app.browser.rows._go(at)
            await app.pilot.pause()
            return
    raise AssertionError(name)


async def test_the_cursor_stays_on_its_object_when_rows_come_before_it(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("G")
        assert "web-18" in app.cursor
        line = app.lines.index(app.cursor)
        add(seeded[1], "web-00", "aaa-first")
        await app.until(lambda: app.app.browser.rows.pages.count == 25)
        assert "web-18" in app.cursor
        assert app.lines.index(app.cursor) == line, "the list scrolls along, so that the eye finds it"


async def test_the_cursor_stays_on_its_object_when_it_moves(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await on(app, "db-07")
        change(seeded[1], "db-07", name="zz-renamed")
        await app.until("zz-renamed")
        assert "zz-renamed" in app.cursor


async def test_the_neighbour_takes_the_cursor_of_a_deleted_object(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await on(app, "db-07")
        change(seeded[1], "db-07", deleted_at=1)
        await app.until(lambda: app.app.browser.rows.pages.count == 23)
        assert "db-13" in app.cursor
        await app.press("G")
        change(seeded[1], "web-18", deleted_at=1)
        await app.until(lambda: app.app.browser.rows.pages.count == 22)
        assert "web-12" in app.cursor


async def test_marks_of_deleted_objects_vanish(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("space", "space")
        await app.until("marks:2")
        change(seeded[1], "batch-04", deleted_at=1)
        await app.until("marks:1")
        assert list(app.app.browser.rows.marks.values()) == ["batch-10"]


async def test_a_change_made_elsewhere_is_seen_within_a_second(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        assert "+ ACTIVE" not in app.lines[3]
        change(seeded[1], "batch-04", vm_state="active")
        await app.until(lambda: "+ ACTIVE" in app.lines[3], tries=50)


async def test_filter_as_typed(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("slash")
        await app.type("web")
        await app.until(" 4/24")
        await app.press("enter")
        assert app.lines[-1].startswith(":i /web")
        await app.press("q")
        await app.until(lambda: app.app.browser.rows.pages.count == 24)


@pytest.mark.parametrize(
    ("filter", "count"),
    [("status=error", 4), ("status=!error", 20), ("status!=error", 20), ("!web", 20), ("vcpus=4 lb", 0)],
)  # fmt: skip
async def test_filters(seeded: Cloud, filter: str, count: int) -> None:
    async with driven(seeded, locator=Locator(kind="instance", filter=filter)) as app:
        assert app.app.browser.rows.pages.count == count


async def test_escape_while_filtering_brings_the_list_back(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("slash")
        await app.type("nothing")
        await app.until("Nothing matches")
        await app.press("escape")
        await app.until(lambda: app.app.browser.rows.pages.count == 24)


async def test_an_unknown_column_is_said_and_the_rows_stay(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("slash")
        await app.type("colour=red")
        await app.until("have no column 'colour'")
        assert "batch-04" in app.text


async def test_commands_take_what_is_contained_and_what_is_exact(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        for typed, title in (("work", "Networks("), ("i", "Instances("), ("vor", "Flavors("), ("img", "Images(")):
            await app.press("colon")
            await app.type(typed)
            await app.press("enter")
            await app.until(title)
        await app.press("left_square_bracket")
        await app.until("Flavors(")
        await app.press("right_square_bracket")
        await app.until("Images(")
        await app.press("minus")
        await app.until("Flavors(")
        await app.press("minus")
        await app.until("Images(")


async def test_a_whole_locator(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("colon")
        await app.type("i /web sort=-created_at")
        await app.press("enter")
        await app.until(" 4/24")
        assert "sort:AGEv" in app.lines[1]
        assert app.lines[-1].startswith(":i /web sort=-created_at")


async def test_sorting_by_the_next_column_and_reversed(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("greater_than_sign")
        await app.until("sort:STATUS^")
        await app.until(lambda: "+ ACTIVE" in app.lines[3])
        await app.press("comma")
        await app.until("sort:STATUSv")
        await app.until(lambda: "o SHUTOFF" in app.lines[3])


async def test_a_verb_that_cannot_be_done_says_its_guard_and_asks_nothing(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("S")
        await app.until("batch-04 is SHUTOFF, it must be ACTIVE or ERROR")
        assert not operations(seeded[1], "instance.stop")


async def test_starting_needs_no_confirmation(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("b")
        await app.until("starting batch-04")
        await app.until("~ STARTING")
        assert [one.object_name for one in operations(seeded[1], "instance.start")] == ["batch-04"]


async def test_stopping_asks_and_anything_but_yes_cancels(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await on(app, "web-00")
        for key in ("n", "escape", "enter", "j", "S"):
            await app.press("S")
            await app.until("Stop web-00?")
            await app.press(key)
            await app.until("ent open")
        assert not operations(seeded[1], "instance.stop")
        await app.press("S")
        await app.until("Stop web-00?")
        await app.press("y")
        await app.until("stopping web-00")
        assert len(operations(seeded[1], "instance.stop")) == 1


async def test_reboot_asks_how(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await on(app, "web-00")
        await app.press("R")
        await app.until("[s]oft   [h]ard")
        await app.press("h")
        await app.until("rebooting web-00")
        assert len(operations(seeded[1], "instance.reboot_hard")) == 1


async def test_what_is_asked_is_what_was_meant_at_the_key_press(seeded: Cloud) -> None:
    """The list moves under an open question; the object does not change."""
    async with driven(seeded) as app:
        await on(app, "web-00")
        await app.press("S")
        await app.until("Stop web-00?")
        for name in ("lb-03", "lb-09", "web-18"):
            change(seeded[1], name, name=f"zz-{name}")
        await app.until(lambda: "lb-03" not in app.text)
        add(seeded[1], "web-06", "another")
        await app.until("Instances(admin) 25")
        await app.press("y")
        await app.until(lambda: operations(seeded[1], "instance.stop"))
        assert [one.object_name for one in operations(seeded[1], "instance.stop")] == ["web-00"]


async def test_many_are_acted_on_one_by_one_and_each_refusal_is_kept(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("slash")
        await app.type("flavor=m1.small")
        await app.press("enter")
        await app.until(" 8/24")
        await app.press("asterisk")
        await app.until("marks:8")
        await app.press("S")
        await app.until("Stop 8 marked")
        await app.press("y")
        await app.until("Stop: stopping 4, refused 4")
        assert "!  lb-03   cannot stop: lb-03 has never been launched" in app.text
        assert app.text.count(" +  web-") == 4
        assert len(operations(seeded[1], "instance.stop")) == 4
        await app.press("q", "M")
        await app.until("lb-21: cannot stop")


async def test_deleting_more_than_five_is_typed_out(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        for _ in range(6):
            await app.press("space")
        await app.press("X")
        await app.until("Type delete 6")
        await app.type("yes")
        await app.press("enter")
        await app.until("That is not")
        await app.press("ctrl+u")
        await app.type("delete 6")
        await app.press("enter")
        await app.until(lambda: len(operations(seeded[1], "instance.delete")) == 6)


async def test_deleting_a_server_takes_its_name_for_its_disks_go_with_it(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("X")
        await app.until("Type batch-04")
        await app.type("batch-04")
        await app.press("enter")
        await app.until("deleting batch-04")


async def test_launch_in_two_keys(seeded: Cloud) -> None:
    async with driven(seeded, project="demo") as app:
        await app.press("n", "ctrl+s")
        await app.until("creating web-1")
        await app.until(lambda: "web-1 " in app.lines[3])
        assert [one.object_name for one in operations(seeded[1], "instance.create") if one.state == "ready"] == [
            "web-1"
        ]


async def test_a_launch_that_no_host_can_take_shows_the_funnel(seeded: Cloud) -> None:
    with seeded[1].write() as session:
        for host in session.execute(select(Host)).scalars():
            host.state, host.state_reason = "down", "no answer for 14 s"
    async with driven(seeded, project="demo") as app:
        await app.press("n", "ctrl+s")
        await app.until("3 hosts were looked at")
        assert "no answer for 14 s" in app.text
        await app.press("escape", "T")
        await app.until("! failed")
        await app.press("enter")
        await app.until("3 hosts were looked at")


async def test_a_quota_that_is_full_is_said_in_the_form(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("n", "ctrl+s")
        await app.until("quota exceeded for instances")
        await app.press("escape", "M")
        await app.until("quota exceeded for instances")


async def test_entering_a_project_and_coming_back(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.type(":projects")
        await app.press("enter")
        await app.until("Projects(")
        await app.press("j", "enter")
        await app.until("Instances(demo) 0")
        await app.press("0")
        await app.until("Instances(all) 24")
        await app.press("0")
        await app.until("Instances(demo) 0")


async def test_hosts_lead_to_their_instances_and_back(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="host")) as app:
        await app.press("enter")
        await app.until("Instances(all) 12/24")
        await app.press("q")
        await app.until("Hosts(admin) 3")


async def test_the_detail_page_follows_its_object_and_acts_on_it(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await on(app, "web-00")
        await app.press("enter")
        await app.until("Instances > web-00")
        await app.press("S")
        await app.until("Stop web-00?")
        await app.press("y")
        await app.until("~ STOPPING")
        change(seeded[1], "web-00", deleted_at=1)
        await app.until("gone")
        await app.press("q")
        await app.until("Instances(admin) 23")


async def test_the_store_in_trouble_does_not_end_the_app(seeded: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven(seeded) as app:
        feed = app.app.feed
        assert feed is not None

        def broken(*_: object) -> None:
            raise OSError("the disk is gone")

        with monkeypatch.context() as patched:
            patched.setattr(Store, "read", broken)
            patched.setattr(Store, "version", broken)
            await app.press("ctrl+r")
            await app.until("the store cannot be read: the disk is gone")
            assert "batch-04" in app.text, "the rows read last stay"
            await app.until(lambda: feed.trouble)
        await app.press("ctrl+r")
        await app.until(lambda: not feed.trouble and "no engine" in app.lines[0])


async def test_what_a_tenant_wrote_reaches_the_screen_harmless(seeded: Cloud) -> None:
    change(seeded[1], "batch-04", name="evil\x1b[2J\u202ename\u200b")
    async with driven(seeded, locator=Locator(kind="instance", filter="evil")) as app:
        await app.until("evil[2Jname")
        assert "\x1b" not in app.text
        assert "\u202e" not in app.text
        await app.press("d")
        await app.until("Instances > evil[2Jname")
        assert "\x1b" not in app.text


async def test_control_c_does_not_quit(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("ctrl+c")
        await app.until("Ctrl+C does not quit")


async def test_colon_q_quits(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("colon")
        await app.type("q")
        await app.press("enter")
        await app.pilot.pause(0.1)
        assert app.app._exit


async def test_panes_come_with_room(seeded: Cloud) -> None:
    async with driven(seeded, LARGE) as app:
        assert "── batch-04 " in app.text
        assert "── Operations " in app.text
        await app.pilot.resize_terminal(90, 40)
        await app.until(lambda: "── batch-04 " not in app.text and "── Operations " in app.text)
        await app.pilot.resize_terminal(80, 24)
        await app.until(lambda: "── Operations " not in app.text)
