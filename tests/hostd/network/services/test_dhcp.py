"""The part's decisions, as a table: what is seen, what is wanted, which networks are put right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.network.document import Document
from hostd.network.services import configuration
from hostd.network.services.configuration import Files
from hostd.network.services.dhcp import Dhcp, DhcpSeen
from hostd.network.services.dnsmasq import ServerSeen, Told
from hostd.spec import NetworkingSpec, Want
from tests.hostd.network.services.documents import (
    HOST,
    NETWORK,
    OUTSIDE,
    document,
    network,
    port,
    route,
    routed,
    subnet,
)

RUN = Path("/run/skydeck")
LEG = 7
NOTHING = DhcpSeen(servers={}, legs={}, resolvers=())
RESOLVERS = ("192.0.2.53",)


def told(wanted: Document) -> Told:
    here = RUN / "dhcp" / NETWORK
    files = Files(leases=here / "leases", names=here / "names", pid=here / "dnsmasq.pid")
    of = wanted.networks[NETWORK]
    resolvers = RESOLVERS if configuration.way_out(wanted, of) else ()
    return Told(
        configuration=configuration.configuration(wanted, of, files=files, resolvers=resolvers),
        leases=configuration.leases(wanted, of),
        hosts=configuration.hosts(of),
    )


def converged(wanted: Document) -> DhcpSeen:
    """What there is once `wanted` was applied, read as deep as can be."""
    said = told(wanted)
    server = ServerSeen(
        pid=99,
        digest=said.digest,
        mark=said.mark(LEG),
        way_out=configuration.way_out(wanted, wanted.networks[NETWORK]),
        leases=said.leases,
        hosts=said.hosts,
    )
    return DhcpSeen(servers={NETWORK: server}, legs={NETWORK: LEG}, resolvers=RESOLVERS)


def steps(wanted: Document, seen: DhcpSeen) -> list[tuple[str, list[str]]]:
    return [(step.name, step.args["networks"]) for step in Dhcp(RUN).plan(wanted, seen)]


PUT_RIGHT = [("dhcp", [NETWORK])]


def test_from_nothing_and_again() -> None:
    for wanted in (document(), routed()):
        assert steps(wanted, NOTHING) == PUT_RIGHT
        assert steps(wanted, converged(wanted)) == []
        assert Dhcp(RUN).faults(wanted, converged(wanted)) == {}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"pid": None}, "its DHCP server does not run"),
        ({"digest": "other"}, "its DHCP server was told something else"),
        ({"mark": ""}, "its DHCP server was told something else"),
        ({"leases": {}}, "the files of its DHCP server were changed"),
        ({"hosts": ""}, "the files of its DHCP server were changed"),
        ({"way_out": "10.0.0.9"}, "its DNS server has a way out"),
    ],
)
def test_what_is_wrong_with_a_server(change: dict[str, Any], fault: str) -> None:
    seen = converged(document())
    wrong = attrs.evolve(seen, servers={NETWORK: attrs.evolve(seen.servers[NETWORK], **change)})
    assert steps(document(), wrong) == PUT_RIGHT
    assert Dhcp(RUN).faults(document(), wrong) == {NETWORK: fault}


def test_a_leg_that_is_gone_or_was_replaced() -> None:
    seen = converged(document())
    assert steps(document(), attrs.evolve(seen, legs={})) == PUT_RIGHT
    assert Dhcp(RUN).faults(document(), attrs.evolve(seen, legs={})) == {NETWORK: "its service leg is missing"}
    assert steps(document(), attrs.evolve(seen, legs={NETWORK: LEG + 1})) == PUT_RIGHT


def test_files_that_were_not_read_are_taken_to_be_as_marked() -> None:
    seen = converged(document())
    shallow = attrs.evolve(seen.servers[NETWORK], leases=None, hosts=None)
    assert steps(document(), attrs.evolve(seen, servers={NETWORK: shallow})) == []


@pytest.mark.parametrize(
    "wanted",
    [
        document(ports=(port(), port(2))),
        document(networks=(network(names=()),)),
        document(networks=(network(mtu=1400),)),
        document(networks=(network(subnets=(subnet(service_ip="10.0.0.3"),)),)),
        routed(),
    ],
    ids=["port", "names", "mtu", "service address", "router"],
)
def test_a_change_of_the_document(wanted: Document) -> None:
    assert steps(wanted, converged(document())) == PUT_RIGHT


def test_the_clouds_resolvers_concern_who_can_reach_them() -> None:
    others = attrs.evolve(converged(routed()), resolvers=("192.0.2.99",))
    assert steps(routed(), others) == PUT_RIGHT
    assert steps(document(), attrs.evolve(converged(document()), resolvers=("192.0.2.99",))) == []


@pytest.mark.parametrize(
    "wanted",
    [
        document(ports=()),
        document(networks=(network(subnets=(subnet(dhcp=False, service_ip=None),)),)),
        Document(NetworkingSpec(uuid=HOST, want=Want.ABSENT)),
    ],
    ids=["no guests", "no DHCP", "absent"],
)
def test_a_server_that_nobody_needs_is_taken_away(wanted: Document) -> None:
    assert steps(wanted, converged(document())) == [("dhcp_remove", [NETWORK])]


def test_the_external_network_is_nobodys_to_serve() -> None:
    assert OUTSIDE not in dict(steps(routed(), NOTHING))["dhcp"]


def test_routes_that_were_left_out_are_a_fault() -> None:
    many = subnet(routes=tuple(route(f"10.9.{n}.1/32", "10.0.0.5") for n in range(40)))
    wanted = document(networks=(network(subnets=(many,)),))
    assert steps(wanted, converged(wanted)) == []
    assert "left out: 10.9." in Dhcp(RUN).faults(wanted, converged(wanted))[NETWORK]
