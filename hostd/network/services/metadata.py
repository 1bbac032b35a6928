"""The part `metadata`: 169.254.169.254 for every guest, answered by this process.

    guest -- skb-X -- svc in skn-X      169.254.169.254 is an address of the leg, and so is fe80::a9fe:a9fe
    guest -- skb-X -- qr-Y in skr-R     for guests that ignore DHCP's routes: the router takes it for its own

A socket is made inside each namespace; who asks is told by where the request came in and from which address, which
anti-spoofing has made the asker's own. Listeners end with the process: after a restart all are open again as soon as
the recorded document is looked at.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

import attrs

from hostd.drivers import Step
from hostd.metadata import http
from hostd.metadata.ec2 import Caller
from hostd.metadata.http import Asked
from hostd.metadata.server import MetadataServer
from hostd.network import names, namespaces, rtnetlink
from hostd.network.document import Document
from hostd.network.netlink import Link
from hostd.network.part import World
from hostd.network.services import routes
from hostd.network.services.configuration import METADATA, serves
from hostd.spec import ErrorCode, HostError, Metadata, NetworkSpec, PortSpec, RouterSpec

PORT: Final = 80

BACKLOG: Final = 64

METADATA6: Final = "fe80::a9fe:a9fe"

_SERVICE: Final = "skn-"
"""How the names of networks' namespaces begin; routers' do otherwise."""

_IP_FREEBIND: Final = 15
"""<linux/in.h>: the address may be bound before it is there."""

Callers = Mapping[str, Mapping[str, Caller]]
"""Namespace to address to who has it."""


@attrs.frozen(kw_only=True)
class MetadataSeen:
    open: frozenset[str]
    """Namespaces with a listener of this process."""
    lost: frozenset[str]
    """Those that were replaced since: their listeners hear nobody."""
    spaces: frozenset[str]
    """Every namespace there is."""
    callers: Callers
    """Whom this process knows."""


class MetadataPart:
    """See hostd.network.part.Part."""

    name: Final = "metadata"
    steps: Final = ("metadata",)
    removals: Final = ("metadata_remove",)

    def __init__(self) -> None:
        self._server = MetadataServer(self._respond)
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int | None, int]] = {}
        """Namespace to what stood there when the listener was made: its inode, and the index of its leg."""
        self._callers: Callers = {}
        self._metadata_of: Callable[[str], Metadata | None] = lambda uuid: None

    def start(self, metadata_of: Callable[[str], Metadata | None]) -> None:
        """Begin the server's thread. `metadata_of` tells an instance of this host, by uuid; it may block."""
        self._metadata_of = metadata_of
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        self._open.clear()

    # ------------------------------------------------------------------ read and decide

    def seen(self, wanted: Document, world: World, *, deep: bool) -> MetadataSeen:
        with self._lock:
            lost = frozenset(name for name, stood in self._open.items() if _stands(name, world.links) != stood)
            return MetadataSeen(
                open=frozenset(self._open) - lost, lost=lost, spaces=world.namespaces, callers=self._callers
            )

    def plan(self, wanted: Document, seen: MetadataSeen) -> tuple[Step, ...]:
        """`metadata` with the namespaces to listen in, `metadata_remove` with those to listen in no more."""
        known = callers(wanted)
        # A router's namespace is the routers' to make: until it is there, its guests have the network's listener.
        missing = sorted(
            name for name in known.keys() - seen.open if _is_service(name) or name in seen.spaces | seen.lost
        )
        left = sorted((seen.open | seen.lost) - known.keys())
        steps = []
        if missing or any(seen.callers.get(name) != of for name, of in known.items()):
            steps.append(Step("metadata", {"namespaces": missing}))
        if left:
            steps.append(Step("metadata_remove", {"namespaces": left}))
        return tuple(steps)

    def faults(self, wanted: Document, seen: MetadataSeen) -> Mapping[str, str]:
        return {
            network.uuid: "its metadata service does not listen"
            for network in wanted.networks.values()
            if wanted.present and serves(wanted, network) and names.namespace(network.uuid) not in seen.open
        }

    # ------------------------------------------------------------------ act

    def execute(self, step: Step, wanted: Document) -> None:
        """Raises HostError(NETWORK), once everything that can be listened on is."""
        if step.name == "metadata":
            self._open_all(step.args["namespaces"], wanted)
        else:
            for name in step.args["namespaces"]:
                self._server.close(name)
                with self._lock:
                    self._open.pop(name, None)
                    self._callers = {space: of for space, of in self._callers.items() if space != name}

    def _open_all(self, spaces: list[str], wanted: Document) -> None:
        with self._lock:
            self._callers = callers(wanted)
        links = rtnetlink.links()
        failed = []
        for name in spaces:
            try:
                self._listen(name, links)
            except OSError as bad:
                if _is_service(name) or namespaces.exists(name):
                    failed.append(f"{name}: {bad}")
                else:
                    with self._lock:
                        self._open.pop(name, None)
        if failed:
            raise HostError(ErrorCode.NETWORK, f"the metadata service cannot listen in {'; '.join(failed)}")

    def _listen(self, name: str, links: Mapping[str, Link]) -> None:
        stands = _stands(name, links)
        if name in self._open:
            self._server.close(name)  # a new leg in the same namespace: the old listener holds the address
        if _is_service(name):
            routes.call(name, METADATA6)
        else:
            routes.take_in(name, METADATA)
        with ExitStack() as undo:
            with namespaces.inside(name):
                sockets = [undo.enter_context(made) for made in _listening(name)]
            self._server.listen(name, sockets)
            undo.pop_all()
        with self._lock:
            self._open[name] = stands

    def _respond(self, name: str, address: str, asked: Asked) -> bytes:
        with self._lock:
            caller = self._callers.get(name, {}).get(address)
        told = self._metadata_of(caller.device) if caller is not None else None
        if caller is None or told is None:
            return http.answer(404)
        return http.respond(asked, caller, told)


