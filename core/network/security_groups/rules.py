"""Rules: each allows something, and what makes no sense to a packet filter is refused before it gets to one.

Protocols, ranges and their limits are neutron's (neutron_lib/constants.py, neutron/db/securitygroups_db.py).
"""

from __future__ import annotations

import dataclasses
from typing import Final

from sqlmodel import Session, col

from core.audit import record
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.network import addresses, fabric
from core.network.security_groups import groups
from core.network.tables import SecurityGroup, SecurityGroupRule
from core.sql import select
from core.store import clock_of, now

PROTOCOLS: Final[dict[str, int]] = {
    "hopopt": 0, "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6-encap": 41,
    "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "ipv6-nonxt": 59,
    "ipv6-opts": 60, "ospf": 89, "vrrp": 112, "pgm": 113, "sctp": 132, "udplite": 136,
}  # fmt: skip
"""Names neutron knows, with IANA's numbers."""

_NAMES: Final = {number: name for name, number in PROTOCOLS.items()}
_ICMP: Final = {"IPv4": "icmp", "IPv6": "ipv6-icmp"}
_WITH_PORTS: Final = ("tcp", "udp", "sctp", "dccp", "udplite")
_VERSION: Final = {"IPv4": 4, "IPv6": 6}
_SAME: Final = (
    "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id",
)  # fmt: skip
"""Two rules of a group with all of these alike are one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Match:
    """What a rule matches, checked and in the one form it is kept in."""

    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    remote_group_id: str | None


def find_rule(session: Session, ctx: Context, rule_id: str) -> SecurityGroupRule:
    """Raises NotFound."""
    authorize(ctx, "security_group:list")
    rule = session.get(SecurityGroupRule, rule_id)
    if rule is None or not (ctx.is_admin or rule.project_id == ctx.project_id):
        raise NotFound(f"no security group rule {rule_id!r}", hint="skydeck security group rule list shows them.")
    return rule


def add_rule(
    session: Session,
    ctx: Context,
    group: str,
    *,
    direction: str = "ingress",
    ethertype: str = "IPv4",
    protocol: str | None = None,
    port_min: int | None = None,
    port_max: int | None = None,
    remote_ip: str | None = None,
    remote_group: str | None = None,
    description: str = "",
) -> SecurityGroupRule:
    """Allow something more. `port_min` and `port_max` are ports, or an ICMP type and code.

    Raises Invalid for a rule no packet can match, Conflict for one the group has, NotFound, QuotaExceeded.
    """
    authorize(ctx, "security_group:set")
    owner = groups.find_to_change(session, ctx, group)
    if direction not in ("ingress", "egress"):
        raise Invalid(f"{direction!r} is not a direction", hint="ingress or egress.")
    if ethertype not in groups.ETHERTYPES:
        raise Invalid(f"{ethertype!r} is not an ethertype", hint="IPv4 or IPv6.")
    if remote_ip is not None and remote_group is not None:
        raise Invalid("a rule is for addresses or for a group, not for both", hint="Make two rules.")
    name = _protocol(protocol, ethertype)
    first, last = _range(name, port_min, port_max)
    match = _Match(
        direction=direction,
        ethertype=ethertype,
        protocol=name,
        port_range_min=first,
        port_range_max=last,
        remote_ip_prefix=None if remote_ip is None else _prefix(remote_ip, ethertype),
        remote_group_id=None if remote_group is None else _remote(session, owner, remote_group),
    )
    _check_new(session, owner, match)
    quotas.check(session, ctx, security_group_rules=1)
    rule = SecurityGroupRule(
        id=clock_of(session).uuid(),
        security_group_id=owner.id,
        project_id=owner.project_id,
        description=description,
        created_at=now(session),
        **dataclasses.asdict(match),
    )
    session.add(rule)
    session.flush()
    fabric.touch(session, groups=[owner.id])
    after = {"security_group_id": owner.id, **{k: v for k, v in dataclasses.asdict(match).items() if v is not None}}
    record(session, ctx, rule, kind="security_group_rule", action="create", after=after)
    return rule


def delete_rule(session: Session, ctx: Context, rule_id: str) -> None:
    """Allow that no more; flows it let through are cut by the hosts. Raises NotFound."""
    authorize(ctx, "security_group:set")
    rule = find_rule(session, ctx, rule_id)
    fabric.touch(session, groups=[rule.security_group_id])
    session.delete(rule)
    session.flush()
    before = {"security_group_id": rule.security_group_id}
    before |= {field: value for field in _SAME if (value := getattr(rule, field)) is not None}
    record(session, ctx, rule, kind="security_group_rule", action="delete", before=before)


def _protocol(text: str | None, ethertype: str) -> str | None:
    """The name, where there is one, so that two ways to say a protocol are one rule; None for any."""
    if text is None or text.lower() == "any":
        return None
    plain = text.lower()
    number = plain.isascii() and plain.isdecimal()
    if number:
        if int(plain) > 255:
            raise Invalid(f"{text} is not a protocol number", hint="0 to 255.")
        plain = _NAMES.get(int(plain), str(int(plain)))
    if plain in ("icmp", "icmpv6", "ipv6-icmp"):
        if (plain == "icmp") == (ethertype == "IPv6") and number:
            raise Invalid(f"protocol {text} does not go with {ethertype}")
        if plain != "icmp" and ethertype == "IPv4":
            raise Invalid(f"protocol {text} does not go with IPv4", hint="icmp, or ethertype IPv6.")
        return _ICMP[ethertype]
    if number or plain in PROTOCOLS:
        return plain
    raise Invalid(f"unknown protocol {text!r}", hint=f"A number, or {', '.join(PROTOCOLS)}.")


def _range(protocol: str | None, first: int | None, last: int | None) -> tuple[int | None, int | None]:
    if first is None and last is None:
        return None, None
    if protocol in _ICMP.values():
        if first is None:
            raise Invalid("an ICMP code needs a type", hint="Give the type as the first number.")
        for what, number in (("type", first), ("code", last)):
            if number is not None and not 0 <= number <= 255:
                raise Invalid(f"an ICMP {what} cannot be {number}", hint="0 to 255.")
        return first, last
    if protocol not in _WITH_PORTS:
        raise Invalid(
            f"protocol {protocol or 'any'} has no ports", hint=f"Only {', '.join(_WITH_PORTS)} have; icmp has types."
        )
    if first is None:
        raise Invalid("a range of ports needs its first port")
    last = first if last is None else last
    if not 1 <= first <= last <= 65535:
        raise Invalid(f"{first} to {last} is not a range of ports", hint="From 1 to 65535, the smaller first.")
    return first, last


def _prefix(text: str, ethertype: str) -> str:
    block = addresses.block(text, "remote address", strict=False)
    if block.version != _VERSION[ethertype]:
        raise Invalid(f"{text} is not {ethertype}", hint="The ethertype and the address go together.")
    return str(block)


def _remote(session: Session, owner: SecurityGroup, text: str) -> str:
    (found,) = groups.resolve(session, owner.project_id, [text])
    return found


def _check_new(session: Session, owner: SecurityGroup, match: _Match) -> None:
    alike = [col(getattr(SecurityGroupRule, field)).is_not_distinct_from(getattr(match, field)) for field in _SAME]
    query = select(SecurityGroupRule.id).where(col(SecurityGroupRule.security_group_id) == owner.id, *alike)
    if (same := session.execute(query).scalars().first()) is not None:
        raise Conflict(f"security group {owner.name} has this rule", hint=f"It is {same}.")
