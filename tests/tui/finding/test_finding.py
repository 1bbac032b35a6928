"""Getting from one thing to another: the palette, what depends on an object, its owner, its tree, and back again."""

from __future__ import annotations

import pytest

from core import cloud
from core.hosts import aggregates
from core.network import networks
from tests.tui.driving import LARGE, SMALL, Cloud, Driver, driven, same_as_golden
from tui.finding.kin import KinScreen
from tui.finding.matching import offered, rank, scope
from tui.finding.palette import Palette
from tui.locator import Locator
from tui.screens.browser import BrowserScreen
from tui.screens.detail import DetailScreen
from tui.verbs import GENERAL
from tui.widgets.table import RowList

SIZES = [pytest.param(SMALL, id="80x24"), pytest.param(LARGE, id="140x40")]


def line(app: Driver, text: str) -> str:
    """The first line that holds a text."""
    return next((one for one in app.lines if text in one), "")


async def found(app: Driver, text: str) -> list[str]:
    """What the palette shows for a text, once it has looked."""
    palette = app.app.screen
    assert isinstance(palette, Palette)
    await app.type(text)
    await app.until(lambda: palette._asked == text)
    rows = palette.query_one(RowList).pages
    return [str(row["name"]) for at in range(rows.count) if (row := rows.row(at))]


@pytest.mark.parametrize("size", SIZES)
async def test_the_palette(seeded: Cloud, size: tuple[int, int]) -> None:
    async with driven(seeded, size) as app:
        await app.press("ctrl+p")
        await found(app, "web-0")
        same_as_golden(app.text, f"finding-palette-{size[0]}x{size[1]}")
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, DetailScreen))
        assert "Instances > web-00" in app.text
        await app.press("u")
        await app.until("volumes")
        same_as_golden(app.text, f"finding-used-by-{size[0]}x{size[1]}")
        await app.press("t")
        await app.until("kvm01")
        same_as_golden(app.text, f"finding-tree-{size[0]}x{size[1]}")


async def test_everything_is_found_by_name_id_and_address(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        for text, first in (
            ("1a2b3c4d", "web-00"), ("10.0.1.17", "web-06"), ("203.0.113.4", "203.0.113.4"), ("kvm02", "kvm02"),
            ("db-data", "db-data"), ("volumes", ":volumes"), ("vol db", "db-data"), ("quit", ":quit"),
        ):  # fmt: skip
            await app.press("ctrl+p")
            assert (await found(app, text))[0] == first, text
            await app.press("escape")
        # Enter before the answer means what the answer begins with.
        await app.press("ctrl+p")
        for letter in "kvm02":
            await app.pilot.press(letter)
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, DetailScreen))
        assert "host kvm02" in app.text
        await app.press("q")
        # Its list, and the cursor in it; then a verb of what is under the cursor.
        await app.press("ctrl+p")
        await found(app, "web-06")
        await app.press("tab")
        await app.until("/web-06")
        assert app.cursor.startswith("> web-06")
        await app.press("ctrl+p")
        names = await found(app, "lock")
        assert any(name.startswith("lock") for name in names)
        await app.press("escape", "ctrl+p")
        await found(app, "nothing-is-called-so")
        await app.until("Nothing is called")
        await app.press("escape")
        assert isinstance(app.app.screen, BrowserScreen)


async def test_a_search_finds_only_what_the_project_holds(seeded: Cloud) -> None:
    async with driven(seeded, project="demo") as app:
        await app.press("ctrl+p")
        assert "web-00" not in await found(app, "web-00")
        await app.press("escape", "0", "ctrl+p")
        assert "web-00" in await found(app, "web-00")
        assert "in all projects" in app.text


async def test_what_depends_on_it_leads_on_and_back(seeded: Cloud) -> None:
    async with driven(seeded, LARGE, Locator(kind="network", filter="app")) as app:
        await app.press("u")
        await app.until("routers with an interface")
        assert isinstance(app.app.screen, KinScreen)
        for _ in range(40):
            if "8 more" in app.cursor:
                break
            await app.press("j")
        await app.press("right")
        await app.until("web-00")
        await app.type("/web-00")
        await app.press("enter")
        await app.until(lambda: "web-06" not in app.text)
        for _ in range(9):
            if "web-00" in app.cursor:
                break
            await app.press("j")
        await app.press("right")
        await app.until("db-data")
        await app.press("enter")
        await app.until(lambda: isinstance(app.app.screen, DetailScreen))
        assert "Networks > used by of app > " in app.lines[1]
        await app.press("J")
        await app.until("host kvm01")
        assert "web-00 > host kvm01" in app.lines[1]
        await app.press("q", "q")
        assert isinstance(app.app.screen, KinScreen)
        await app.press("escape", "q")
        assert isinstance(app.app.screen, BrowserScreen)
        # A group leads to its list.
        await app.press("u")
        await app.until("subnets")
        await app.press("j", "enter")
        await app.until("Subnets(admin) 1")
        await app.press("u")
        await app.until("ports")
        await app.press("left", "left")
        await app.until("folded")
        await app.press("plus", "minus", "space")


