"""What dnsmasq is told about a network: pure text from typed values.

Nothing reaches dnsmasq that was not parsed first (addresses, hardware addresses, host names), and no
option that is not written here. DNS is off: guests are given the subnet's own servers.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Final

from hostd.network import names
from hostd.spec import DhcpHost, NetworkSpec, SubnetSpec

LEASE: Final = 86400
"""Seconds: neutron's default."""

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""A host name after RFC 1123."""
_MISREAD: Final = re.compile(r"\d+[wdhms]?|infinite|ignore")
"""Host names that dnsmasq takes for a lease time or an order. Such a guest gets its address without a name."""


def served(spec: NetworkSpec) -> tuple[SubnetSpec, ...]:
    """The subnets whose addresses this host gives out."""
    return tuple(subnet for subnet in spec.subnets if subnet.dhcp and subnet.service_ip is not None)


def service_addresses(spec: NetworkSpec) -> frozenset[str]:
    """What the service leg is called: `10.0.0.2/24`, one for each served subnet. Raises ValueError."""
    return frozenset(
        f"{_within(subnet, subnet.service_ip or '')}/{ipaddress.IPv4Network(subnet.cidr).prefixlen}"
        for subnet in served(spec)
    )


def configuration(spec: NetworkSpec, *, hosts_directory: str, pid_file: str) -> str:
    """dnsmasq.conf of a network. Raises ValueError when the spec holds what is no address."""
    lines = [
        "port=0",
        f"interface={names.SERVICE}",
        "except-interface=lo",
        "bind-interfaces",
        "no-hosts",
        "no-resolv",
        "no-ping",
        "quiet-dhcp",
        "dhcp-authoritative",
        "leasefile-ro",
        "dhcp-lease-max=65536",  # the default of 1000 would silently refuse the guests beyond
        "user=nobody",
        f"pid-file={pid_file}",
        f"dhcp-hostsdir={hosts_directory}",
        f"dhcp-option=26,{int(spec.mtu)}",
    ]
    for number, subnet in enumerate(served(spec)):
        network = ipaddress.IPv4Network(subnet.cidr)
        tag = f"s{number}"
        lines.append(f"dhcp-range=set:{tag},{network.network_address},static,{network.netmask},{LEASE}")
        if subnet.gateway is None:
            # An empty option: dnsmasq would otherwise name itself as the router.
            lines.append(f"dhcp-option=tag:{tag},3")
        else:
            gateway = _within(subnet, subnet.gateway)
            lines.append(f"dhcp-option=tag:{tag},3,{gateway}")
            # Who gets classless routes ignores the router (RFC 3442), so the default route is in both.
            lines.append(f"dhcp-option=tag:{tag},121,0.0.0.0/0,{gateway}")
        servers = ",".join(str(ipaddress.IPv4Address(server)) for server in _ipv4(subnet.dns_servers))
        lines.append(f"dhcp-option=tag:{tag},6" + (f",{servers}" if servers else ""))
    return "".join(f"{line}\n" for line in lines)


def hosts(spec: NetworkSpec) -> dict[str, str]:
    """The files of the hosts directory: one for each port, named after its tap. Raises ValueError.

    Never `set:` in them: dnsmasq 2.90 dies at SIGHUP when a host with a tag was served.
    """
    files: dict[str, str] = {}
    for subnet in served(spec):
        for host in subnet.hosts:
            name = names.tap(host.port_id)
            files[name] = files.get(name, "") + _lease(subnet, host)
    return files


def digest(configuration: str) -> str:
    """Names a configuration: a server's command line then says which one it was started with."""
    return hashlib.sha256(configuration.encode()).hexdigest()[:12]


def ethernet(mac: str) -> str:
    """The hardware address in lower case. Raises ValueError when it is none."""
    if not _MAC.fullmatch(mac.lower()):
        raise ValueError(f"no hardware address: {mac!r}")
    return mac.lower()


def _lease(subnet: SubnetSpec, host: DhcpHost) -> str:
    if host.hostname and not _LABEL.fullmatch(host.hostname):
        raise ValueError(f"no host name: {host.hostname!r}")
    fields = [ethernet(host.mac), str(_within(subnet, host.ip))]
    if host.hostname and not _MISREAD.fullmatch(host.hostname):
        fields.append(host.hostname)
    return ",".join([*fields, str(LEASE)]) + "\n"


def _within(subnet: SubnetSpec, address: str) -> ipaddress.IPv4Address:
    parsed = ipaddress.IPv4Address(address)
    if parsed not in ipaddress.IPv4Network(subnet.cidr):
        raise ValueError(f"{address} is not in {subnet.cidr}")
    return parsed


def _ipv4(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(address for address in addresses if ipaddress.ip_address(address).version == 4)