def callers(wanted: Document) -> Callers:
    """Who may ask where: the ports of each served network, and those behind each router. Pure."""
    if not wanted.present:
        return {}
    found: dict[str, dict[str, Caller]] = {}
    for network in wanted.networks.values():
        if serves(wanted, network):
            found[names.namespace(network.uuid)] = _of_network(wanted, network)
    for router in wanted.routers.values():
        behind = _of_router(wanted, router)
        if behind:
            found[names.router(router.uuid)] = behind
    return found


def _is_service(name: str) -> bool:
    return name.startswith(_SERVICE)


def _of_router(wanted: Document, router: RouterSpec) -> dict[str, Caller]:
    """A router's subnets never overlap, so that an address behind it is one port's."""
    found: dict[str, Caller] = {}
    for leg in router.legs:
        found |= _of_network(wanted, wanted.networks[leg.network])
    return found


def _of_network(wanted: Document, network: NetworkSpec) -> dict[str, Caller]:
    public = {(floating.port, floating.fixed): floating.address for floating in wanted.spec.floating}
    found: dict[str, Caller] = {}
    for port in wanted.ports_of[network.uuid]:
        own = [str(ipaddress.ip_address(address.ip)) for address in port.addresses]
        ipv4 = next((ip for ip in own if "." in ip), "")
        caller = Caller(
            device=port.device,
            mac=port.mac.lower(),
            ipv4=ipv4,
            public_ipv4=next((public[port.uuid, ip] for ip in own if (port.uuid, ip) in public), ""),
        )
        found |= dict.fromkeys((*own, _link_local(port)), caller)
    return found


def _link_local(port: PortSpec) -> str:
    """What an interface calls itself on its link (RFC 4291, appendix A), and asks fe80::a9fe:a9fe from."""
    first, *rest = bytes.fromhex(port.mac.replace(":", ""))
    middle = bytes((first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]))
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + middle))


def _listening(name: str) -> list[socket.socket]:
    """Sockets of the namespace this thread is in. IPv6 on the service leg alone, and where the kernel has it."""
    sockets = [_bound(socket.AF_INET, METADATA)]
    if _is_service(name):
        try:
            sockets.append(_bound(socket.AF_INET6, "::"))
        except OSError as bad:
            if bad.errno != errno.EAFNOSUPPORT:
                sockets[0].close()
                raise
    return sockets


def _bound(family: socket.AddressFamily, address: str) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        made.bind((address, PORT))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _stands(name: str, links: Mapping[str, Link]) -> tuple[int | None, int]:
    leg = links.get(f"skd-{name.removeprefix(_SERVICE)}")
    try:
        return namespaces.path(name).stat().st_ino, leg.index if leg is not None and _is_service(name) else 0
    except FileNotFoundError:
        return None, 0
