"""Anti-spoofing: what a guest's tap may send, by nft in the bridge family.

A tap may send frames from its own MAC only, with its own IPv4 address or none yet, claims only that
in ARP, and never speaks as a DHCP server or router. Nothing goes from a tap to the host itself. A
tap that no port is known for may send nothing: rules match by name, so they stand before the tap does.

Priorities: a forward chain at 0 is skipped by some kernels when br_netfilter is active; these hooks
are well before it. Rules are JSON objects, never text.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import subprocess
from collections.abc import Iterable
from typing import Any, Final

import attrs

from hostd.network import names
from hostd.network.dhcp import ethernet
from hostd.spec import ErrorCode, HostError, NetworkSpec

TABLE: Final = {"family": "bridge", "name": "skydeck"}
_PART: Final = {"family": "bridge", "table": "skydeck"}

Json = dict[str, Any]


@attrs.frozen(order=True)
class Allowed:
    """One right of a tap: to send from a MAC, and, where `ip` is not empty, from this address."""

    tap: str
    mac: str
    ip: str
    network: str
    """The network's first 11 hex digits: kept as a comment, so that its rights are found without another record."""


@attrs.frozen(kw_only=True)
class FirewallSeen:
    """Our table as the kernel has it."""

    current: bool
    """The chains are those of this version of hostd."""
    allowed: frozenset[Allowed] = frozenset()


def allowed(spec: NetworkSpec) -> frozenset[Allowed]:
    """The rights of the ports of this network that live here. Raises ValueError."""
    network = names.short(spec.uuid)
    rights = set()
    for subnet in spec.subnets:
        for host in subnet.hosts:
            tap, mac = names.tap(host.port_id), ethernet(host.mac)
            rights.add(Allowed(tap, mac, "", network))
            rights.add(Allowed(tap, mac, str(ipaddress.IPv4Address(host.ip)), network))
    return frozenset(rights)


def ruleset(rights: Iterable[Allowed]) -> list[Json]:
    """Commands that put our table, wholly anew, in the place of whatever stands there."""
    chains = {**_chains(), VERSION: ({}, [])}
    commands: list[Json] = [{"add": {"table": TABLE}}, {"delete": {"table": TABLE}}, {"add": {"table": TABLE}}]
    for name, types in _SETS.items():
        commands.append({"add": {"set": {**_PART, "name": name, "type": types}}})
    # All chains before any rule: rules jump to them.
    commands += [{"add": {"chain": {**_PART, "name": name, **hook}}} for name, (hook, _) in chains.items()]
    for name, (_, rules) in chains.items():
        commands += [{"add": {"rule": {**_PART, "chain": name, "expr": rule}}} for rule in rules]
    return commands + elements("add", rights)


def elements(verb: str, rights: Iterable[Allowed]) -> list[Json]:
    """Commands that `add` or `delete` these rights."""
    of_set: dict[str, list[Json]] = {}
    for right in sorted(rights):
        name, value = ("ip4_ok", [right.tap, right.mac, right.ip]) if right.ip else ("mac_ok", [right.tap, right.mac])
        element: Json = {"concat": value}
        if verb == "add":
            element = {"elem": {"val": element, "comment": right.network}}
        of_set.setdefault(name, []).append(element)
    return [{verb: {"element": {**_PART, "name": name, "elem": found}}} for name, found in of_set.items()]


def read(listing: Json) -> FirewallSeen:
    """Our table out of what `nft -j list table` printed."""
    found = set()
    current = False
    for item in listing["nftables"]:
        if "chain" in item:
            current = current or item["chain"]["name"] == VERSION
        for entry in item.get("set", {}).get("elem", ()):
            element = entry.get("elem", entry)
            values = element["val"]["concat"]
            found.add(Allowed(values[0], values[1], values[2] if len(values) > 2 else "", element.get("comment", "")))
    return FirewallSeen(current=current, allowed=frozenset(found))


def seen() -> FirewallSeen:
    """Our table in this host's kernel. Raises HostError(NETWORK) when nft cannot be run."""
    done = _nft("list", "table", TABLE["family"], TABLE["name"])
    if done.returncode != 0:
        if "No such file" in done.stderr:
            return FirewallSeen(current=False)
        raise HostError(ErrorCode.NETWORK, f"nft: {done.stderr.strip()}", hint="Is nftables installed?")
    return read(json.loads(done.stdout))


