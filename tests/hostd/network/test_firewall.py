"""The firewall without a kernel: what nft is given, what changes, and what a document allows."""

from __future__ import annotations

import json
import os
from ipaddress import ip_address
from pathlib import Path

import attrs
import pytest

from hostd.drivers import Step
from hostd.network import nft
from hostd.network.conntrack import Flow
from hostd.network.document import Document
from hostd.network.firewall import Backend, Firewall, FirewallSeen, decide, protocols, rules, ruleset
from hostd.network.firewall import groups as groups_
from hostd.network.firewall.revocation import revoked
from hostd.network.firewall.rules import BRIDGE, INET
from hostd.network.firewall.spoofing import link_local
from hostd.spec import ErrorCode, HostError, NetworkingSpec, Want
from tests.hostd.network import walled
from tests.hostd.network.walled import DOCUMENT, FLAT, RED, SPEC, ZONES, A, B, rule

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("backend", Backend)
def test_ruleset_golden(backend: Backend) -> None:
    """After a change that is meant, SKYDECK_WRITE_GOLDENS=1 writes them anew; look at the difference."""
    # One command a line: a changed rule shows as one changed line.
    text = "".join(f"{json.dumps(command)}\n" for command in ruleset(DOCUMENT, backend=backend, zones=ZONES))
    golden = GOLDEN / f"firewall-{backend.value}.jsonl"
    if os.environ.get("SKYDECK_WRITE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_an_empty_host_lets_nothing_pass() -> None:
    empty = Document(NetworkingSpec(uuid=SPEC.uuid))
    commands = ruleset(empty, backend=Backend.BR_NETFILTER, zones={})
    dropped = [command["add"]["rule"] for command in commands if "rule" in command.get("add", {})]
    assert any(found["chain"] == "spoof" and found["expr"][-1] == {"drop": None} for found in dropped)


# ---------------------------------------------------------------------------- zones


def test_a_network_keeps_its_zone_and_a_new_one_gets_the_first_free() -> None:
    known = {"skb-00100000001": 23809, "skb-gone0000000": 23808}
    assert rules.allocated(DOCUMENT, known) == {RED: 23809, FLAT: 23808}


def test_more_networks_than_zones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ZONES", range(7, 8))
    with pytest.raises(ValueError, match="more than 1 networks"):
        rules.allocated(DOCUMENT, {})


def test_zones_are_read_back_from_the_kernels_map() -> None:
    elements = [["skb-1", {"jump": {"target": "zone_23808"}}], ["skb-2", {"drop": None}]]
    assert rules.zones_in([{"map": {"name": "zones", "elem": elements}}]) == {"skb-1": 23808}


# ---------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("name", "version", "number"),
    [("tcp", 4, 6), ("TCP", 6, 6), ("icmp", 4, 1), ("icmp", 6, 58), ("1", 6, 58), ("ipv6-icmp", 6, 58), ("47", 4, 47),
     (None, 4, None), ("any", 6, None)],
)  # fmt: skip
def test_protocols_by_name_and_number(name: str | None, version: int, number: int | None) -> None:
    assert protocols.number(name, version) == number


@pytest.mark.parametrize("name", ["", "tpc", "256", "-1", "²", "tcp accept"])
def test_what_is_no_protocol(name: str) -> None:
    with pytest.raises(ValueError, match="no IP protocol"):
        protocols.number(name, 4)


def test_a_rule_of_one_port_may_name_it_once() -> None:
    assert groups_.port_range(rule(1, protocol="tcp", first=80)) == (80, 80)
    assert groups_.port_range(rule(1, protocol="tcp", last=80)) == (80, 80)
    with pytest.raises(ValueError, match="ports 81 to 80"):
        groups_.port_range(rule(1, protocol="tcp", first=81, last=80))


def test_a_cards_own_address() -> None:
    # The example of RFC 4291, appendix A, has the universal bit set in the end.
    assert link_local("fa:16:3e:00:00:0a") == ip_address("fe80::f816:3eff:fe00:a")


# ---------------------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("outgoing", "address", "protocol", "first", "decided"),
    [
        (False, "198.51.100.1", "tcp", 80, 3),
        (False, "198.51.100.1", "tcp", 81, None),
        (False, "192.0.2.200", "tcp", 8999, 4),
        (False, "192.0.3.200", "tcp", 8999, None),
        (False, "2001:db8::7", "tcp", 80, 5),
        (False, "2001:db8::8", "tcp", 80, None),
        (False, "198.51.100.1", "icmp", None, 6),
        (False, "2001:db8::8", "icmp", None, 8),
        (False, "2001:db8::8", "icmp", 129, None),
        (False, "198.51.100.1", "sctp", 9, 9),
        (False, "198.51.100.1", "vrrp", None, 10),
        (False, "198.51.100.1", "udp", 9, 11),
        (True, "198.51.100.1", "tcp", 25, 1),
        (True, "2001:db8::8", "tcp", 25, 2),
    ],
)
def test_the_rule_that_decides(outgoing: bool, address: str, protocol: str, first: int, decided: int | None) -> None:
    found = decide(DOCUMENT, A, outgoing=outgoing, address=address, protocol=protocol, first=first)
    assert found.allowed == (decided is not None)
    assert found.rule == ("no ingress rule" if decided is None else walled.uuid(6, decided))


