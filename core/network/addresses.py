"""Which addresses a port gets: the lowest free ones of its network's pools, those it asks for, and those that follow
from its MAC where routers advertise the prefix.

UNIQUE(network, address) is the database's, so two creates at once cannot hand out one address twice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Sequence

from sqlmodel import Session, col

from core.errors import Conflict, Invalid
from core.network import numbers
from core.network.tables import FixedIP, Subnet
from core.sql import select

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Block = ipaddress.IPv4Network | ipaddress.IPv6Network

Asked = tuple[str | None, str | None]
"""(subnet by id or name, address), either may be None but not both."""
Chosen = list[tuple[str, str]]
"""[(subnet id, address), …]"""


# ---------------------------------------------------------------------------- what people type


def address(text: str, what: str) -> Address:
    """Raises Invalid, which calls the address a `what`."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError as bad:
        raise Invalid(f"{what} {text!r} is not an IP address") from bad
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id:
        raise Invalid(f"{what} {text!r} has a scope", hint="It means something on one machine only.")
    return found


def block(cidr: str, what: str, *, strict: bool = True) -> Block:
    """Raises Invalid. `strict` refuses bits behind the prefix; otherwise they are dropped."""
    try:
        return ipaddress.ip_network(cidr, strict=strict)
    except ValueError as bad:
        raise Invalid(f"{cidr!r} is not a {what}: {bad}", hint="For example 10.0.0.0/24.") from bad


def inside(text: str, where: Block, what: str) -> Address:
    """An address that something on this block can have. Raises Invalid."""
    found = address(text, what)
    reserved = {where.network_address}
    if where.version == 4:
        reserved.add(where.broadcast_address)
    if found not in where or found in reserved:
        raise Invalid(f"{what} {text} is not a usable address of {where}")
    return found


# ---------------------------------------------------------------------------- addresses of a subnet


def eui64(subnet: Subnet, mac: str) -> str:
    """The address that a guest with this MAC gives itself under the subnet's prefix (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    tail = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    prefix = int(ipaddress.IPv6Network(subnet.cidr).network_address)
    return str(ipaddress.IPv6Address(prefix | int.from_bytes(tail)))


def derived(subnet: Subnet) -> bool:
    """Whether guests make their addresses themselves, from what routers advertise."""
    return subnet.ipv6_mode is not None


def of_network(session: Session, network_id: str) -> list[Subnet]:
    """A network's subnets in the order they were made."""
    query = select(Subnet).where(col(Subnet.network_id) == network_id).order_by(col(Subnet.created_at), col(Subnet.id))
    return list(session.execute(query).scalars())


def holder(session: Session, network_id: str, ip: str) -> str | None:
    """Id of the port that has an address."""
    query = select(FixedIP.port_id).where(col(FixedIP.network_id) == network_id, col(FixedIP.ip) == ip)
    return session.execute(query).scalar_one_or_none()


def lowest_free(session: Session, subnet: Subnet, *, avoid: Container[str] = ()) -> str | None:
    """The lowest address of the pools that no port has and is not in `avoid`; None when they are exhausted."""
    mine = col(FixedIP.subnet_id) == subnet.id
    for start, end in subnet.allocation_pools:
        begin, last = numbers.of_address(start), numbers.of_address(end)
        if begin is None:
            continue  # a pool in the upper half of a /64: its addresses can be asked for
        first, last = begin, numbers.HIGHEST if last is None else last
        while (found := numbers.lowest_free(session, col(FixedIP.number), mine, first=first, last=last)) is not None:
            ip = str(ipaddress.ip_address(start) + (found - begin))
            if ip not in avoid:
                return ip
            first = found + 1
    return None


def pick(session: Session, subnet: Subnet, wanted: str | None = None, *, avoid: Container[str] = ()) -> str:
    """The lowest free address of the pools that is not in `avoid`, or `wanted` when it may be had.

    Raises Conflict when the pools are exhausted or the address is taken, Invalid when it is outside the subnet.
    """
    if wanted is None:
        found = lowest_free(session, subnet, avoid=avoid)
        if found is None:
            raise Conflict(
                f"subnet {subnet.name} ({subnet.cidr}) has no free address",
                hint="Delete something on it, or use another.",
            )
        return found
    ip = str(inside(wanted, ipaddress.ip_network(subnet.cidr), "address"))
    if ip == subnet.gateway_ip or holder(session, subnet.network_id, ip) is not None:
        raise Conflict(f"address {ip} is taken", hint="Leave it out, and the next free one is used.")
    return ip