def apply(network: str, rights: frozenset[Allowed]) -> None:
    """Give the network (11 hex digits) exactly these rights, in one transaction. One caller at a time.

    Raises HostError(NETWORK) when the kernel refuses; nothing is changed then.
    """
    now = seen()
    others = frozenset(right for right in now.allowed if right.network != network)
    if now.current:
        commands = elements("delete", now.allowed - others - rights) + elements("add", rights - now.allowed)
    else:
        commands = ruleset(others | rights)
    if not commands:
        return
    done = _nft("-f", "-", input=json.dumps({"nftables": commands}))
    if done.returncode != 0:
        raise HostError(ErrorCode.NETWORK, f"nft: {done.stderr.strip()}")


def _nft(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["nft", "-j", *arguments], input=input, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise HostError(ErrorCode.NETWORK, "nft is not installed", hint="Install the package nftables.") from error


# ---------------------------------------------------------------------------- the chains

_SETS: Final = {"mac_ok": ["ifname", "ether_addr"], "ip4_ok": ["ifname", "ether_addr", "ipv4_addr"]}


def _payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _match(left: Json, right: object, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def _chains() -> dict[str, tuple[Json, list[list[Json]]]]:
    """Name to hook and rules."""
    iifname = {"meta": {"key": "iifname"}}
    from_tap = _match(iifname, f"{names.TAP_PREFIX}*")
    own_mac = {"concat": [iifname, _payload("ether", "saddr")]}
    own_ip = {"concat": [iifname, _payload("ether", "saddr"), _payload("ip", "saddr")]}
    arp_mac = {"concat": [iifname, _payload("arp", "saddr ether")]}
    arp_ip = {"concat": [iifname, _payload("arp", "saddr ether"), _payload("arp", "saddr ip")]}
    operation, sport, dport = _payload("arp", "operation"), _payload("udp", "sport"), _payload("udp", "dport")
    drop: list[Json] = [{"counter": None}, {"drop": None}]
    accept: Json = {"accept": None}
    by_type = [[kind, {"goto": {"target": f"spoof_{kind}"}}] for kind in ("arp", "ip", "ip6")]
    return {
        "spoof_arp": (
            {},
            [
                [_match(operation, {"set": ["request", "reply"]}), _match(arp_ip, "@ip4_ok"), accept],
                # A probe (RFC 5227): no sender address yet.
                [
                    _match(operation, "request"),
                    _match(arp_mac, "@mac_ok"),
                    _match(_payload("arp", "saddr ip"), "0.0.0.0"),
                    accept,
                ],
                drop,
            ],
        ),
        "spoof_ip": (
            {},
            [
                [_match(_payload("ip", "saddr"), "0.0.0.0"), _match(sport, 68), _match(dport, 67), accept],
                [_match(sport, 67), _match(dport, 68), *drop],
                [_match(own_ip, "@ip4_ok"), accept],
                drop,
            ],
        ),
        "spoof_ip6": (
            {},
            [
                [_match(_payload("icmpv6", "type"), {"set": ["nd-router-advert", "nd-redirect"]}), *drop],
                [_match(sport, 547), _match(dport, 546), *drop],
                # Ports have no IPv6 addresses yet: link-local ones only.
                [
                    _match(_payload("ip6", "saddr"), {"set": ["::", {"prefix": {"addr": "fe80::", "len": 10}}]}),
                    accept,
                ],
                drop,
            ],
        ),
        "spoof": (
            {},
            [
                [_match(own_mac, "@mac_ok", "!="), *drop],
                [{"vmap": {"key": _payload("ether", "type"), "data": {"set": by_type}}}],
                drop,
            ],
        ),
        "from_guest": (
            {"type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"},
            [[from_tap, {"goto": {"target": "spoof"}}]],
        ),
        # A guest could otherwise reach the host's own addresses: the kernel answers ARP for any of them on any link.
        "to_host": (
            {"type": "filter", "hook": "input", "prio": -200, "policy": "accept"},
            [[from_tap, *drop]],
        ),
    }


def _version() -> str:
    return f"version_{hashlib.sha256(json.dumps(_chains()).encode()).hexdigest()[:12]}"


VERSION: Final = _version()
"""An empty chain of this name says which chains stand in the kernel; another version's table is replaced."""