def test_members_of_a_group_are_let_in() -> None:
    assert decide(DOCUMENT, B, outgoing=False, address="10.0.0.9", protocol="gre").group == walled.INNER
    assert decide(DOCUMENT, B, outgoing=False, address="fd00:a::12", protocol="tcp", first=22).allowed
    assert not decide(DOCUMENT, B, outgoing=False, address="fd00:a::13", protocol="tcp", first=22).allowed


def test_what_passes_or_not_whatever_the_groups_say() -> None:
    lonely, opened, disabled = walled.LONELY, walled.OPEN, walled.DISABLED
    assert decide(DOCUMENT, lonely, outgoing=True, address="198.51.100.1", protocol="udp", first=67).allowed
    assert decide(DOCUMENT, lonely, outgoing=False, address="198.51.100.1", protocol="udp", first=68).allowed
    assert decide(DOCUMENT, lonely, outgoing=False, address="fe80::1", protocol="icmpv6", first=134).allowed
    assert not decide(DOCUMENT, lonely, outgoing=True, address="fe80::1", protocol="icmpv6", first=134).allowed
    assert not decide(DOCUMENT, lonely, outgoing=True, address="198.51.100.1").allowed
    assert decide(DOCUMENT, opened, outgoing=False, address="198.51.100.1").allowed
    for outgoing in (True, False):
        assert not decide(DOCUMENT, disabled, outgoing=outgoing, address="198.51.100.1").allowed


def test_deciding_chains_and_comments_exist() -> None:
    """What is asked of the kernel by chain and comment is what was loaded."""
    _, bridge = rules.tables(DOCUMENT, backend=Backend.BR_NETFILTER, zones=ZONES)
    for port in SPEC.ports:
        for outgoing in (True, False):
            for protocol, first in (("tcp", 80), ("udp", 67), ("udp", 68), ("tcp", 1)):
                found = decide(DOCUMENT, port, outgoing=outgoing, address="192.0.2.9", protocol=protocol, first=first)
                comments = [held.get("comment", "") for held in bridge.chains[found.chain].rules]
                assert found.rule in comments


# ---------------------------------------------------------------------------- revocation


def flow(source: str, destination: str, first: int = 80, *, zone: int = ZONES[RED]) -> Flow:
    return Flow(zone=zone, source=ip_address(source), destination=ip_address(destination), protocol=6, first=first)


@pytest.mark.parametrize(
    ("tracked", "kept"),
    [
        (flow("198.51.100.1", "10.0.0.10"), True),
        (flow("198.51.100.1", "10.0.0.10", 81), False),
        (flow("10.0.0.10", "198.51.100.1", 81), True),
        (flow("10.0.0.10", "10.0.0.11", 80), True),
        (flow("10.0.0.10", "10.0.0.11", 81), False),
        (flow("10.0.0.10", "10.0.0.12", 81), True),
        (flow("10.0.0.10", "10.0.0.13", 80), False),
        (flow("198.51.100.1", "10.0.1.77", 81), False),
        (flow("198.51.100.1", "10.0.0.77"), False),
        (flow("198.51.100.1", "10.0.0.10", zone=ZONES[FLAT]), False),
        (flow("198.51.100.1", "10.0.0.10", zone=23900), False),
    ],
)  # fmt: skip
def test_flows_are_judged_by_the_document(tracked: Flow, kept: bool) -> None:
    assert revoked(DOCUMENT, ZONES, [tracked]) == ([] if kept else [tracked])


# ---------------------------------------------------------------------------- plans


def test_a_plan_is_empty_when_the_mark_stands() -> None:
    part = Firewall()
    mark = rules.mark_of(rules.loaded(DOCUMENT, backend=Backend.BR_NETFILTER, zones=rules.allocated(DOCUMENT, {})))
    whole = FirewallSeen(backend=Backend.BR_NETFILTER, tables=frozenset({INET, BRIDGE}), mark=mark)
    assert part.plan(DOCUMENT, whole) == ()
    assert part.faults(DOCUMENT, whole) == {}
    load, anew = (Step("firewall", {"whole": value}) for value in (False, True))
    for change, step, words in (
        ({"mark": None}, load, "other firewall rules are loaded"),
        ({"tables": frozenset({BRIDGE})}, load, "table inet skydeck is missing"),
        ({"prepared": False}, load, "br_netfilter is not loaded"),
        ({"switched_on": ("bridge-nf-call-iptables",)}, load, "bridge-nf-call-iptables must be 0"),
        ({"altered": ("chain spoof",)}, anew, "firewall rules were changed: chain spoof"),
    ):
        seen = attrs.evolve(whole, **change)  # type: ignore[arg-type]
        assert part.plan(DOCUMENT, seen) == (step,)
        assert part.faults(DOCUMENT, seen) == {"": words}
    assert part.plan(DOCUMENT, attrs.evolve(whole, revoking=True)) == (load,)


def test_an_absent_document_removes_what_there_is() -> None:
    part = Firewall()
    absent = Document(NetworkingSpec(uuid=SPEC.uuid, want=Want.ABSENT))
    nothing = FirewallSeen(backend=Backend.BR_NETFILTER)
    assert part.plan(absent, nothing) == ()
    assert part.plan(absent, attrs.evolve(nothing, tables=frozenset({BRIDGE}))) == (Step("firewall_remove"),)


def test_a_missing_library_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "_LIBRARY", "libnftables-that-is-not-there.so.1")
    nft._library.cache_clear()
    try:
        with pytest.raises(HostError) as caught:
            nft.tables()
    finally:
        nft._library.cache_clear()
    assert caught.value.code is ErrorCode.NETWORK
    assert "libnftables1" in caught.value.error.hint
