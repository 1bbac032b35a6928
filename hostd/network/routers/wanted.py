"""What routers and gateways a document asks for on this host, as values. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from typing import Final

import attrs

from hostd.network import names
from hostd.network.document import Document, ethernet
from hostd.network.firewall.spoofing import link_local
from hostd.spec import FloatingSpec, GatewaySpec, Route, RouterSpec

MARK: Final = "skz-"
"""Begins the mark of a leg in the host's own namespace: what its namespace was made into, completely."""


@attrs.frozen(kw_only=True)
class Leg:
    """A router's interface on a network."""

    outer: str
    inner: str
    alternative: str
    bridge: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    """With prefix length; for IPv6 also the link-local one, the same on every host."""


@attrs.frozen(kw_only=True)
class Floating:
    address: str
    fixed: str
    block: str
    """CIDR of its external subnet."""
    nexthop: str | None


@attrs.frozen(kw_only=True)
class Outside:
    """A router's own leg on the external network: floating IPs leave by it."""

    outer: str
    alternative: str
    bridge: str
    mac: str
    mtu: int
    floating: tuple[Floating, ...]

    @property
    def ways(self) -> tuple[tuple[str, str | None], ...]:
        """(block, next hop) of each external subnet that it has floating IPs of."""
        return tuple(sorted({(one.block, one.nexthop) for one in self.floating}, key=repr))


@attrs.frozen(kw_only=True)
class Router:
    uuid: str
    namespace: str
    legs: tuple[Leg, ...]
    routes: tuple[Route, ...]
    external: str | None
    """The external network, where this host has an address on it."""
    snat: bool
    outside: Outside | None

    @property
    def mark(self) -> str:
        return f"{MARK}{self.namespace[4:]}-{_digest(self)}"

    @property
    def carrier(self) -> str | None:
        """The link that carries the mark."""
        return min((leg.outer for leg in self.legs), default=None)

    def outer(self) -> Iterator[str]:
        yield from (leg.outer for leg in self.legs)
        if self.outside is not None:
            yield self.outside.outer


@attrs.frozen(kw_only=True)
class Gateway:
    """This host's way to an external network."""

    network: str
    namespace: str
    outer: str
    alternative: str
    bridge: str
    mac: str
    mtu: int
    address: str
    nexthop: str | None
    behind: tuple[tuple[str, tuple[str, ...]], ...]
    """(router uuid, its subnets) of the routers that do not translate: they are reached by routes."""

    @property
    def mark(self) -> str:
        return f"{MARK}{self.namespace[4:]}-{_digest(self)}"


SCHEME: Final = 1
"""Of how these values are made so: a hostd that makes them otherwise bumps it, and makes every router anew."""


def _digest(value: object) -> str:
    return hashlib.sha256(f"{SCHEME} {value!r}".encode()).hexdigest()[:12]


def routers(document: Document) -> tuple[Router, ...]:
    if not document.present:
        return ()
    with_gateway = {gateway.network for gateway in document.spec.gateways}
    return tuple(_router(document, router, with_gateway) for router in document.spec.routers if router.legs)


def _router(document: Document, router: RouterSpec, with_gateway: set[str]) -> Router:
    floating = [one for one in document.floating_of[router.uuid] if one.network == router.external]
    return Router(
        uuid=router.uuid,
        namespace=names.router(router.uuid),
        legs=tuple(_legs(document, router)),
        routes=router.routes,
        external=router.external if router.external in with_gateway else None,
        snat=router.snat,
        outside=_outside(document, router, floating) if floating else None,
    )


def _legs(document: Document, router: RouterSpec) -> Iterator[Leg]:
    for leg in router.legs:
        outer, mac = names.router_leg(leg.port), ethernet(leg.mac)
        six = any(":" in address for address in leg.addresses)
        yield Leg(
            outer=outer,
            inner=names.router_inside(leg.port),
            alternative=names.alternative(outer, leg.port),
            bridge=names.bridge(leg.network),
            mac=mac,
            mtu=document.networks[leg.network].mtu,
            addresses=tuple(sorted({*leg.addresses, *((f"{link_local(mac)}/64",) if six else ())})),
        )


def _outside(document: Document, router: RouterSpec, floating: list[FloatingSpec]) -> Outside:
    first = floating[0]
    outer = names.router_external(router.uuid)
    return Outside(
        outer=outer,
        alternative=names.alternative(outer, router.uuid),
        bridge=names.bridge(first.network),
        mac=names.external_mac(router.uuid, document.spec.uuid),
        mtu=document.networks[first.network].mtu,
        floating=tuple(
            Floating(
                address=str(ipaddress.ip_address(one.address)),
                fixed=str(ipaddress.ip_address(one.fixed)),
                block=str(ipaddress.ip_interface(f"{one.address}/{one.prefix}").network),
                nexthop=one.nexthop,
            )
            for one in sorted(floating, key=lambda one: one.uuid)
        ),
    )


def gateways(document: Document) -> tuple[Gateway, ...]:
    """One for each external network that this host has an IPv4 address on."""
    if not document.present:
        return ()
    found: dict[str, Gateway] = {}
    for gateway in document.spec.gateways:
        if ipaddress.ip_interface(gateway.address).version == 4:
            found.setdefault(gateway.network, _gateway(document, gateway))
    return tuple(found.values())


def _gateway(document: Document, gateway: GatewaySpec) -> Gateway:
    outer = names.gateway_leg(gateway.network)
    plain = [router for router in document.spec.routers if router.external == gateway.network and not router.snat]
    return Gateway(
        network=gateway.network,
        namespace=names.gateway(gateway.network),
        outer=outer,
        alternative=names.alternative(outer, gateway.network),
        bridge=names.bridge(gateway.network),
        mac=ethernet(gateway.mac),
        mtu=document.networks[gateway.network].mtu,
        address=gateway.address,
        nexthop=gateway.nexthop,
        behind=tuple((router.uuid, subnets(router)) for router in sorted(plain, key=lambda one: one.uuid)),
    )


def subnets(router: RouterSpec) -> tuple[str, ...]:
    """The IPv4 blocks a router joins."""
    blocks = {ipaddress.ip_interface(address).network for leg in router.legs for address in leg.addresses}
    return tuple(sorted(str(block) for block in blocks if block.version == 4))
