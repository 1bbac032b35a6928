"""Puts a host's hops together: outgoing from the guest's tap to what leaves the host, incoming the other way round."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from hostd.network import names
from hostd.network.document import Document
from hostd.network.part import World
from hostd.network.rtnetlink import Link
from hostd.network.trace.layer2 import bridge_hop, lease_hop, neighbour_hop, tap_hop, uplink_hop, vxlan_hop
from hostd.network.trace.walls import wall_hop
from hostd.spec import Hop, NetworkSpec, PortSpec, Trace, Verdict


def hops(document: Document, world: World, asked: Trace) -> tuple[Hop, ...]:
    """The way on this host. Raises HostError when the kernel cannot be asked."""
    port = document.ports[asked.port]
    network = document.networks[port.network]
    return tuple(
        _outgoing(document, world, port, network, asked)
        if asked.outgoing
        else _incoming(document, world, port, network, asked)
    )


def _outgoing(document: Document, world: World, port: PortSpec, network: NetworkSpec, asked: Trace) -> Iterator[Hop]:
    yield lease_hop(document, network, port)
    yield tap_hop(world, port, network)
    yield bridge_hop(world, network)
    yield wall_hop(document, port, asked)
    if _local(network, asked.address):
        yield from _to_neighbour(document, world, network, asked.address)
    else:
        from hostd.network.routers.tracing import leaving

        yield from leaving(document, world, port, asked.address)


def _incoming(document: Document, world: World, port: PortSpec, network: NetworkSpec, asked: Trace) -> Iterator[Hop]:
    if _local(network, asked.address):
        here = any(one.ip == asked.address for other in document.ports_of[network.uuid] for one in other.addresses)
        if not here:
            yield vxlan_hop(world, network, None)
    else:
        from hostd.network.routers.tracing import entering

        yield from entering(document, world, port, asked.address)
    yield bridge_hop(world, network)
    yield wall_hop(document, port, asked)
    yield tap_hop(world, port, network)


def _to_neighbour(document: Document, world: World, network: NetworkSpec, address: str) -> Iterator[Hop]:
    """To somebody of the same network, here or behind a tunnel."""
    for other in document.ports_of[network.uuid]:
        if any(one.ip == address for one in other.addresses):
            return  # the other port's own hops follow
    remote = next((one for one in network.remote if address in one.ips), None)
    if remote is not None:
        yield neighbour_hop(world, network, address, remote.mac)
        yield vxlan_hop(world, network, remote)
    elif network.physnet is not None:
        yield uplink_hop(document, world, network)
    else:
        yield Hop(
            kind="neighbour", name=names.bridge(network.uuid), verdict=Verdict.MISSING,
            seen=f"nobody on this network has {address}",
            hint="Is it the right address, and does its port exist? skydeck port list",
        )  # fmt: skip


def _local(network: NetworkSpec, address: str) -> bool:
    wanted = ipaddress.ip_address(address)
    return any(wanted in ipaddress.ip_network(subnet.cidr) for subnet in network.subnets)


def counters(link: Link) -> dict[str, int]:
    """A link's traffic, as a hop tells it."""
    return {"packets": sum(link.packets), "bytes": sum(link.bytes)}
