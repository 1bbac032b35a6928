"""What is done about networks in the app: forms, things chosen from a list, and what is said when they cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from core import cloud, listing
from core.errors import Invalid
from core.lists import LISTINGS
from tests.tui.driving import Cloud, driven
from tui.locator import Locator
from tui.view import Loaded
from tui.views import ports, security_group_rules, subnets
from tui.views.wires import table, waits, within


def rows(seeded: Cloud, kind: str, **options: Any) -> list[dict[str, Any]]:
    config, store = seeded
    with store.read() as session:
        return listing.page(session, cloud.context(session, config, source="app"), LISTINGS[kind], **options)


async def test_a_floating_ip_is_put_on_a_server_chosen_from_a_list(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="floating_ip", filter="203.0.113.3")) as app:
        await app.press("F")
        await app.until("Where to put: 203.0.113.3")
        await app.until("of 16")
        assert "web-00  172.16.0.9" not in app.text, "no router leads there"
        await app.type("web-06")
        await app.until("1 of 16")
        await app.press("enter")
        await app.until("changed 203.0.113.3")
    [moved] = rows(seeded, "floating_ip", where={"address": "203.0.113.3"})
    assert (moved["server"], moved["fixed_ip"], moved["pending"]) == ("web-06", "10.0.1.17", ["kvm01"])


async def test_a_port_gets_a_free_floating_ip_with_two_keys(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="port", filter="web-12")) as app:
        await app.press("F")
        await app.until("a new one of public")
        await app.press("enter")
        await app.until("floating IP changed on 10.0.1.23")
        await app.press("F")
        await app.until("take 203.0.113.3 off")
        await app.press("escape")
    assert rows(seeded, "floating_ip", where={"address": "203.0.113.3"})[0]["server"] == "web-12"


async def test_escape_changes_nothing(seeded: Cloud) -> None:
    before = rows(seeded, "floating_ip")
    async with driven(seeded, locator=Locator(kind="floating_ip")) as app:
        await app.press("F")
        await app.until("Where to put")
        await app.press("escape")
        await app.until(lambda: "Where to put" not in app.text)
    assert rows(seeded, "floating_ip") == before


async def test_networks_are_joined_to_a_router_and_taken_off(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="router")) as app:
        await app.press("A")
        await app.until("of network backup")
        await app.press("enter")
        await app.until("joined to gate")
        assert rows(seeded, "router")[0]["interfaces"] == 2
        await app.press("R")
        await app.until("172.16.0.1 on network backup")
        await app.type("backup")
        await app.press("enter")
        await app.until("taken off gate")
        await app.press("R", "enter")
        await app.until("while floating IPs need it")
    assert [leg["network"] for leg in rows(seeded, "router")[0]["legs"]] == ["app"]


async def test_there_may_be_nothing_to_choose(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="port", filter="172.16.0.2")) as app:
        await app.press("F")
        await app.until("no floating IP can be put on it")


async def test_ssh_is_allowed_with_two_keys(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="security_group", filter="web")) as app:
        await app.press("A", "ctrl+s")
        await app.until("ssh allowed")
    found = rows(seeded, "security_group_rule", where={"security_group": "web", "port_range_min": "22"})
    assert {rule["ethertype"] for rule in found} == {"IPv4", "IPv6"}


async def test_a_rule_begins_with_the_group_it_is_looked_at_from(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="security_group", filter="web")) as app:
        await app.press("enter")
        await app.until("Rules(admin) 5")
        await app.press("n")
        await app.until("in group    < web >")


async def test_a_port_is_changed(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="port", filter="web-06")) as app:
        await app.press("e")
        await app.until("groups      [x] default  [ ] web")
        await app.press("down", "down", "right", "space", "down", "down", "down")
        await app.type("10M")
        await app.press("ctrl+s")
        await app.until("changed")
    [port] = rows(seeded, "port", text="web-06")
    assert (port["security_groups"], port["ingress_kbit"], port["ip"]) == (["default", "web"], 10_000, "10.0.1.17")


async def test_a_network_is_made_with_its_subnet_behind_a_router(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="network")) as app:
        await app.press("n")
        await app.until("router      < gate  out by public >")
        await app.type("dmz")
        await app.until("skydeck router add subnet gate dmz")
        await app.press("ctrl+s")
        await app.until("network dmz made")
    assert {leg["network"] for leg in rows(seeded, "router")[0]["legs"]} == {"app", "dmz"}


async def test_what_is_refused_stays_in_the_form(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="network", filter="app")) as app:
        await app.press("A")
        await app.until("addresses")
        await app.press("down", "down")
        for _ in range(len("10.1.0.0/24")):
            await app.press("backspace")
        await app.type("10.0.9.0/24")
        await app.press("ctrl+s")
        await app.until("10.0.9.0/24 overlaps subnet app (10.0.0.0/16)")


async def test_what_waits_for_a_host_says_for_which(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="floating_ip", filter="203.0.113.5")) as app:
        await app.until("pending on kvm02")
        await app.press("d")
        await app.until("pending on kvm02: being told")


@pytest.mark.parametrize(
    ("what", "other", "side", "rules"),
    [
        ("ssh", "", "", [("IPv4", "tcp", 22, None), ("IPv6", "tcp", 22, None)]),
        ("all", "", "", [("IPv4", None, None, None), ("IPv6", None, None, None)]),
        ("other", "udp/6000-6010", "10.0.0.0/8", [("IPv4", "udp", 6000, 6010)]),
        ("other", "tcp 80:90", "fd00::/8", [("IPv6", "tcp", 80, 90)]),
        ("ping", "", "web", [("IPv4", "icmp", None, None), ("IPv6", "icmp", None, None)]),
    ],
)
def test_what_a_short_form_means(what: str, other: str, side: str, rules: list[tuple[Any, ...]]) -> None:
    values = {"what": what, "other": other, "from": side, "way": "ingress", "description": ""}
    found = security_group_rules.meant(values)
    assert [(rule["ethertype"], rule["protocol"], rule["port_min"], rule["port_max"]) for rule in found] == rules
    assert ("remote_group" in found[0], "remote_ip" in found[0]) == (side == "web", "/" in side)


@pytest.mark.parametrize("text", ["", "tcp http", "tcp 1 2", "tcp 1-"])
def test_what_no_rule_can_mean_is_refused_and_has_no_command(text: str) -> None:
    from core.errors import Invalid

    values = {"what": "other", "other": text, "from": "", "way": "ingress", "description": "", "group": ""}
    assert security_group_rules.FORM.command is not None
    with pytest.raises(Invalid):
        security_group_rules.FORM.command(Loaded(values={}, facts={"groups": {}}), values)


@pytest.mark.parametrize(
    ("text", "limit"), [("", None), ("10M", 10_000), ("512k", 512), ("64", 64), ("1 Gbit/s", None)]
)
def test_speeds(text: str, limit: int | None) -> None:
    from core.errors import Invalid

    if text == "1 Gbit/s":
        with pytest.raises(Invalid):
            ports.kbit(text)
        assert ports.kbit("1gbit/s") == 1_000_000
    else:
        assert ports.kbit(text) == limit
        assert ports.kbit(ports.speed(limit)) == limit


def test_routes_and_ranges_are_read_as_they_are_shown() -> None:
    assert subnets.routes("192.0.2.0/24 via 10.0.0.9, ::/0 via fd00::1,") == (
        ("192.0.2.0/24", "10.0.0.9"),
        ("::/0", "fd00::1"),
    )
    with pytest.raises(Invalid, match="is no route"):
        subnets.routes("192.0.2.0/24")
    assert subnets.ranges("10.0.0.2-10.0.0.9, 10.0.0.20") == (("10.0.0.2", "10.0.0.9"), ("10.0.0.20", "10.0.0.20"))


def test_lists_lead_to_each_other_by_name_where_a_filter_can_hold_it() -> None:
    assert within("port", "network", {"id": "1", "name": "app"}).filter == "network=app"
    assert within("port", "network", {"id": "1", "name": "my net"}).filter == "network_id=1"


def test_tables_and_waits() -> None:
    assert table([("A", 3), ("B", 9)], [], none="nothing") == [[("nothing", "dim")]]
    assert table([("A", 3), ("B", 9)], [["long name", ("x", "ok")], ["", "y"]], none="") == [
        [("A   B", "head")],
        [("lo… ", ""), ("x", "ok")],
        [("-   ", "dim"), ("y", "")],
    ]
    assert waits(["a", "b", "c", "d", "e"]) == "pending on a, b, c and 2 more"
