"""Who may ask where, and which steps lead there: pure."""

from __future__ import annotations

import attrs

from hostd.metadata.ec2 import Caller
from hostd.network.document import Document
from hostd.network.services.metadata import MetadataPart, MetadataSeen, callers
from hostd.spec import NetworkingSpec, PortAddress, Want
from tests.hostd.network.services.documents import HOST, SIX, SPACE, document, network, port, routed, subnet

ROUTER_SPACE = "skr-07000000000"


def test_a_port_is_known_by_its_addresses_and_its_link_local_one() -> None:
    wanted = document(
        networks=(network(subnets=(subnet(), SIX)),),
        ports=(
            port(addresses=(PortAddress(subnet="four", ip="10.0.0.10"), PortAddress(subnet="six", ip="fd00:1::9"))),
        ),
    )
    caller = Caller(device=port().device, mac="fa:16:3e:00:00:01", ipv4="10.0.0.10")
    assert callers(wanted) == {SPACE: dict.fromkeys(("10.0.0.10", "fd00:1::9", "fe80::f816:3eff:fe00:1"), caller)}


def test_behind_a_router_it_is_known_there_too() -> None:
    found = callers(routed())
    assert found.keys() == {SPACE, ROUTER_SPACE}
    assert found[ROUTER_SPACE]["10.0.0.10"] == found[SPACE]["10.0.0.10"]
    assert found[SPACE]["10.0.0.10"].public_ipv4 == "203.0.113.50"


def test_a_network_without_a_service_address_is_served_by_its_router_alone() -> None:
    plain = network(subnets=(subnet(dhcp=False, service_ip=None),))
    wanted = routed(networks=(plain, *routed().spec.networks[1:]))
    assert callers(wanted).keys() == {ROUTER_SPACE}
    assert callers(document(networks=(plain,))) == {}


def test_nobody_is_known_when_everything_shall_go() -> None:
    assert callers(Document(NetworkingSpec(uuid=HOST, want=Want.ABSENT))) == {}


def steps(wanted: Document, seen: MetadataSeen) -> list[tuple[str, list[str]]]:
    return [(step.name, step.args["namespaces"]) for step in MetadataPart().plan(wanted, seen)]


SPACES = frozenset({SPACE, ROUTER_SPACE})
NOTHING = MetadataSeen(open=frozenset(), lost=frozenset(), spaces=SPACES, callers={})
SO = MetadataSeen(open=frozenset({SPACE}), lost=frozenset(), spaces=SPACES, callers=callers(document()))


def test_steps() -> None:
    assert steps(document(), NOTHING) == [("metadata", [SPACE])]
    assert steps(document(), SO) == []
    assert steps(document(ports=(port(), port(2))), SO) == [("metadata", [])], "a caller more, and no new listener"
    assert steps(routed(), SO) == [("metadata", [ROUTER_SPACE])]
    assert steps(document(ports=()), SO) == [("metadata_remove", [SPACE])]
    replaced = attrs.evolve(SO, open=frozenset(), lost=frozenset({SPACE}))
    assert steps(document(), replaced) == [("metadata", [SPACE])]
    assert steps(document(ports=()), replaced) == [("metadata_remove", [SPACE])]


def test_a_router_that_is_not_made_yet_is_waited_for() -> None:
    early = attrs.evolve(SO, spaces=frozenset({SPACE}))
    assert steps(routed(), early) == [("metadata", [])], "its guests are known already"
    assert steps(routed(), attrs.evolve(early, callers=callers(routed()))) == []
    assert steps(routed(), attrs.evolve(SO, callers=callers(routed()))) == [("metadata", [ROUTER_SPACE])]
    assert steps(document(), attrs.evolve(NOTHING, spaces=frozenset())) == [("metadata", [SPACE])]


def test_a_listener_that_is_not_there_is_a_fault() -> None:
    assert MetadataPart().faults(document(), SO) == {}
    assert MetadataPart().faults(document(), NOTHING) == {network().uuid: "its metadata service does not listen"}
