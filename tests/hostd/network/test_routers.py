"""Routers without a kernel: what a document asks for, what nft and dnsmasq are told, and what a look leads to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
import pytest

from hostd.network import names
from hostd.network.document import Document
from hostd.network.netlink import Netlink
from hostd.network.nft import Json
from hostd.network.routers import Routers
from hostd.network.routers.advertising import configuration
from hostd.network.routers.announcing import _frame
from hostd.network.routers.making import transit_name
from hostd.network.routers.part import AS_MADE, RoutersSeen
from hostd.network.routers.rules import gateway_rules, router_rules
from hostd.network.routers.wanted import gateways, routers
from hostd.network.rtnetlink import Link
from hostd.spec import Want
from tests.hostd.network.services.documents import LEG, NETWORK, OUTSIDE, ROUTER, SIX, network, routed, subnet

GOLDEN = Path(__file__).parent / "golden"
SPACE, WAY_OUT = names.router(ROUTER), names.gateway(OUTSIDE)


def as_golden(name: str, text: str) -> None:
    """After a change that is meant, SKYDECK_WRITE_GOLDENS=1 writes them anew; look at the difference."""
    golden = GOLDEN / name
    if os.environ.get("SKYDECK_WRITE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text()


def lines(commands: list[Json]) -> str:
    return "".join(f"{json.dumps(command)}\n" for command in commands)


@pytest.mark.parametrize("snat", [True, False])
def test_router_rules_golden(snat: bool) -> None:
    (router,) = routers(routed(snat=snat))
    as_golden(f"router-{'snat' if snat else 'plain'}.jsonl", lines(router_rules(router, mark="mark")))


def test_gateway_rules_golden() -> None:
    (gateway,) = gateways(routed())
    as_golden("gateway.jsonl", lines(gateway_rules(gateway, mark="mark")))


def test_advertising_golden() -> None:
    document = six()
    as_golden("advertise.conf", configuration(document, document.routers[ROUTER], pid=Path("/run/skydeck/pid")))


def six() -> Document:
    """The network with IPv6 besides, and the router's address on it."""
    plain = routed()
    (router,) = plain.spec.routers
    leg = attrs.evolve(router.legs[0], addresses=("10.0.0.1/24", "fd00:1::1/64"))
    outside = plain.networks[OUTSIDE]
    changed = attrs.evolve(router, legs=(leg,))
    return routed(networks=(network(subnets=(subnet(), SIX)), outside), routers=(changed,))


# ---------------------------------------------------------------------------- what is asked for


def test_a_leg_has_the_same_link_local_address_on_every_host() -> None:
    here = routers(six())[0].legs[0]
    there = routers(Document(attrs.evolve(six().spec, uuid="00000000-0000-4000-8000-000000000bbb")))[0].legs[0]
    assert here == there
    assert any(address.startswith("fe80::") for address in here.addresses)


def test_floating_ips_have_a_card_of_their_own_on_every_host() -> None:
    here = routers(routed())[0].outside
    there = routers(Document(attrs.evolve(routed().spec, uuid="00000000-0000-4000-8000-000000000bbb")))[0].outside
    assert here is not None
    assert there is not None
    assert here.mac != there.mac


def test_a_router_without_a_leg_leads_nowhere() -> None:
    (router,) = routed().spec.routers
    assert routers(routed(routers=(attrs.evolve(router, legs=()),), floating=())) == ()


def test_a_router_has_a_way_out_where_the_host_has_an_address() -> None:
    assert routers(routed())[0].external == OUTSIDE
    assert routers(routed(gateways=()))[0].external is None


def test_only_routers_that_translate_nothing_are_reached_by_routes() -> None:
    assert gateways(routed())[0].behind == ()
    assert gateways(routed(snat=False))[0].behind == ((ROUTER, ("10.0.0.0/24",)),)


def test_marks_name_what_is_asked_for() -> None:
    (router,) = routers(routed())
    assert router.mark == routers(routed())[0].mark
    assert router.mark != routers(routed(snat=False))[0].mark
    assert router.mark != routers(routed(floating=()))[0].mark


def test_each_external_subnet_is_a_way_of_its_own() -> None:
    (first,) = routed().spec.floating
    second = attrs.evolve(
        first, uuid="f10a0002-0000-4000-8000-000000000002", address="192.0.2.9", fixed="10.0.0.11", nexthop=None
    )
    outside = routers(routed(floating=(first, second)))[0].outside
    assert outside is not None
    assert outside.ways == (("192.0.2.0/24", None), ("203.0.113.0/24", "203.0.113.1"))


