"""Router advertisements: guests of an IPv6 subnet learn their prefix, their gateway and their name servers.

One dnsmasq in each router's namespace that announces anything, which does nothing else. Its interface has the same
link-local address on every host, and what it says stays on the host: nothing of it crosses a tunnel.
"""

from __future__ import annotations

import hashlib
import ipaddress
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from hostd.network import names
from hostd.network.document import Document
from hostd.network.services import dnsmasq
from hostd.network.services.dnsmasq import Server, Told
from hostd.network.services.keeper import Keeper
from hostd.spec import RouterSpec, SubnetSpec

INTERVAL = 60
LIFETIME = 1800
"""Seconds between announcements, and for which the gateway is believed in."""


@attrs.frozen(kw_only=True)
class AdvertiserSeen:
    pid: int | None
    digest: str


class Advertiser:
    """The servers of all routers; their files in RUN/advertise/ROUTER."""

    def __init__(self, run: Path) -> None:
        self._run = run.absolute() / "advertise"
        self._keeper = Keeper(self._revive)

    def start(self) -> None:
        self._keeper.start()
        for uuid in self._known():
            if (pid := self._server(uuid).pid()) is not None:
                self._keeper.watch(uuid, pid)

    def stop(self) -> None:
        self._keeper.stop()

    def seen(self, wanted: Document, *, deep: bool) -> dict[str, AdvertiserSeen]:
        found = {}
        for uuid in self._known():
            server = self._server(uuid).seen(deep=False)
            found[uuid] = AdvertiserSeen(pid=server.pid, digest=server.digest)
        return found

    def plan(self, wanted: Document, seen: Mapping[str, AdvertiserSeen]) -> tuple[list[str], list[str]]:
        """(routers whose server is to be started, routers whose server is to be ended)."""
        asked = _announcing(wanted)
        start = [uuid for uuid in asked if self.wrong(wanted, seen, uuid)]
        return start, sorted(seen.keys() - asked.keys())

    def wrong(self, wanted: Document, seen: Mapping[str, AdvertiserSeen], router: str) -> str:
        """What is wrong with a router's announcements; empty when nothing is, or nothing is announced."""
        if router not in _announcing(wanted):
            return ""
        told = self._told(wanted, wanted.routers[router])
        server = seen.get(router)
        if server is None or server.pid is None:
            return "its prefixes are not announced"
        return "" if server.digest == told.digest else "other prefixes are announced"

    def start_servers(self, wanted: Document, uuids: Iterable[str]) -> None:
        """Raises HostError(NETWORK) with dnsmasq's words."""
        self._run.mkdir(parents=True, exist_ok=True)
        self._run.chmod(0o755)
        for uuid in uuids:
            server, told = self._server(uuid), self._told(wanted, wanted.routers[uuid])
            self._keeper.forget(uuid)
            if (pid := server.pid()) is not None:
                dnsmasq.stop([pid])
            server.write(told)
            self._keeper.watch(uuid, server.started(server.launch(told)))

    def end_servers(self, uuids: Iterable[str]) -> None:
        for uuid in uuids:
            self._keeper.forget(uuid)
            if (pid := self._server(uuid).pid()) is not None:
                dnsmasq.stop([pid])
            shutil.rmtree(self._run / uuid, ignore_errors=True)

    def _revive(self, uuid: str) -> int | None:
        """Start a server that died, as it was. Runs on the keeper's thread; raises HostError."""
        server = self._server(uuid)
        if not (self._run / uuid).exists():
            return None
        return server.pid() or server.started(server.launch())

    def _told(self, wanted: Document, router: RouterSpec) -> Told:
        return Told(
            configuration=configuration(wanted, router, pid=self._server(router.uuid).files.pid), leases={}, hosts=""
        )

    def _known(self) -> list[str]:
        return sorted(path.name for path in self._run.glob("*-*-*-*-*"))

    def _server(self, uuid: str) -> Server:
        return Server(self._run / uuid, namespace=names.router(uuid))


def _announcing(wanted: Document) -> dict[str, RouterSpec]:
    if not wanted.present:
        return {}
    return {uuid: router for uuid, router in wanted.routers.items() if any(True for _ in _announced(wanted, router))}


def _announced(wanted: Document, router: RouterSpec) -> Iterable[tuple[str, int, SubnetSpec]]:
    """(interface, MTU, subnet) of what the router announces."""
    for leg in router.legs:
        own = {ipaddress.ip_interface(address).network for address in leg.addresses}
        network = wanted.networks[leg.network]
        for subnet in network.subnets:
            if subnet.advertise and ipaddress.ip_network(subnet.cidr) in own:
                yield names.router_inside(leg.port), network.mtu, subnet


def configuration(wanted: Document, router: RouterSpec, *, pid: Path) -> str:
    """dnsmasq.conf of a router. Pure."""
    lines = [
        "port=0", "except-interface=lo", "bind-interfaces", "no-hosts", "no-resolv", "quiet-ra", "quiet-dhcp6",
        "enable-ra", "leasefile-ro", "user=nobody", f"pid-file={pid}",
    ]  # fmt: skip
    interfaces: dict[str, int] = {}
    for interface, mtu, subnet in _announced(wanted, router):
        interfaces[interface] = mtu
        block = ipaddress.IPv6Network(subnet.cidr)
        mode = "ra-stateless" if subnet.dhcp else "slaac"
        tag = hashlib.sha256(subnet.id.encode()).hexdigest()[:8]
        lines.append(f"dhcp-range=set:{tag},{block.network_address},{mode},{block.prefixlen},86400")
        servers = [str(ipaddress.ip_address(server)) for server in subnet.dns_servers if ":" in server]
        if not servers and subnet.service_ip is not None:
            servers = [str(ipaddress.ip_address(subnet.service_ip))]
        told = ",".join(f"[{server}]" for server in servers)
        lines.append(f"dhcp-option=tag:{tag},option6:dns-server" + (f",{told}" if told else ""))
    for interface, mtu in sorted(interfaces.items()):
        lines += [f"interface={interface}", f"ra-param={interface},mtu:{mtu},{INTERVAL},{LIFETIME}"]
    return "".join(f"{line}\n" for line in lines)
