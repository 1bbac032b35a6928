"""What links and forwarding entries a document takes, and what is wrong with those there are."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from hostd.network import names
from hostd.network.document import Document
from hostd.network.forwarding import BRIDGED, Entry, Forwarding, ForwardingSeen, entries
from hostd.network.links.part import Links, LinksSeen
from hostd.network.links.wanted import Uplink, wanted
from hostd.network.netlink import Netlink
from hostd.network.rtnetlink import EVERYBODY, Link
from hostd.network.shaping import Shaping, ShapingSeen
from hostd.spec import NetworkingSpec, Peer, RemotePort, SegmentType, Underlay, Want
from tests.hostd.network.services.documents import HOST, NETWORK, document, network, port

OTHER = "00000000-0000-4000-8000-00000000000f"
UNDERLAY = Underlay(vtep="192.0.2.1", vteps=("192.0.2.2",), physnets={"ext": "eth1"})
REMOTE = RemotePort(mac="fa:16:3e:00:00:77", vtep="192.0.2.2", ips=("10.0.0.77",))
LINKS = Links(Netlink(), calls_iptables=lambda: True)


def tunnelled(**changes: object) -> Document:
    net = network(peers=(Peer(host=OTHER, vtep="192.0.2.2"),), remote=(REMOTE,), **changes)
    return document(networks=(net,), underlay=UNDERLAY)


def provider(segment: int | None) -> Document:
    kind = SegmentType.FLAT if segment is None else SegmentType.VLAN
    return document(networks=(network(type=kind, segment=segment, physnet="ext", mtu=1500),), underlay=UNDERLAY)


def link(name: str, index: int, **changes: object) -> Link:
    fields: dict[str, object] = {
        "kind": "",
        "mac": "02:00:00:00:00:01",
        "mtu": 1500,
        "up": True,
        "group": 0,
        "master": 0,
    }
    return Link(name=name, index=index, **{**fields, **changes})  # type: ignore[arg-type]


def made(document: Document) -> Mapping[str, Link]:
    """The links of the document's network, as they should be."""
    one = wanted(document, document.spec.networks[0], calls_iptables=True)
    assert one.tunnel is not None
    assert one.leg is not None
    ours = {"group": names.GROUP, "mtu": 1450}
    found = (
        link(
            one.bridge.name, 10, kind="bridge", mac=one.bridge.mac, calls_iptables=True,
            alternatives=frozenset((one.bridge.alternative,)), **ours,
        ),
        link(
            one.tunnel.name, 11, kind="vxlan", tag=1001, local="192.0.2.1", learning=False, flood=False, suppress=True,
            master=10, alternatives=frozenset((one.tunnel.alternative,)), **ours,
        ),
        link(
            one.leg.name, 12, kind="veth", master=10,
            alternatives=frozenset((one.leg.alternative, one.leg.mark)), **ours,
        ),
    )  # fmt: skip
    return {one.name: one for one in found}


def seen(links: Mapping[str, Link], *spaces: str) -> LinksSeen:
    return LinksSeen(links=links, namespaces=frozenset(spaces), services=None)


SPACE = names.namespace(NETWORK)


def test_what_is_whole_takes_no_step() -> None:
    assert LINKS.plan(tunnelled(), seen(made(tunnelled()), SPACE)) == ()


def test_each_wrong_link_has_its_network_made_again() -> None:
    whole = made(tunnelled())
    for name, change in (
        (names.bridge(NETWORK), {"mac": "02:00:00:00:00:99"}),
        (names.bridge(NETWORK), {"calls_iptables": False}),
        (names.vxlan(NETWORK), {"learning": True}),
        (names.vxlan(NETWORK), {"local": "192.0.2.9"}),
        (names.vxlan(NETWORK), {"master": 0}),
        (names.leg(NETWORK), {"up": False}),
        (names.leg(NETWORK), {"alternatives": frozenset()}),
    ):
        broken = {**whole, name: attrs.evolve(whole[name], **change)}
        (step,) = LINKS.plan(tunnelled(), seen(broken, SPACE))
        assert (step.name, step.args) == ("links", {"networks": [NETWORK]}), (name, change)
    (step,) = LINKS.plan(tunnelled(), seen(whole))
    assert step.name == "links", "the namespace is missing"


def test_what_no_document_names_goes_and_others_links_stay() -> None:
    stray = names.bridge(OTHER)
    links = {
        **made(tunnelled()),
        stray: link(stray, 20, kind="bridge"),
        "br0": link("br0", 21, kind="bridge"),
        "skb-mine": link("skb-mine", 22, kind="bridge"),
    }
    (step,) = LINKS.plan(tunnelled(), seen(links, SPACE, "skn-00000000000", "mine"))
    assert step.name == "links_remove"
    assert step.args == {"links": [stray], "namespaces": ["skn-00000000000"]}


def test_a_bridge_with_guests_is_kept_and_told_of() -> None:
    stray, tap = names.bridge(OTHER), "skt-aaaaaaaaaaa"
    links = {**made(tunnelled()), stray: link(stray, 20, kind="bridge"), tap: link(tap, 21, master=20)}
    assert LINKS.plan(tunnelled(), seen(links, SPACE)) == ()
    assert tap in LINKS.faults(tunnelled(), seen(links, SPACE))[""]