# ---------------------------------------------------------------------------- addresses of a port


def choose(
    session: Session,
    network_id: str,
    *,
    mac: str,
    asked: Sequence[Asked] | None = None,
    kept: Iterable[tuple[str, str]] = (),
) -> Chosen:
    """What a port on this network gets: what is asked for; with None, one IPv4 address and one IPv6 address, as far as
    there are subnets for them. Beside either, its own address under every advertised prefix, as in neutron.

    `kept` is what the port has already: asking for that again is no conflict.
    Raises Invalid, Conflict for what is taken or exhausted.
    """
    subnets = of_network(session, network_id)
    mine = list(kept)
    chosen: Chosen = []
    for subnet_text, ip in asked or ():
        subnet = _subnet(subnets, subnet_text, ip)
        found = _one(session, subnet, mac, ip, mine=mine, had=[had for _, had in chosen])
        if (subnet.id, found) in chosen:
            raise Invalid(f"address {found} is asked for twice")
        chosen.append((subnet.id, found))
    if asked is None:
        for version in (4, 6):
            candidates = [subnet for subnet in subnets if subnet.ip_version == version and not derived(subnet)]
            if candidates:
                chosen.append(_of_any(session, candidates))
    named = {subnet_id for subnet_id, _ in chosen}
    chosen += [
        (subnet.id, _one(session, subnet, mac, None, mine=mine, had=[]))
        for subnet in subnets
        if derived(subnet) and subnet.id not in named
    ]
    return chosen


def _one(
    session: Session,
    subnet: Subnet,
    mac: str,
    wanted: str | None,
    *,
    mine: list[tuple[str, str]],
    had: list[str],
) -> str:
    """The address for one wish: (subnet, address or any). One that the port has already is kept."""
    if derived(subnet):
        own = _derived(subnet, mac, wanted)
        if (subnet.id, own) not in mine and holder(session, subnet.network_id, own) is not None:
            raise Conflict(f"address {own} is taken", hint="It follows from the MAC address: use another.")
        return own
    same = None if wanted is None else str(address(wanted, "address"))
    for subnet_id, ip in mine:
        if subnet_id == subnet.id and ip not in had and same in (None, ip):
            return ip
    return pick(session, subnet, wanted, avoid=had)


def _subnet(subnets: list[Subnet], text: str | None, ip: str | None) -> Subnet:
    """The subnet that is named, or that the address is in."""
    if text is not None:
        named = [subnet for subnet in subnets if text in (subnet.id, subnet.name)]
        if not named:
            raise Invalid(f"the network has no subnet {text!r}", hint="skydeck subnet list shows them.")
        if len(named) > 1:
            raise Invalid(f"{len(named)} subnets are named {text!r}", hint="Use the id.")
        return named[0]
    if ip is None:
        raise Invalid("a fixed IP needs a subnet or an address")
    wanted = address(ip, "address")
    for subnet in subnets:
        if wanted in ipaddress.ip_network(subnet.cidr):
            return subnet
    raise Invalid(f"address {ip} is in no subnet of the network", hint="skydeck subnet list shows them.")


def _derived(subnet: Subnet, mac: str, wanted: str | None) -> str:
    found = eui64(subnet, mac)
    if wanted is not None and str(address(wanted, "address")) != found:
        raise Invalid(
            f"address {wanted} cannot be chosen: guests of subnet {subnet.name} derive theirs",
            hint=f"With MAC {mac} it is {found}.",
        )
    return found


def _of_any(session: Session, subnets: list[Subnet]) -> tuple[str, str]:
    for subnet in subnets:
        if (found := lowest_free(session, subnet)) is not None:
            return subnet.id, found
    raise Conflict(
        f"no free address is left in {', '.join(f'{subnet.name} ({subnet.cidr})' for subnet in subnets)}",
        hint="Delete something on it, or add a subnet.",
    )
