"""The part `dhcp`: one dnsmasq for each network that has guests here, and none for any other.

    RUN/dhcp/UUID/    leases/ names/ dnsmasq-DIGEST.conf dnsmasq.pid told

A server that dies is started again by itself; the host's events tell of it.
"""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from hostd.drivers import Happened, Step
from hostd.network import names
from hostd.network.document import Document
from hostd.network.part import World
from hostd.network.services import dnsmasq, routes, upstream
from hostd.network.services.configuration import configuration, hosts, leases, left_out, serves, way_out
from hostd.network.services.dnsmasq import Server, ServerSeen, Told
from hostd.network.services.keeper import Keeper
from hostd.spec import ErrorCode, EventKind, HostError, NetworkSpec


@attrs.frozen(kw_only=True)
class DhcpSeen:
    """What there is of DHCP and DNS servers."""

    servers: Mapping[str, ServerSeen]
    """By network, for each that has a directory of ours."""
    legs: Mapping[str, int]
    """Network to the index of its service leg, where there is one."""
    resolvers: tuple[str, ...]
    """Whom to ask for foreign names, where there is a way to them."""


class Dhcp:
    """See hostd.network.part.Part."""

    name: Final = "dhcp"
    steps: Final = ("dhcp",)
    removals: Final = ("dhcp_remove",)

    def __init__(self, run: Path) -> None:
        self._run = run.absolute() / "dhcp"
        self._keeper = Keeper(self._revive)
        self._lock = threading.RLock()
        """One change of the servers at a time: the keeper starts them as well."""
        self._on_event: Callable[[Happened], None] = lambda happened: None
        self._down: set[str] = set()
        """Networks whose server could not be started again, and was told of."""

    def start(self, on_event: Callable[[Happened], None]) -> None:
        """Begin to keep the servers that run. Those that do not are the next apply's to start."""
        self._on_event = on_event
        self._keeper.start()
        for uuid in self._known():
            if (pid := self._server(uuid).pid()) is not None:
                self._keeper.watch(uuid, pid)

    def stop(self) -> None:
        """Leave them alone. They run on."""
        self._keeper.stop()

    # ------------------------------------------------------------------ read and decide

    def seen(self, wanted: Document, world: World, *, deep: bool) -> DhcpSeen:
        legs = {uuid: world.links.get(names.leg(uuid)) for uuid in wanted.networks}
        return DhcpSeen(
            servers={uuid: self._server(uuid).seen(deep=deep) for uuid in self._known()},
            legs={uuid: leg.index for uuid, leg in legs.items() if leg is not None},
            resolvers=upstream.resolvers(wanted.spec.resolvers),
        )

    def plan(self, wanted: Document, seen: DhcpSeen) -> tuple[Step, ...]:
        """`dhcp` with the networks to be put right, `dhcp_remove` with those that need no server."""
        served = self._served(wanted)
        wrong = [network.uuid for network in served if self._why(wanted, seen, network)]
        left = sorted(seen.servers.keys() - {network.uuid for network in served})
        steps = (("dhcp", wrong), ("dhcp_remove", left))
        return tuple(Step(name, {"networks": uuids}) for name, uuids in steps if uuids)

    def faults(self, wanted: Document, seen: DhcpSeen) -> Mapping[str, str]:
        found = {network.uuid: self._why(wanted, seen, network) for network in self._served(wanted)}
        for network in self._served(wanted):
            if (routes := left_out(wanted, network)) and not found[network.uuid]:
                found[network.uuid] = f"too many host routes for DHCP, left out: {', '.join(routes)}"
        return {uuid: why for uuid, why in found.items() if why}

    def _served(self, wanted: Document) -> list[NetworkSpec]:
        return [network for network in wanted.networks.values() if wanted.present and serves(wanted, network)]

    def _why(self, wanted: Document, seen: DhcpSeen, network: NetworkSpec) -> str:
        """What is wrong with a network's server; empty when nothing is."""
        server = seen.servers.get(network.uuid, ServerSeen())
        leg = seen.legs.get(network.uuid)
        told = self._told(wanted, network, resolvers=seen.resolvers)
        if leg is None:
            return "its service leg is missing"
        if server.pid is None:
            return "its DHCP server does not run"
        if server.digest != told.digest or server.mark != told.mark(leg):
            return "its DHCP server was told something else"
        if server.leases not in (None, told.leases) or server.hosts not in (None, told.hosts):
            return "the files of its DHCP server were changed"
        if server.way_out != way_out(wanted, network):
            return "its DNS server has no way out" if way_out(wanted, network) else "its DNS server has a way out"
        return ""

    def _told(self, wanted: Document, network: NetworkSpec, *, resolvers: tuple[str, ...]) -> Told:
        out = way_out(wanted, network) is not None
        files = self._server(network.uuid).files
        return Told(
            configuration=configuration(wanted, network, files=files, resolvers=resolvers if out else ()),
            leases=leases(wanted, network),
            hosts=hosts(network),
        )

    # ------------------------------------------------------------------ act

    def execute(self, step: Step, wanted: Document) -> None:
        """Raises HostError(NETWORK), once everything that can be done is done."""
        acts: dict[str, Callable[[Document, list[str]], None]] = {"dhcp": self._serve, "dhcp_remove": self._remove}
        try:
            with self._lock:
                acts[step.name](wanted, step.args["networks"])
        except OSError as bad:
            raise HostError(ErrorCode.NETWORK, f"{step.name}: {bad}", step=step.name) from bad

    def _serve(self, wanted: Document, uuids: list[str]) -> None:
        self._run.mkdir(parents=True, exist_ok=True)
        self._run.chmod(0o755)  # dnsmasq reads its files as nobody
        resolvers = upstream.resolvers(wanted.spec.resolvers)
        failed: list[str] = []
        cold: dict[str, tuple[Told, str]] = {}
        for network in self._served(wanted):
            if network.uuid not in uuids:
                continue
            told = self._told(wanted, network, resolvers=resolvers)
            try:
                mark = told.mark(socket.if_nametoindex(names.leg(network.uuid)))
                if not self._tell_running(network.uuid, told, mark, out=way_out(wanted, network)):
                    cold[network.uuid] = told, mark
            except (OSError, HostError) as bad:
                failed.append(f"network {network.uuid}: {bad}")
        self._end(cold)
        failed += self._start(cold)
        if failed:
            raise HostError(ErrorCode.NETWORK, "; ".join(failed), hint="Is dnsmasq installed on the host?")

    def _tell_running(self, uuid: str, told: Told, mark: str, *, out: str | None) -> bool:
        """Put files and route in place, and have the running server follow; False when it must be started anew."""
        server = self._server(uuid)
        before = server.seen(deep=False)
        if before.pid is None or before.way_out != out:
            routes.lead_out(server.namespace, out)
        forgets = server.write(told)
        same_leg = before.mark.partition(" ")[2] == mark.partition(" ")[2]
        if before.pid is None or before.digest != told.digest or not same_leg:
            return False
        if forgets:
            server.reread(before.pid)
        server.mark(mark)
        self._keeper.watch(uuid, before.pid)
        return True

    def _end(self, uuids: Iterable[str]) -> None:
        for uuid in uuids:
            self._keeper.forget(uuid)
        dnsmasq.stop(pid for uuid in uuids if (pid := self._server(uuid).pid()) is not None)

    def _start(self, cold: Mapping[str, tuple[Told, str]]) -> list[str]:
        """Start them side by side, for each start is mostly waiting; what went wrong."""
        starting, failed = {}, []
        for uuid, (told, _) in cold.items():
            try:
                starting[uuid] = self._server(uuid).launch(told)
            except HostError as bad:
                failed.append(str(bad))
        for uuid, process in starting.items():
            server = self._server(uuid)
            try:
                self._keeper.watch(uuid, server.started(process))
            except HostError as bad:
                failed.append(str(bad))
            else:
                server.mark(cold[uuid][1])
                self._down.discard(uuid)
        return failed

    def _remove(self, wanted: Document, uuids: list[str]) -> None:
        self._end(uuids)
        for uuid in uuids:
            shutil.rmtree(self._run / uuid, ignore_errors=True)

    def _revive(self, uuid: str) -> int | None:
        """Start a server that died, as it was. Runs on the keeper's thread."""
        with self._lock:
            server = self._server(uuid)
            if not (self._run / uuid).exists():
                return None
            pid = server.pid()
            if pid is not None:
                return pid
            try:
                pid = server.started(server.launch())
            except HostError as bad:
                if uuid not in self._down:
                    self._tell("dhcp_down", uuid, detail=str(bad))
                self._down.add(uuid)
                raise
        self._down.discard(uuid)
        self._tell("dhcp_restarted", uuid, detail="its DHCP server had died")
        return pid

    def _tell(self, what: str, uuid: str, *, detail: str) -> None:
        told: dict[str, Any] = {"what": what, "network": uuid, "detail": detail}
        self._on_event(Happened(kind=EventKind.HOST, uuid=None, detail=told))

    def _known(self) -> list[str]:
        return sorted(path.name for path in self._run.glob("*-*-*-*-*"))

    def _server(self, uuid: str) -> Server:
        return Server(self._run / uuid, namespace=names.namespace(uuid))
