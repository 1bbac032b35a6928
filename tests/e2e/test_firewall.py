"""Security groups on a real bridge: what guests can do to each other; and the firewall as a part of a host."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import attrs
import pytest

from hostd.drivers import Step
from hostd.network import conntrack, namespaces, nft
from hostd.network.document import Document
from hostd.network.firewall import Backend, Firewall, counted, decide, in_place
from hostd.network.firewall.rules import BRIDGE, REVOKING, ZONES
from hostd.spec import NetworkingSpec, Want
from tests.e2e import bridged, frames
from tests.e2e.bridged import (
    EXPECTED,
    NET,
    OUT,
    A,
    B,
    C,
    Guest,
    Host,
    closed,
    document,
    group,
    network,
    opened,
    port,
    rule,
)
from tests.e2e.frames import ARP, BROADCAST, IP4, IP6, NONE, arp, frame
from tests.hostd.network import walled
from tests.lab import other_kernel

pytestmark = pytest.mark.e2e

WHOLE = Step("firewall", {"whole": True})


@pytest.fixture
def host() -> Iterator[Host]:
    yield from bridged.hosts()


@pytest.fixture
def trio(host: Host) -> tuple[Guest, Guest, Guest]:
    return host.plug_all()


# ---------------------------------------------------------------------------- security groups


@pytest.mark.parametrize("version", [4, 6])
def test_nothing_comes_in_but_replies(host: Host, trio: tuple[Guest, Guest, Guest], version: int) -> None:
    a, b, _ = trio
    before = host.counted("no ingress rule")
    assert not a.reaches(b, 7000, version=version)
    assert not b.reaches(a, 7000, version=version)
    assert host.counted("no ingress rule") >= before + 2
    host.apply(opened(rule(1, version=version, protocol="udp", first=7000, last=7010)))
    assert a.reaches(b, 7000, version=version), "and its reply comes back to A, who lets nothing in"
    assert a.reaches(b, 7010, version=version)
    assert not a.reaches(b, 7011, version=version)
    assert not b.reaches(a, 7000, version=version)


@pytest.mark.parametrize("version", [4, 6])
def test_nothing_goes_out_without_a_rule(host: Host, trio: tuple[Guest, Guest, Guest], version: int) -> None:
    a, b, _ = trio
    spec = opened(rule(1, version=version))
    mute = group(5, rule(2, "egress", version, protocol="udp", first=7001, last=7001))
    host.apply(
        attrs.evolve(spec, ports=(attrs.evolve(A, groups=(mute.uuid,)), *spec.ports[1:]), groups=(*spec.groups, mute))
    )
    assert not a.reaches(b, 7000, version=version)
    assert a.reaches(b, 7001, version=version)


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_pass_whole(host: Host, trio: tuple[Guest, Guest, Guest], version: int) -> None:
    a, b, _ = trio
    host.apply(opened(rule(1, version=version, protocol="udp", first=7000, last=7000)))
    assert a.reaches(b, 7000, version=version, size=6000)
    assert not a.reaches(b, 7001, version=version, size=6000)


@pytest.mark.parametrize("version", [4, 6])
def test_a_remote_group_follows_its_members(host: Host, trio: tuple[Guest, Guest, Guest], version: int) -> None:
    a, b, c = trio
    friends = rule(1, version=version, group=group(2).uuid)
    host.apply(opened(friends, members=(a.ip(version),)))
    assert a.reaches(b, 7000, version=version)
    assert not c.reaches(b, 7000, version=version)
    host.apply(opened(friends, members=(a.ip(version), c.ip(version))))
    assert c.reaches(b, 7000, version=version)
    host.apply(opened(friends, members=(c.ip(version),)))
    assert not a.reaches(b, 7000, version=version)
    assert c.reaches(b, 7000, version=version)


def test_a_remote_block(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, c = trio
    host.apply(opened(rule(1, cidr=f"{a.ip()}/32"), rule(2, version=6, cidr="fd00:a::8/125")))
    assert a.reaches(b, 7000)
    assert not c.reaches(b, 7000)
    assert c.reaches(b, 7000, version=6), "12 is in 8/125"


def test_icmp_by_type(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, _ = trio

    assert not a.hears(b.ip())
    host.apply(opened(rule(1, protocol="icmp", first=8, last=0), rule(2, version=6, protocol="icmp", first=128)))
    assert a.hears(b.ip())
    assert a.hears(b.ip(6))
    host.apply(opened(rule(1, protocol="icmp", first=13), rule(2, version=6, protocol="58", first=129)))
    assert not a.hears(b.ip())
    assert not a.hears(b.ip(6))


@pytest.mark.parametrize("version", [4, 6])
def test_a_rule_comes_and_goes_under_a_live_flow(host: Host, trio: tuple[Guest, Guest, Guest], version: int) -> None:
    a, b, c = trio
    web = rule(1, version=version, protocol="tcp", first=80, last=80)
    other = rule(2, version=version, protocol="tcp", first=81, last=81, cidr=f"{c.ip(version)}")
    host.apply(opened(web, other))
    with b.serves(80, version) as server, b.serves(81, version) as second:
        flow, kept = a.connects(b.ip(version), 80), c.connects(b.ip(version), 81)
        assert flow is not None
        assert kept is not None
        ends = [listening.accept()[0] for listening in (server, second)]
        for end in ends:
            end.settimeout(bridged.PATIENCE)
        flow.sendall(b"one")
        assert ends[0].recv(9) == b"one"
        tracked = set(conntrack.flows(ZONES))
        host.apply(opened(web, other, rule(3, version=version, protocol="tcp", first=82, last=82)))
        assert set(conntrack.flows(ZONES)) == tracked, "more rights end nothing"
        host.apply(opened(other))
        ends[0].sendall(b"two")
        flow.sendall(b"three")
        for end in (ends[0], flow):
            with pytest.raises(TimeoutError):
                end.recv(9)
        # The other flow is not so much as noticed.
        left = {found for found in tracked if found.first == 81}
        assert len(left) == 1
        assert {found.key for found in conntrack.flows(ZONES) if found.first in (80, 81)} >= {f.key for f in left}
        kept.sendall(b"still")
        assert ends[1].recv(9) == b"still"
        for one in (flow, kept, *ends):
            one.close()


def test_a_port_inherits_no_flows_of_its_address(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, _ = trio
    host.apply(opened(rule(1)))
    assert a.reaches(b, 7000)

    def tracked() -> bool:
        return any(str(flow.destination) == b.ip() for flow in conntrack.flows(ZONES))

    host.apply(closed(A, C))
    assert tracked(), "it may have moved to another host"
    host.apply(closed(A, C, attrs.evolve(C, uuid=bridged.uuid(4, 99), mac=frames.STRANGER, addresses=B.addresses)))
    assert not tracked()


def test_a_crash_before_flows_are_forgotten_is_made_good(
    host: Host, trio: tuple[Guest, Guest, Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = trio
    host.apply(opened(rule(1, protocol="udp")))
    assert a.reaches(b, 7000)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(conntrack, "delete", die)
        with pytest.raises(Killed):
            host.apply(closed())
    assert conntrack.flows(ZONES)
    host.firewall = Firewall()
    assert host.apply(closed()) == ("firewall",)
    assert not any(flow.first == 7000 for flow in conntrack.flows(ZONES))
    assert nft.list_chain(*BRIDGE, REVOKING) is None


def test_two_networks_with_the_same_addresses(host: Host) -> None:
    other = attrs.evolve(
        network(2), subnets=tuple(attrs.evolve(s, id=bridged.uuid(2, 90 + n)) for n, s in enumerate(NET.subnets))
    )
    inner = group(3, *OUT, rule(1))
    here = [port(number, NET, inner.uuid, host=number) for number in (10, 11)]
    there = [port(20 + number, other, inner.uuid, host=number) for number in (10, 11)]
    host.apply(document((NET, other), (*here, *there), (inner,)))
    host.bridge(NET)
    host.bridge(other)
    a, b = (host.plug(one, NET) for one in here)
    x, y = (host.plug(one, other) for one in there)
    assert (a.ip(), b.ip()) == (x.ip(), y.ip())
    for _ in range(2):
        assert a.reaches(b, 7000, source=a.ip())
        assert x.reaches(y, 7000, source=x.ip())
    assert len({flow.zone for flow in conntrack.flows(ZONES)}) == 2
    # A reply in one is none in the other.
    host.apply(document((NET, other), (*here, attrs.evolve(there[0], groups=()), there[1]), (inner,)))
    assert not x.reaches(y, 7000)
    assert a.reaches(b, 7000)
    host.apply(document((NET, other), (*here, *there), (inner,)))
    assert x.reaches(y, 7000)
    host.apply(document((NET,), tuple(here), (inner,)))
    assert len({flow.zone for flow in conntrack.flows(ZONES)}) == 1


PACKETS = [
    (source, protocol, first)
    for source in ("198.51.100.1", "192.0.2.200", "10.0.0.9", "2001:db8::7", "2001:db8::8", "fd00:a::12")
    for protocol, first in ((6, 22), (6, 80), (6, 8999), (6, 9000), (17, 9), (1, 8), (1, 13), (58, 128), (58, 129),
                            (112, None), (47, None))
    if (protocol == 1) <= ("." in source) and (protocol == 58) <= (":" in source)
]  # fmt: skip


def test_the_kernel_decides_as_the_document_says(host: Host) -> None:
    """One host's document with rules of every kind: what `decide` says of a packet is what happens to it."""
    red = next(one for one in walled.SPEC.networks if one.uuid == walled.RED)
    anybody = attrs.evolve(walled.OPEN, addresses=())
    spec = attrs.evolve(walled.SPEC, ports=(walled.A, walled.B, anybody))
    host.apply(spec)
    host.bridge(red)
    sender, *others = (host.plug(one, red) for one in (anybody, walled.A, walled.B))
    wanted = Document(spec)
    end = arp(1, (sender.mac, "10.0.0.250"), (NONE, "10.0.0.251"))
    for other in others:
        with sender.wire() as forger, other.wire() as listener:
            for number, (source, protocol, first) in enumerate(PACKETS):
                six = ":" in source
                address = "fd00:a::10" if six else other.ip()
                sent = frame(
                    other.mac, sender.mac, IP6 if six else IP4, frames.packet(source, address, protocol, first)
                )
                marker = frame(BROADCAST, sender.mac, ARP, end + bytes([number]))
                forger.send(sent)
                forger.send(marker)
                arrived = any(frames.same(data, sent) for data in listener.heard_until(marker))
                told = decide(wanted, other.port, outgoing=False, address=source, protocol=str(protocol), first=first)
                assert arrived == told.allowed, (other.port.uuid, source, protocol, first, told)


