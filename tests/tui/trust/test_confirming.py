"""Between the key and the deed: what was meant, what was agreed to, and that it is still so."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from core.compute.instances.table import Instance
from core.hosts.hosts import Host
from core.network.tables import Network
from core.operations.operations import Operation
from tests.tui.driving import SMALL, Cloud, Driver, driven
from tui import registry
from tui.app import Skydeck
from tui.locator import Locator
from tui.seat import Seat
from tui.settings import Settings
from tui.verbs import Confirm


def kinds(cloud: Cloud, like: str) -> list[str]:
    with cloud[1].read() as session:
        return list(session.execute(select(Operation.object_name).where(Operation.kind == like)).scalars())  # type: ignore[arg-type]


def change(cloud: Cloud, which: str, /, **values: Any) -> None:
    with cloud[1].write() as session:
        session.execute(update(Instance).where(Instance.name == which).values(values))  # type: ignore[arg-type]


def test_what_takes_data_away_is_typed_out() -> None:
    typed = {
        kind for kind, view in registry.VIEWS.items() for verb in view.verbs
        if verb.name == "delete" and verb.confirm is Confirm.TYPE
    }  # fmt: skip
    assert typed >= {"instance", "volume", "snapshot", "backup", "image", "project"}


async def test_an_object_that_changed_after_the_key_is_not_touched(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="instance", filter="web-00")) as app:
        await app.press("S")
        await app.until("Stop web-00?")
        change(seeded, "web-00", vm_state="paused")
        await app.press("y")
        await app.until("web-00 changed since you looked: status ACTIVE → PAUSED")
        assert kinds(seeded, "instance.stop") == []
        change(seeded, "web-00", vm_state="active", name="api-00")
    async with driven(seeded, locator=Locator(kind="instance", filter="api-00")) as app:
        await app.press("S")
        change(seeded, "api-00", name="web-00")
        await app.press("y")
        await app.until("name api-00 → web-00")
        await app.until("Nothing matches")
        change(seeded, "web-00", name="api-00")
        await app.until(lambda: "api-00" in app.cursor)
        await app.press("S", "y")
        await app.until("stopping api-00")
    assert kinds(seeded, "instance.stop") == ["api-00"]


async def test_of_many_only_the_changed_ones_are_refused(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="instance", filter="web")) as app:
        await app.press("asterisk")
        await app.until("marks:4")
        await app.press("S")
        await app.until("Stop 4 marked")
        change(seeded, "web-06", deleted_at=1)
        change(seeded, "web-12", vm_state="stopped")
        await app.press("y")
        await app.until("stopping 2, refused 2")
    assert sorted(kinds(seeded, "instance.stop")) == ["web-00", "web-18"]


async def test_in_a_protected_cloud_even_a_stop_is_typed_out(seeded: Cloud) -> None:
    config, store = seeded
    settings = Settings(protected_clouds=frozenset({"local"}))
    app = Skydeck(Seat(config=config, store=store), Locator(kind="instance", filter="web-00"), engine=False,
                  settings=settings)  # fmt: skip
    async with app.run_test(size=SMALL) as pilot:
        driver = Driver(app, pilot)
        await driver.until("> web-00")
        await driver.press("S")
        await driver.until("Type web-00")
        await driver.type("web-00")
        await driver.press("enter")
        await driver.until("stopping web-00")


async def test_a_network_in_use_goes_by_a_plan_that_is_typed(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="network", filter="app")) as app:
        await app.press("X")
        await app.until("Plan: delete network app and unplug all that is on it")
        await app.until("take off 2 floating IPs")
        await app.type("ap")
        await app.press("enter")
        await app.until("That is not app")
        await app.press("escape")
        await app.until(lambda: len(app.app.screen_stack) == 1)
    with seeded[1].read() as session:
        assert session.execute(select(Network.id).where(Network.name == "app")).first()  # type: ignore[arg-type]


async def test_an_empty_project_goes_when_its_name_is_typed_and_a_host_is_planned(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="project", filter="demo")) as app:
        await app.press("X")
        await app.until("Plan: delete project demo")
        await app.type("demo")
        await app.press("enter")
        await app.until("delete project demo: 1 of 1 done")
        await app.press("escape")
    async with driven(seeded, locator=Locator(kind="host", filter="kvm01")) as app:
        await app.press("m")
        await app.until("Plan: prepare host kvm01 for maintenance")
        await app.until(" blocked")
        await app.until("has never been launched")
        await app.press("escape")
    with seeded[1].write() as session:
        session.execute(update(Instance).where(Instance.vm_state == "building").values(deleted_at=1))  # type: ignore[arg-type]
        session.execute(update(Instance).where(Instance.vm_state == "active").values(vm_state="stopped"))  # type: ignore[arg-type]
    async with driven(seeded, locator=Locator(kind="host", filter="kvm01")) as app:
        await app.press("m")
        await app.until("Prepare host kvm01 for maintenance?")
        await app.press("y")
        await app.until("1 of 1 done")
    with seeded[1].read() as session:
        assert not session.execute(select(Host.enabled).where(Host.name == "kvm01")).scalar_one()  # type: ignore[arg-type]


async def test_undo_takes_back_what_was_done_here(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="instance", filter="web-00")) as app:
        await app.press("L")
        await app.until("lock changed: web-00")
        await app.press("colon")
        await app.type("undo")
        await app.press("enter")
        await app.until("unlock web-00")
        assert "cannot be undone" in app.text, "what cannot be is told beside it"
        await app.press("enter")
        await app.until("undone: unlock web-00")
    with seeded[1].read() as session:
        assert not session.execute(select(Instance.locked).where(Instance.name == "web-00")).scalar_one()  # type: ignore[arg-type]


async def test_what_is_greyed_says_why(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="instance", filter="lb-03")) as app:
        await app.press("W")
        await app.until("Why: lb-03")
        await app.until("no valid host was found")
        await app.until("It would fit now")
        assert "kvm01" in app.text
        await app.press("G")
        await app.until("You are admin in project admin")
        await app.press("q", "a")
        await app.until("says why not")
        for _ in range(4):
            await app.press("j")
        await app.press("enter")
        await app.until("Why: lb-03")
        await app.until("has never been launched")
        await app.press("q")
        await app.press("colon")
        await app.type("why")
        await app.press("enter")
        await app.until("Why: lb-03")