def test_an_absent_document_takes_everything_of_ours() -> None:
    nothing = Document(NetworkingSpec(uuid=HOST, want=Want.ABSENT))
    (step,) = LINKS.plan(nothing, seen(made(tunnelled()), SPACE))
    assert set(step.args["links"]) == set(made(tunnelled()))
    assert step.args["links"][-1] == names.bridge(NETWORK), "a bridge goes after its ports"
    assert step.args["namespaces"] == [SPACE]


def test_a_flat_network_takes_its_interface_or_a_cable_to_the_operators_bridge() -> None:
    one = wanted(provider(None), provider(None).spec.networks[0], calls_iptables=True)
    assert one.uplink == Uplink(network=NETWORK, bridge=names.bridge(NETWORK), interface="eth1", tag=None, mtu=1500)
    bridge = link(names.bridge(NETWORK), 10, kind="bridge")
    card = {"eth1": link("eth1", 2), bridge.name: bridge}
    assert one.uplink.wrong(card)
    assert not one.uplink.wrong({**card, "eth1": link("eth1", 2, master=10)})
    operators = {**card, "eth1": link("eth1", 2, kind="bridge")}
    assert one.uplink.names(operators) == {names.uplink(NETWORK), names.uplink_far(NETWORK)}
    cabled = {
        **operators,
        one.uplink.cable: link(one.uplink.cable, 30, master=10),
        one.uplink.far: link(one.uplink.far, 31, master=2),
    }
    assert not one.uplink.wrong(cabled)


def test_a_vlan_network_takes_a_vlan_of_its_interface() -> None:
    one = wanted(provider(100), provider(100).spec.networks[0], calls_iptables=True)
    assert one.uplink is not None
    links = {"eth1": link("eth1", 2), names.bridge(NETWORK): link(names.bridge(NETWORK), 10, kind="bridge")}
    assert one.uplink.wrong(links)
    vlan = link(names.vlan(NETWORK), 30, kind="vlan", tag=100, parent=2, master=10)
    assert not one.uplink.wrong({**links, vlan.name: vlan})
    assert one.uplink.wrong({**links, vlan.name: attrs.evolve(vlan, tag=101)})


def test_a_missing_uplink_is_a_fault_that_names_the_command() -> None:
    lost = document(
        networks=(network(type=SegmentType.FLAT, segment=None, physnet="lost", mtu=1500),), underlay=UNDERLAY
    )
    assert "--physnet lost=IFACE" in LINKS.faults(lost, seen({}, SPACE))[NETWORK]


def test_forwarding_entries_of_a_network() -> None:
    tunnel, bridge = names.vxlan(NETWORK), names.bridge(NETWORK)
    router = names.router_mac(NETWORK, OTHER)
    found = set(entries(tunnelled()))
    assert found == {
        Entry(tunnel, EVERYBODY, "192.0.2.2"),
        Entry(tunnel, router, "192.0.2.2"),
        Entry(tunnel, router, BRIDGED),
        Entry(tunnel, REMOTE.mac, "192.0.2.2"),
        Entry(tunnel, REMOTE.mac, BRIDGED),
        Entry(bridge, REMOTE.mac, "10.0.0.77"),
        Entry(bridge, port().mac, "10.0.0.10"),
        Entry(bridge, names.mac("service", NETWORK), "10.0.0.2"),
    }
    assert not any(entry.link == bridge for entry in entries(tunnelled(flood=True)))


def test_forwarding_is_done_once() -> None:
    part = Forwarding()
    whole = frozenset(entries(tunnelled()))
    assert part.plan(tunnelled(), ForwardingSeen(entries=whole)) == ()
    other = Entry(names.vxlan(OTHER), "fa:16:3e:00:00:01", "192.0.2.2")
    assert part.plan(tunnelled(), ForwardingSeen(entries=whole | {other})) == (), "another network's goes with its link"
    assert [step.name for step in part.plan(tunnelled(), ForwardingSeen(entries=whole - {max(whole, key=str)}))]
    assert [step.name for step in part.plan(tunnelled(), ForwardingSeen(entries=frozenset()))] == ["forwarding"]


def test_limits_are_set_on_taps_that_are_there() -> None:
    part = Shaping(Netlink())
    limited = document(ports=(port(ingress_kbit=1000, egress_kbit=2000),))
    assert part.plan(limited, ShapingSeen(links={})) == ()
    tap = link(names.tap(port().uuid), 40)
    (step,) = part.plan(limited, ShapingSeen(links={tap.name: tap}))
    assert (step.name, step.args) == ("shaping", {"ports": [port().uuid]})
    mark = f"skq-{names.short(port().uuid)}-1000-2000"
    shaped = attrs.evolve(tap, alternatives=frozenset((mark,)))
    shaper = link(names.shaper(port().uuid), 41)
    assert part.plan(limited, ShapingSeen(links={tap.name: shaped, shaper.name: shaper})) == ()
    (step,) = part.plan(document(), ShapingSeen(links={tap.name: shaped, shaper.name: shaper}))
    assert step.name == "shaping", "the limit is lifted, and the shaper goes with it"
    (step,) = part.plan(document(), ShapingSeen(links={shaper.name: shaper}))
    assert (step.name, step.args) == ("shaping_remove", {"links": [shaper.name]})
