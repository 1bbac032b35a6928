"""The nft expressions that our rules are written in (libnftables-json(5)), as JSON objects."""

from __future__ import annotations

from typing import Final

from hostd.network.firewall.tables import Rule
from hostd.network.nft import Json

COUNTER: Final[Json] = {"counter": None}
ACCEPT: Final[Json] = {"accept": None}
DROP: Final[Json] = {"drop": None}


def rule(*expressions: Json, comment: str = "") -> Rule:
    """A rule; the comment tells, when the rule is read back, whose it is."""
    made: Rule = {"expr": list(expressions)}
    return {**made, "comment": comment} if comment else made


def dropping(*expressions: Json, comment: str) -> Rule:
    """Drop what matches, and count it."""
    return rule(*expressions, COUNTER, DROP, comment=comment)


def meta(key: str) -> Json:
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def match(left: Json, right: object, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def any_of(*values: object) -> Json:
    return {"set": list(values)}


def concat(*parts: Json) -> Json:
    return {"concat": list(parts)}


def goto(chain: str) -> Json:
    return {"goto": {"target": chain}}


def jump(chain: str) -> Json:
    return {"jump": {"target": chain}}


def vmap(key: Json, name: str) -> Json:
    """Go where a map says; on, where it says nothing."""
    return {"vmap": {"key": key, "data": f"@{name}"}}


def mangle(key: Json, value: object) -> Json:
    return {"mangle": {"key": key, "value": value}}


def looked_up(key: Json, name: str) -> Json:
    """What a map says of the key."""
    return {"map": {"key": key, "data": f"@{name}"}}


def hooked(hook: str, priority: int) -> Json:
    """The hook of a filter chain that lets pass what it has nothing to say on."""
    return {"type": "filter", "hook": hook, "prio": priority, "policy": "accept"}


IIFNAME: Final = meta("iifname")
OIFNAME: Final = meta("oifname")
ETHER_TYPE: Final = payload("ether", "type")
ETHER_SOURCE: Final = payload("ether", "saddr")
ETHER_DESTINATION: Final = payload("ether", "daddr")
MARK: Final = meta("mark")
ICMP6_TYPE: Final = payload("icmpv6", "type")
ND_TARGET: Final[Json] = {"payload": {"base": "th", "offset": 64, "len": 128}}
"""The target address of neighbour discovery (RFC 4861 section 4.3, 4.4), where nft has no name for it yet."""

DHCP_TO_CLIENT: Final = (match(payload("udp", "sport"), 67), match(payload("udp", "dport"), 68))
DHCP_TO_SERVER: Final = (match(payload("udp", "sport"), 68), match(payload("udp", "dport"), 67))
DHCP6_TO_CLIENT: Final = (match(payload("udp", "sport"), 547), match(payload("udp", "dport"), 546))
DHCP6_TO_SERVER: Final = (match(payload("udp", "sport"), 546), match(payload("udp", "dport"), 547))

# icmpv6 types, as numbers: nft's names for them differ between versions.
MLD_QUERY, MLD_REPORT, MLD_DONE, MLD2_REPORT = 130, 131, 132, 143
ROUTER_SOLICIT, ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT, REDIRECT = 133, 134, 135, 136, 137


def icmp6(*types: int) -> Json:
    return match(ICMP6_TYPE, types[0] if len(types) == 1 else any_of(*types))
