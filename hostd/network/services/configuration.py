"""What dnsmasq is told about a network: pure text from a checked document.

Nothing reaches dnsmasq that was not parsed (addresses, hardware addresses, host names), and no option that
is not written here. DNS answers for every port of the network, on whatever host it is; everything else is
asked of the cloud's resolvers where there is a way to them, and refused at once where there is none.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Final

import attrs

from hostd.network import names
from hostd.network.document import Document, ethernet
from hostd.spec import NetworkSpec, PortSpec, SubnetSpec

LEASE: Final = 86400
"""Seconds: neutron's default."""

METADATA: Final = "169.254.169.254"

LINE: Final = 1000
"""Bytes of a line that dnsmasq still reads as one."""

OPTION: Final = 255
"""Bytes that a DHCP option holds (RFC 2132)."""

_MISREAD: Final = re.compile(r"\d+[wdhms]?|infinite|ignore")
"""Host names that dnsmasq takes for a lease time or an order. Such a guest gets its address without a name."""


@attrs.frozen(kw_only=True)
class Files:
    """Where a server finds what it is told."""

    leases: Path
    """Directory: one file a port."""
    names: Path
    """Directory of hosts files."""
    pid: Path


def serves(document: Document, network: NetworkSpec) -> bool:
    """Whether guests of this host are given addresses, names and metadata on this network."""
    return bool(not network.external and document.served(network) and document.ports_of[network.uuid])


def way_out(document: Document, network: NetworkSpec) -> str | None:
    """The gateway by which this network's namespace reaches the outside: that of a router that goes out by this host's
    own address. Without that address no answer would come back, and every question would wait for it."""
    ours = {gateway.network for gateway in document.spec.gateways}
    outward = {
        str(ipaddress.ip_interface(address).ip)
        for router, leg in document.legs_of[network.uuid]
        if router.snat and router.external in ours
        for address in leg.addresses
    }
    return next((subnet.gateway for subnet in _version(document, network, 4) if subnet.gateway in outward), None)


def configuration(document: Document, network: NetworkSpec, *, files: Files, resolvers: tuple[str, ...]) -> str:
    """dnsmasq.conf of a network. `resolvers`: whom to ask for foreign names; empty: nobody."""
    lines = [
        f"interface={names.SERVICE}",
        "except-interface=lo",
        "bind-dynamic",  # bind-interfaces dies of an IPv6 address that is not ready yet
        "no-hosts",
        "no-resolv",
        "no-poll",
        "no-ping",
        "quiet-dhcp",
        "quiet-dhcp6",
        "dhcp-authoritative",
        "dhcp-ignore-names",  # a guest that calls itself by its neighbour's name would get its connections
        "leasefile-ro",
        "dhcp-lease-max=65536",  # the default of 1000 would silently refuse the guests beyond
        "domain-needed",
        "bogus-priv",
        "user=nobody",
        f"pid-file={files.pid}",
        f"dhcp-hostsdir={files.leases}",
        f"hostsdir={files.names}",
        f"dhcp-option=26,{int(network.mtu)}",
    ]
    if network.domain:
        lines += [f"domain={network.domain}", f"local=/{network.domain}/"]
    lines += [f"server={resolver}" for resolver in resolvers]
    for number, subnet in enumerate(_version(document, network, 4)):
        lines += _range4(f"s{number}", subnet)
    for number, subnet in enumerate(_version(document, network, 6)):
        lines += _range6(f"t{number}", subnet, domain=network.domain)
    return "".join(f"{line}\n" for line in lines)


def leases(document: Document, network: NetworkSpec) -> dict[str, str]:
    """The files of the leases directory: one for each port of this host, named after its tap.

    Never `set:` in them: dnsmasq 2.90 dies at SIGHUP when a host with a tag was served.
    """
    given = {subnet.id for subnet in _version(document, network, 4)}
    files = {}
    for port in document.ports_of[network.uuid]:
        lines = [_lease(port, address.ip) for address in port.addresses if address.subnet in given]
        if lines:
            files[names.tap(port.uuid)] = "".join(lines)
    return files


def hosts(network: NetworkSpec) -> str:
    """The hosts file: every name of the network, with its domain first so that a reverse look-up tells it whole."""
    whole = f"{{}}.{network.domain} {{}}" if network.domain else "{}"
    lines = {
        f"{ipaddress.ip_address(record.ip)} {whole.format(record.name, record.name)}\n" for record in network.names
    }
    return "".join(sorted(lines))