# ---------------------------------------------------------------------------- the part


def test_forty_replacements_lose_no_packet(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, _ = trio
    spec = opened(rule(1, protocol="icmp"), rule(2, protocol="tcp"))
    host.apply(spec)
    wanted = Document(spec)
    with b.serves(80) as server:
        flow = a.connects(b.ip(), 80)
        assert flow is not None
        end = server.accept()[0]
        ping = a.pings(b.ip(), count=2000, interval=0.002)
        replaced = 0
        while ping.poll() is None:
            host.firewall.execute(WHOLE, wanted)
            replaced += 1
        assert replaced >= 40
        said, _ = ping.communicate()
        found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        assert found is not None
        assert found[1] == found[2], said
        flow.sendall(b"still")
        end.settimeout(bridged.PATIENCE)
        assert end.recv(9) == b"still"
        flow.close()
        end.close()


def test_a_new_hostd_finds_all_in_place_and_keeps_zones(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, _ = trio
    host.apply(opened(rule(1)))
    assert a.reaches(b, 7000)
    (zone,) = {flow.zone for flow in conntrack.flows(ZONES)}
    host.firewall = Firewall()
    assert host.apply(opened(rule(1))) == ()
    first = network(0)
    spec = opened(rule(1))
    assert host.apply(attrs.evolve(spec, networks=(first, NET))) == ("firewall",)
    assert a.reaches(b, 7001)
    assert {flow.zone for flow in conntrack.flows(ZONES)} == {zone}


def test_what_somebody_changed_is_seen_and_mended(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    wanted = Document(closed())
    part = {"family": BRIDGE[0], "table": BRIDGE[1]}
    for harm in (
        {"flush": {"chain": {**part, "name": "spoof"}}},
        {"add": {"element": {**part, "name": "live", "elem": ["skt-stranger"]}}},
        {"add": {"chain": {**part, "name": "mine"}}},
        {"delete": {"table": {"family": "inet", "name": "skydeck"}}},
    ):
        nft.run([harm])
        seen = host.firewall.seen(wanted, bridged.NOTHING, deep=True)
        assert host.firewall.faults(wanted, seen)
        assert host.apply(closed()) == ("firewall",), "a look that is not deep knows it, too"
        assert host.apply(closed()) == ()
    bridged.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
    seen = host.firewall.seen(wanted, bridged.NOTHING, deep=False)
    assert "bridge-nf-call-iptables" in host.firewall.faults(wanted, seen)[""]
    assert host.apply(closed()) == ("firewall",)


def test_an_absent_document_takes_all_away(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    bridged.run("nft", "add table bridge theirs")
    gone = NetworkingSpec(uuid=bridged.HOST, want=Want.ABSENT)
    wanted = Document(gone)
    (step,) = host.firewall.plan(wanted, host.firewall.seen(wanted, bridged.NOTHING, deep=False))
    assert step.name == "firewall_remove"
    host.firewall.execute(step, wanted)
    host.firewall.execute(step, wanted)
    assert nft.tables() == {("bridge", "theirs")}
    assert host.firewall.plan(wanted, host.firewall.seen(wanted, bridged.NOTHING, deep=True)) == ()
    assert host.apply(closed()) == ("firewall",)


def test_the_deciding_rule_counts(host: Host, trio: tuple[Guest, Guest, Guest]) -> None:
    a, b, _ = trio
    spec = opened(rule(1, protocol="udp", first=7000, last=7000))
    host.apply(spec)
    wanted = Document(spec)
    inner = wanted.ports[B.uuid]
    yes = decide(wanted, inner, outgoing=False, address=a.ip(), protocol="udp", first=7000)
    no = decide(wanted, inner, outgoing=False, address=a.ip(), protocol="udp", first=7001)
    assert (yes.allowed, yes.rule) == (True, rule(1).uuid)
    assert not no.allowed
    assert in_place(yes)
    assert in_place(no)
    assert counted(yes) == (0, 0)
    assert a.reaches(b, 7000)
    assert not a.reaches(b, 7001)
    assert counted(yes) == (1, 32)
    assert (counted(no) or (0, 0))[0] >= 1


def test_a_named_namespace_has_rules_of_its_own(host: Host) -> None:
    namespaces.create("elsewhere")
    nft.run([{"add": {"table": {"family": "inet", "name": "nat"}}}], namespace="elsewhere")
    assert nft.tables(namespace="elsewhere") == {("inet", "nat")}
    assert nft.tables() == frozenset()
    assert nft.list_table("inet", "nat", namespace="elsewhere") is not None
    assert nft.list_table("inet", "nat") is None
    namespaces.remove("elsewhere")


ON_THE_OTHER_KERNEL = (
    "nothing_comes_in", "fragments", "live_flow", "two_networks", "inherits", "forged_is_dropped and MAC", "hidden",
    "somebody_changed",
)  # fmt: skip


@pytest.mark.timeout(660)
def test_where_bridges_track_connections_themselves() -> None:
    """The other backend: some of the tests above, on Debian's own kernel."""
    chosen = " or ".join(f"({one})" for one in ON_THE_OTHER_KERNEL)
    settings = [
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1",
        "SKYDECK_PATIENCE=3",
        f"{EXPECTED}={Backend.BRIDGE_CONNTRACK.value}",
    ]
    pytest_ = [sys.executable, "-m", "pytest", "--noconftest", "-c", "/dev/null", "--rootdir=.", "-q", "--tb=short"]
    done = other_kernel.run(
        [
            "env",
            *settings,
            *pytest_,
            "tests/e2e/test_firewall.py",
            "tests/e2e/test_firewall_spoofing.py",
            "-k",
            f"'{chosen}'",
        ],
        timeout=600,
    )
    assert done.status == 0, done.output[-5000:]