def test_an_announcement_asks_everybody_for_its_own_address() -> None:
    from ipaddress import IPv4Address

    frame = _frame(bytes.fromhex("025d00000001"), IPv4Address("203.0.113.50"))
    assert frame.hex(" ", 2) == (
        "ffff ffff ffff 025d 0000 0001 0806 0001 0800 0604 0001 025d 0000 0001 cb00 7132 0000 0000 0000 cb00 7132"
    )


# ---------------------------------------------------------------------------- plans


def link(name: str, index: int, *marks: str, master: int = 0, mtu: int = 1450) -> Link:
    return Link(
        name=name, index=index, kind="veth", mac="", mtu=mtu, up=True, group=names.GROUP, master=master,
        alternatives=frozenset(marks),
    )  # fmt: skip


def converged(document: Document) -> RoutersSeen:
    """A host on which all of it is so."""
    (router,), (gateway,) = routers(document), gateways(document)
    every = [
        link(names.bridge(NETWORK), 1),
        link(names.bridge(OUTSIDE), 2),
        link(names.router_leg(LEG), 3, router.mark, master=1),
        link(names.router_external(ROUTER), 4, master=2),
        link(names.gateway_leg(OUTSIDE), 5, gateway.mark, master=2),
    ]
    return RoutersSeen(
        links={one.name: one for one in every},
        namespaces=frozenset((SPACE, WAY_OUT, "somebody-elses")),
        advertisers={},
        transits=frozenset((transit_name(SPACE),)),
        inside=None,
    )


@pytest.fixture
def part(tmp_path: Path) -> Routers:
    return Routers(Netlink(), run=tmp_path)


def planned(part: Routers, document: Document, seen: RoutersSeen) -> dict[str, object]:
    return {step.name: step.args for step in part.plan(document, seen)}


def test_nothing_is_done_where_all_is_so(part: Routers) -> None:
    document = routed()
    assert planned(part, document, converged(document)) == {}
    assert part.faults(document, converged(document)) == {}


def test_from_nothing_the_way_out_comes_first(part: Routers) -> None:
    nothing = RoutersSeen(links={}, namespaces=frozenset(), advertisers={}, transits=frozenset(), inside=None)
    plan = planned(part, six(), nothing)
    assert list(plan) == ["gateways", "routers", "advertisers"]
    assert set(plan) <= set(part.steps)


def test_a_router_whose_cable_went_with_its_way_out_is_made_again(part: Routers) -> None:
    document = routed()
    seen = attrs.evolve(converged(document), transits=frozenset())
    assert planned(part, document, seen) == {"routers": {"routers": [ROUTER]}}
    assert "way out" in part.faults(document, seen)[NETWORK]


def test_a_router_without_its_mark_is_made_again(part: Routers) -> None:
    document, seen = routed(), converged(routed(snat=False))
    assert planned(part, document, seen)["routers"] == {"routers": [ROUTER]}


def test_a_deep_look_finds_what_was_changed_inside(part: Routers) -> None:
    document, seen = routed(), converged(routed())
    (router,), (gateway,) = routers(document), gateways(document)
    whole = {
        SPACE: frozenset((*router.legs[0].addresses, "203.0.113.50/32", router.mark, AS_MADE)),
        WAY_OUT: frozenset((gateway.address, gateway.mark, AS_MADE)),
    }
    assert planned(part, document, attrs.evolve(seen, inside=whole)) == {}
    changed = {**whole, SPACE: whole[SPACE] - {AS_MADE}}
    assert planned(part, document, attrs.evolve(seen, inside=changed)) == {"routers": {"routers": [ROUTER]}}
    changed = {**whole, WAY_OUT: whole[WAY_OUT] - {AS_MADE}}
    assert planned(part, document, attrs.evolve(seen, inside=changed)) == {"gateways": {"networks": [OUTSIDE]}}


def test_what_no_document_names_goes_and_nobody_elses(part: Routers) -> None:
    document = routed()
    absent = Document(attrs.evolve(document.spec, want=Want.ABSENT))
    plan = planned(part, absent, converged(document))
    assert plan == {
        "routers_remove": {
            "links": sorted((names.router_leg(LEG), names.router_external(ROUTER), names.gateway_leg(OUTSIDE))),
            "namespaces": sorted((SPACE, WAY_OUT)),
        }
    }
    assert set(plan) <= set(part.removals)


def test_the_last_floating_ip_takes_its_cable_along(part: Routers) -> None:
    plan = planned(part, routed(floating=()), converged(routed()))
    assert plan["routers"] == {"routers": [ROUTER]}
    assert plan["routers_remove"] == {"links": [names.router_external(ROUTER)], "namespaces": []}
