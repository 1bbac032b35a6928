"""A router's and a gateway's nft rules: translation, and who on the outside is let in. Pure.

Whatever is wrong with a connection between guests, a router passes it on: their own rules are at their taps, and
routing here is asymmetric by design, so that a packet without a known connection is nothing strange. From the outside,
where anybody can send anything to a router's card, only what is for a floating IP or answers a guest comes in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from hostd.network.nft import Json
from hostd.network.routers.wanted import Gateway, Router

TABLE: Final = ("inet", "skydeck")
TRANSIT: Final = "100.64.0.0/10"
_PART: Final[Json] = {"family": TABLE[0], "table": TABLE[1]}
_ANSWERS: Final = ["established", "related"]
_TABLE: Final[Json] = {"table": {"family": TABLE[0], "name": TABLE[1]}}


def router_rules(router: Router, *, mark: str) -> list[Json]:
    """Commands that put a router's whole table in the place of what stands there."""
    inside = [leg.inner for leg in router.legs]
    blocks = sorted(
        {
            str(interface.network)
            for leg in router.legs
            for interface in map(ipaddress.ip_interface, leg.addresses)
            if interface.version == 4
        }
    )
    floating = router.outside.floating if router.outside is not None else ()
    chains: dict[str, tuple[Json, list[list[Json]]]] = {
        # East-west packets come here and their answers go another way: half a connection is not worth tracking.
        "untracked": (
            _hook("filter", "prerouting", -300),
            [
                [
                    _match(_meta("iifname"), _set(inside)),
                    _match({"fib": {"result": "type", "flags": ["daddr"]}}, "local", "!="),
                    _match(_payload("ip", "daddr"), "@inside"),
                    {"notrack": None},
                ]
            ]
            if blocks
            else [],
        ),
        "inwards": (
            _hook("nat", "prerouting", -100),
            [
                [
                    {"counter": None},
                    {"dnat": {"family": "ip", "addr": _looked_up(_payload("ip", "daddr"), "floating_in")}},
                ]
            ],
        ),
        "outwards": (
            _hook("nat", "postrouting", 100),
            [
                [_match(_meta("oifname"), "qx"), {"counter": None}, _snat()],
                # A guest asks for another's floating IP: it is seen as its own, or as the router.
                [*_hairpin(inside), {"counter": None}, _snat()],
                [*_hairpin(inside), {"counter": None}, {"masquerade": None}],
                *([[_match(_meta("oifname"), "sn"), {"counter": None}, {"masquerade": None}]] if router.snat else []),
            ],
        ),
        # Guests hear of the MTU by DHCP; who ignores that is held to it here.
        "clamped": (
            _hook("filter", "forward", -150),
            [
                [
                    _match(_payload("tcp", "flags"), "syn", "in"),
                    {
                        "mangle": {
                            "key": {"tcp option": {"name": "maxseg", "field": "size"}},
                            "value": {"rt": {"key": "mtu"}},
                        }
                    },
                ]
            ],
        ),
        "guarded": (
            _hook("filter", "forward", 0),
            [
                [_match(_meta("iifname"), "qx"), _match({"ct": {"key": "status"}}, "dnat", "in"), {"accept": None}],
                [_match(_meta("iifname"), "qx"), _match(_ct_state(), _ANSWERS, "in"), {"accept": None}],
                [_match(_meta("iifname"), "qx"), {"counter": None}, {"drop": None}],
            ],
        ),
        mark: ({}, []),
    }
    inwards = [[one.address, one.fixed] for one in floating]
    outwards = [[one.fixed, one.address] for one in floating]
    kept: list[Json] = [
        {"set": {"name": "inside", "type": "ipv4_addr", "flags": ["interval"], **_elements(_blocks(blocks))}},
        {"map": {"name": "floating_in", "type": "ipv4_addr", "map": "ipv4_addr", **_elements(inwards)}},
        {"map": {"name": "floating_out", "type": "ipv4_addr", "map": "ipv4_addr", **_elements(outwards)}},
    ]
    sets: list[Json] = [{"add": {kind: {**_PART, **one}}} for each in kept for kind, one in each.items()]
    return _table(sets, chains)


def gateway_rules(gateway: Gateway, *, mark: str) -> list[Json]:
    """A gateway's table: what comes translated from a router is seen as this host, the rest as it is."""
    own = str(ipaddress.ip_interface(gateway.address).ip)
    chains: dict[str, tuple[Json, list[list[Json]]]] = {
        "outwards": (
            _hook("nat", "postrouting", 100),
            [
                [
                    _match(_meta("oifname"), "ext"),
                    _match(_payload("ip", "saddr"), {"prefix": _prefix(TRANSIT)}),
                    {"counter": None},
                    {"snat": {"family": "ip", "addr": own}},
                ]
            ],
        ),
        # It forwards for guests and for nobody on the outside.
        "through": (
            _hook("filter", "forward", 0),
            [[_match(_meta("iifname"), "ext"), _match(_meta("oifname"), "ext"), {"counter": None}, {"drop": None}]],
        ),
        mark: ({}, []),
    }
    return _table([], chains)


def _table(sets: list[Json], chains: dict[str, tuple[Json, list[list[Json]]]]) -> list[Json]:
    commands: list[Json] = [{"add": _TABLE}, {"delete": _TABLE}, {"add": _TABLE}, *sets]
    commands += [{"add": {"chain": {**_PART, "name": name, **hook}}} for name, (hook, _) in chains.items()]
    for name, (_, rules) in chains.items():
        commands += [{"add": {"rule": {**_PART, "chain": name, "expr": rule}}} for rule in rules]
    return commands


def _hairpin(inside: list[str]) -> list[Json]:
    return [
        _match(_meta("iifname"), _set(inside)),
        _match(_meta("oifname"), _set(inside)),
        _match({"ct": {"key": "status"}}, "dnat", "in"),
    ]


def _ct_state() -> Json:
    return {"ct": {"key": "state"}}


def _snat() -> Json:
    return {"snat": {"family": "ip", "addr": _looked_up(_payload("ip", "saddr"), "floating_out")}}


def _hook(kind: str, hook: str, priority: int) -> Json:
    return {"type": kind, "hook": hook, "prio": priority, "policy": "accept"}


def _meta(key: str) -> Json:
    return {"meta": {"key": key}}


def _payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _match(left: Json, right: object, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def _set(values: list[str]) -> object:
    return {"set": values} if len(values) != 1 else values[0]


def _looked_up(key: Json, name: str) -> Json:
    return {"map": {"key": key, "data": f"@{name}"}}


def _elements(found: Sequence[object]) -> Json:
    return {"elem": list(found)} if found else {}


def _blocks(blocks: list[str]) -> list[object]:
    return [{"prefix": _prefix(block)} for block in blocks]


def _prefix(block: str) -> Json:
    parsed = ipaddress.ip_network(block)
    return {"addr": str(parsed.network_address), "len": parsed.prefixlen}