async def test_what_is_in_other_projects_is_counted(seeded: Cloud) -> None:
    async with driven(seeded, SMALL, Locator(kind="flavor", filter="m1.small"), project="demo") as app:
        await app.press("u")
        await app.until("8 in other projects")
        await app.press("j", "j", "enter")
        await app.until("Instances(all) 8")


async def test_a_tree_follows_what_happens(seeded: Cloud) -> None:
    config, store = seeded
    async with driven(seeded, SMALL, Locator(kind="network", filter="backup")) as app:
        await app.press("t")
        await app.until("172.16.0.9")
        assert line(app, "admin  ") or "project" in app.text
        with store.write() as session:
            ctx = cloud.context(session, config, source="cli")
            networks.set(session, ctx, "backup", name="nightly")
        await app.until("nightly")


async def test_projects_are_chosen_by_typing(seeded: Cloud) -> None:
    async with driven(seeded, SMALL, Locator(kind="volume")) as app:
        await app.press("P")
        await app.until("Work in")
        await app.until("inst 24/10")
        same_as_golden(app.text, "finding-projects-80x24")
        await app.type("demo")
        await app.press("enter")
        await app.until("Volumes(demo)")
        await app.press("P")
        await app.until("all projects")
        await app.type("all p")
        await app.press("enter")
        await app.until("Volumes(all)")


async def test_messages_lead_to_what_they_are_about(seeded: Cloud) -> None:
    async with driven(seeded, SMALL, Locator(kind="instance", filter="web-00")) as app:
        await app.press("b")
        await app.until("cannot start")
        await app.press("z")
        await app.until("pausing")
        await app.press("M")
        await app.until("Messages 2")
        assert "cannot start" in app.lines[4]
        await app.type("/cannot")
        await app.press("enter")
        await app.until("Messages 1")
        await app.press("c")
        await app.until("[t]itle")
        await app.press("t")
        await app.until("copied the title")
        await app.press("enter")
        await app.until("Messages > instance web-00")
        await app.press("q", "q", "q")
        assert isinstance(app.app.screen, BrowserScreen)


async def test_operations_and_the_audit_trail(seeded: Cloud) -> None:
    async with driven(seeded, LARGE) as app:
        await app.press("T")
        await app.until("Operations(admin)")
        await app.press("m")
        await app.until("/user_name=admin")
        await app.press("m")
        await app.until("/state=ready,running,blocked")
        await app.until("[##--] 40%")
        await app.press("m")
        await app.until("/state=failed,blocked")
        await app.press("d")
        await app.until("Steps")
        same_as_golden(app.text, "finding-why-140x40")
        await app.press("q", "enter")
        await app.until(lambda: isinstance(app.app.screen, DetailScreen))
        assert "Operations > instance lb-03" in app.lines[1]
        await app.press("q")
        await app.type(":audit")
        await app.press("enter")
        await app.until("Events(admin)")
        await app.type("/actor=adm action=instance object=edge since=30d")
        await app.until("Events(admin) 1/")
        await app.press("enter", "enter")
        await app.until("request      req-")
        assert "2026-09-21 14:13:12 UTC" in app.text or "UTC" in line(app, "when")
        await app.press("o")
        await app.until("instance edge-02")
        await app.press("q", "q")
        await app.type("/since=whenever")
        await app.until("is no moment")


async def test_a_form_is_not_lost_by_looking_around(seeded: Cloud) -> None:
    async with driven(seeded, SMALL, Locator(kind="volume")) as app:
        await app.press("n")
        await app.until("same as")
        await app.press("ctrl+p")
        await found(app, "hosts")
        await app.press("enter")
        await app.until("a form is open")
        await app.press("escape", "ctrl+p")
        await found(app, "kvm01")
        await app.press("enter")
        await app.until("host kvm01")
        await app.press("q")
        assert "New volume" in app.text


async def test_users_and_aggregates(seeded: Cloud) -> None:
    config, store = seeded
    with store.write() as session:
        ctx = cloud.context(session, config, source="cli")
        aggregates.create(session, ctx, name="ssd", properties={"ssd": "true"})
    async with driven(seeded, SMALL, Locator(kind="aggregate")) as app:
        await app.press("A")
        await app.until("puts it in")
        await app.type("kvm01")
        await app.press("enter")
        await app.until("changed ssd")
        await app.until("ssd=true")
        assert "kvm01" in app.cursor
        await app.type(":users")
        await app.press("enter")
        await app.until("admin in admin, admin in demo")
        await app.press("l")
        await app.until("/actor=admin")


def test_ranks_and_scopes() -> None:
    assert [rank("web", names) for names in (("web",), ("web-1",), ("my web",), ("cobweb",), ("db",))] == [
        0,
        1,
        2,
        3,
        None,
    ]
    assert scope("vol web") == ("volume", "web")
    assert scope("web vol") == (None, "web vol")
    assert scope("vol") == (None, "vol")
    entries = offered("back", GENERAL, lambda verb: ("why", "") if verb.name == "back" else None, about="")
    assert next((entry.key, entry.off, entry.note) for entry in entries if entry.sort == "verb") == (
        "back",
        True,
        "why",
    )
