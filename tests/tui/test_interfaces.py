"""An instance's interfaces in the app: seen, plugged in, pulled out; and what a launch asks about networks."""

from __future__ import annotations

from typing import Any

from core import cloud, listing
from core.identity import quotas
from core.lists import LISTINGS
from core.network import ports
from tests.tui import seed
from tests.tui.driving import Cloud, driven
from tui.locator import Locator
from tui.views import interfaces, launch


def text(seeded: Cloud, name: str) -> str:
    config, store = seeded
    with store.read() as session:
        ctx = cloud.context(session, config, source="app")
        [row] = listing.page(session, ctx, LISTINGS["instance"], where={"name": name})
        return "\n".join("".join(cell for cell, _ in line) for line in interfaces.brief(session, ctx, row))


def of(seeded: Cloud, noun: str, /, **where: Any) -> list[dict[str, Any]]:
    config, store = seeded
    with store.read() as session:
        return listing.page(session, cloud.context(session, config, source="app"), LISTINGS[noun], where=where)


def test_an_interface_is_a_line_and_each_further_address_one_more(seeded: Cloud) -> None:
    config, store = seeded
    [port] = of(seeded, "port", ip="10.0.1.11")
    with store.write() as session:
        ctx = cloud.context(session, config, source="test")
        ports.set(session, ctx, port["id"], fixed_ips=((None, "10.0.1.11"), (None, "10.0.200.1")))
    head, first, more, backup, waited = text(seeded, "web-00").splitlines()
    assert head.split() == ["NETWORK", "MAC", "ADDRESS", "FLOATING", "GROUPS"]
    assert first.split() == ["~", "app", port["mac"], "10.0.1.11", "203.0.113.4", "default,", "web"]
    assert more.split() == ["10.0.200.1", "-"]
    assert backup.startswith("+ backup")
    assert waited == "~ app: pending on kvm01, kvm02"


def test_without_any_it_says_how_to_get_one(seeded: Cloud) -> None:
    assert text(seeded, "lb-03") == "no network: A plugs one in"


async def test_an_interface_is_plugged_in_and_pulled_out(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="instance", filter="web-06")) as app:
        await app.press("A")
        await app.until("Interfaces and volumes of: web-06")
        await app.type("into back")
        await app.until("1 of 7")
        await app.press("enter")
        await app.until("changing what is plugged into web-06")
        [instance] = of(seeded, "instance", name="web-06")
        assert {port["network"] for port in of(seeded, "port", device_id=instance["id"])} == {"app", "backup"}
    async with driven(seeded, locator=Locator(kind="instance", filter="web-00")) as app:
        await app.press("A")
        await app.until("pull out 172.16.0.9")
        await app.type("172.16.0.9")
        await app.press("enter")
        await app.until("changing what is plugged into web-00")
    [operation] = of(seeded, "operation", kind="instance.detach_interface")
    assert operation["object_name"] == "web-00"


async def test_packets_are_followed_from_an_instance(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="instance", filter="web-06")) as app:
        await app.press("x")
        await app.until("Trace from web-06")


async def test_a_launch_asks_for_networks_and_groups_when_there_are_several(seeded: Cloud) -> None:
    config, store = seeded
    with store.write() as session:
        ctx = cloud.context(session, config, source="test")
        quotas.update(session, ctx, ctx.project_id, ctx.project_name, {"cores": -1, "ram": -1, "instances": -1})
    async with driven(seeded) as app:
        await app.press("n")
        await app.until("same as")
        assert "[x] app" in app.text
        assert "[ ] backup" in app.text
        assert "public" not in app.text, "nobody is plugged into a way out"
        assert "[x] default" in app.text
        await app.press("tab", "tab", "tab", "tab", "right", "space", "tab", "right", "space")
        await app.until("--network app --network backup --security-group default --security-group web")
        await app.press("ctrl+s")
        await app.until("creating lb-22")
    [instance] = of(seeded, "instance", name="lb-22")
    plugged = of(seeded, "port", device_id=instance["id"])
    assert sorted((port["network"], port["security_groups"]) for port in plugged) == [
        ("app", ["default", "web"]),
        ("backup", ["default", "web"]),
    ]


def test_where_there_is_nothing_to_decide_nothing_is_asked(empty: Cloud) -> None:
    config, store = empty
    with store.write() as session:
        ctx = cloud.context(session, config, source="test")
        seed.host(session, "kvm01")
        seed.image(session, ctx, "debian-13")
        loaded = launch.load(session, ctx, None)
    assert loaded.hidden == {"groups"}
    assert loaded.choices["network"] == [("auto", "the project's own")]
    assert loaded.values["network"] == "auto"


def test_a_launch_begins_with_what_the_last_one_had(seeded: Cloud) -> None:
    config, store = seeded
    with store.read() as session:
        ctx = cloud.context(session, config, source="app")
        [web] = listing.page(session, ctx, LISTINGS["instance"], where={"name": "web-00"})
        assert [name for name, _ in web["addresses"]] == ["app", "backup"]
        networks = listing.page(session, ctx, LISTINGS["network"], where={"external": "false"})
        assert launch.last_networks(ctx, web, networks) == ",".join(network["id"] for network in networks)
        assert launch.last_networks(ctx, None, networks) == networks[0]["id"]
        assert launch.last_networks(ctx, None, [{**networks[0], "project_id": "another"}]) == launch.OWN
        groups = listing.page(session, ctx, LISTINGS["security_group"])
        assert launch.last_groups(session, ctx, web, groups) == ",".join(group["id"] for group in groups)