def left_out(document: Document, network: NetworkSpec) -> tuple[str, ...]:
    """Host routes that fit into no DHCP answer."""
    return tuple(
        f"{destination} via {hop}"
        for subnet in _version(document, network, 4)
        for destination, hop in _routes(subnet)[len(_fitting(subnet)) :]
    )


def _version(document: Document, network: NetworkSpec, version: int) -> tuple[SubnetSpec, ...]:
    """The served subnets of one IP version."""
    return tuple(subnet for subnet in document.served(network) if ipaddress.ip_network(subnet.cidr).version == version)


def _range4(tag: str, subnet: SubnetSpec) -> Iterator[str]:
    block = IPv4Network(subnet.cidr)
    yield f"dhcp-range=set:{tag},{block.network_address},static,{block.netmask},{LEASE}"
    # An empty option: dnsmasq would otherwise name itself as the router.
    yield f"dhcp-option=tag:{tag},3" + (f",{IPv4Address(subnet.gateway)}" if subnet.gateway else "")
    # Who gets classless routes ignores the router (RFC 3442), so the default route is in both.
    routes = ",".join(f"{destination},{hop}" for destination, hop in _fitting(subnet))
    yield f"dhcp-option=tag:{tag},121,{routes}"
    servers = ",".join(_servers(subnet, 4))
    yield f"dhcp-option=tag:{tag},6" + (f",{servers}" if servers else "")


def _range6(tag: str, subnet: SubnetSpec, *, domain: str) -> Iterator[str]:
    """Stateless: the router tells the prefix, and this the servers."""
    # dnsmasq takes no prefix shorter than 64; its own address tells it which range an interface is in.
    block = IPv6Network((IPv6Address(subnet.service_ip or ""), 64), strict=False)
    yield f"dhcp-range=set:{tag},{block.network_address},static,64,{LEASE}"
    servers = ",".join(f"[{server}]" for server in _servers(subnet, 6))
    if servers:
        yield f"dhcp-option=tag:{tag},option6:dns-server,{servers}"
    if domain:
        yield f"dhcp-option=tag:{tag},option6:domain-search,{domain}"


def _servers(subnet: SubnetSpec, version: int) -> tuple[str, ...]:
    """The user's own name servers; the service address when there are none. Unspecified (0.0.0.0) means no server."""
    named = [ipaddress.ip_address(server) for server in subnet.dns_servers]
    if not named:
        return (str(ipaddress.ip_address(subnet.service_ip or "")),)
    return tuple(str(server) for server in named if server.version == version and not server.is_unspecified)


def _routes(subnet: SubnetSpec) -> list[tuple[IPv4Network, IPv4Address]]:
    """Option 121: the metadata service, the way out, then the user's own; a default route of the user's wins."""
    own = [
        (IPv4Network(route.destination), IPv4Address(route.nexthop))
        for route in subnet.routes
        if ipaddress.ip_network(route.destination).version == 4 and ipaddress.ip_address(route.nexthop).version == 4
    ]
    found = [(IPv4Network(METADATA), IPv4Address(subnet.service_ip or ""))]
    if subnet.gateway and not any(destination.prefixlen == 0 for destination, _ in own):
        found.append((IPv4Network("0.0.0.0/0"), IPv4Address(subnet.gateway)))
    return found + own


def _fitting(subnet: SubnetSpec) -> list[tuple[IPv4Network, IPv4Address]]:
    """As many of the routes as the option and the line hold: dnsmasq does not start with one too many."""
    fitting, size, length = [], 0, len("dhcp-option=tag:s0000,121,")
    for destination, hop in _routes(subnet):
        size += 1 + (destination.prefixlen + 7) // 8 + 4
        length += len(f"{destination},{hop},")
        if size > OPTION or length > LINE:
            break
        fitting.append((destination, hop))
    return fitting


def _lease(port: PortSpec, ip: str) -> str:
    fields = [ethernet(port.mac), str(IPv4Address(ip))]
    if port.hostname and not _MISREAD.fullmatch(port.hostname):
        fields.append(port.hostname)
    return ",".join([*fields, str(LEASE)]) + "\n"
