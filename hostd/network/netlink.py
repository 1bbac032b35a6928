"""The kernel's links and addresses: the only file that imports pyroute2.

pyroute2's blocking sockets refuse to work in a thread with a running event loop, and entering a
namespace concerns one thread; so everything here runs on one thread of its own, which also puts
concurrent changes in an order.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import attrs

from hostd.network import names, namespaces
from hostd.spec import ErrorCode, HostError

T = TypeVar("T")

_ADDRESS_MODE_NONE = 1
"""IN6_ADDR_GEN_MODE_NONE: no link-local address by itself. disable_ipv6 would also stop neighbour suppression."""


@attrs.frozen(kw_only=True)
class Link:
    """One interface as the kernel has it."""

    name: str
    index: int
    kind: str
    """`bridge`, `veth`, `tun`, ...; empty for hardware."""
    mac: str
    mtu: int
    up: bool
    group: int
    master: int
    """Index of the bridge it is a port of, 0 for none."""
    alternatives: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    """`10.0.0.2/24`; IPv4 only, and only where they were asked for."""


class Netlink:
    """The kernel's link table, read and changed. Every method blocks; HostError(NETWORK) when the kernel says no."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._socket: Any = None

    def start(self) -> None:
        """Begin the thread and load pyroute2 on it, without waiting for it."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="netlink")
        self._thread.submit(self._open)

    def stop(self) -> None:
        """Close the socket and end the thread. Fine when not started."""
        if self._thread is not None:
            self._thread.submit(self._close).result()
            self._thread.shutdown()
            self._thread = None

    def links(self) -> dict[str, Link]:
        """Every interface of the host's own namespace, by name; addresses are not read."""
        return self._call("reading links", lambda: _dump(self._socket))

    def links_inside(self, namespace: str) -> dict[str, Link]:
        """Every interface of a named namespace, with addresses; empty when there is no such namespace."""

        def read() -> dict[str, Link]:
            if not namespaces.exists(namespace):
                return {}
            return _inside(namespace, functools.partial(_dump, addresses=True))

        return self._call(f"reading namespace {namespace}", read)

    def make_bridge(self, name: str, *, alternative: str, mac: str, mtu: int) -> None:
        """A bridge with these properties, up. An existing one is corrected and keeps its ports."""

        def make() -> None:
            if not self._socket.link_lookup(ifname=name):
                self._socket.link("add", ifname=name, kind="bridge", address=mac, group=names.GROUP)
            # The explicit address matters: a bridge that takes its ports' lowest one forgets permanent neighbours.
            # Without snooping, multicast (IPv6 neighbour discovery) needs no querier.
            index = self._index(name)
            self._socket.link("set", index=index, kind="bridge", br_mcast_snooping=0)
            self._finish(index, alternative=alternative, mac=mac, mtu=mtu)

        self._call(f"making bridge {name}", make)

    def make_leg(self, name: str, *, alternative: str, bridge: str, namespace: str, mtu: int) -> None:
        """A cable from a bridge into a namespace, where its end is called `svc`; up on the bridge's side.

        An existing cable is corrected; one whose other end went away with its namespace is replaced.
        """

        def make() -> None:
            namespaces.create(namespace)
            present = _inside(namespace, lambda socket: socket.link_lookup(ifname=names.SERVICE))
            if not present:
                self._delete(name)
                with namespaces.path(namespace).open() as target:
                    peer = {"ifname": names.SERVICE, "net_ns_fd": target.fileno()}
                    self._socket.link("add", ifname=name, kind="veth", peer=peer, group=names.GROUP)
            index = self._index(name)
            self._socket.link("set", index=index, master=self._index(bridge))
            self._finish(index, alternative=alternative, mac=None, mtu=mtu)

        self._call(f"making service leg {name}", make)

    def configure_service(self, namespace: str, *, mac: str, mtu: int, addresses: Iterable[str]) -> None:
        """Give the service end its hardware address, MTU and exactly these IPv4 addresses (`10.0.0.2/24`); up."""
        wanted = frozenset(addresses)

        def configure(socket: Any) -> None:
            socket.link("set", index=1, state="up")  # the loopback is the first link of every namespace
            link = _dump(socket, addresses=True)[names.SERVICE]
            socket.link("set", index=link.index, address=mac, mtu=mtu, **_no_automatic_address())
            socket.link("set", index=link.index, state="up")
            for address in link.addresses - wanted:
                ip, _, length = address.partition("/")
                socket.addr("delete", index=link.index, address=ip, prefixlen=int(length))
            for address in wanted - link.addresses:
                ip, _, length = address.partition("/")
                socket.addr("replace", index=link.index, address=ip, prefixlen=int(length))

        self._call(f"configuring {names.SERVICE} in {namespace}", lambda: _inside(namespace, configure))

    def delete(self, name: str) -> None:
        """Remove an interface. An absent one is fine."""
        self._call(f"deleting {name}", lambda: self._delete(name))

    def remove_namespace(self, name: str) -> None:
        """Remove a named namespace. An absent one is fine."""
        self._call(f"removing namespace {name}", lambda: namespaces.remove(name))

    # ------------------------------------------------------------------ on the thread

    def _open(self) -> None:
        if self._socket is None:
            from pyroute2 import IPRoute  # slow to load (0.2 s), and hostd must answer at once

            self._socket = IPRoute()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _call(self, what: str, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise HostError(ErrorCode.NETWORK, f"{what}: the network driver is not started")

        def run() -> T:
            self._open()
            from pyroute2.netlink.exceptions import NetlinkError

            try:
                return work()
            except (NetlinkError, OSError) as error:
                raise HostError(ErrorCode.NETWORK, f"{what}: {error}") from error

        return self._thread.submit(run).result()

    def _index(self, name: str) -> int:
        found: list[int] = self._socket.link_lookup(ifname=name)
        if not found:
            raise OSError(errno.ENODEV, "it is not there", name)
        return found[0]

    def _finish(self, index: int, *, alternative: str, mac: str | None, mtu: int) -> None:
        address = {} if mac is None else {"address": mac}
        self._socket.link("set", index=index, mtu=mtu, group=names.GROUP, **address, **_no_automatic_address())
        if not self._socket.link_lookup(altname=alternative):
            self._socket.link("property_add", index=index, altname=alternative)
        self._socket.link("set", index=index, state="up")

    def _delete(self, name: str) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        for index in self._socket.link_lookup(ifname=name):
            try:
                self._socket.link("delete", index=index)
            except NetlinkError as error:
                if error.code != errno.ENODEV:  # it went by itself, with its other end
                    raise


def _inside(namespace: str, work: Callable[[Any], T]) -> T:
    """Run `work` with a socket that stays in the namespace, though the thread comes back at once."""
    from pyroute2 import IPRoute

    with namespaces.inside(namespace):
        socket = IPRoute()
    try:
        return work(socket)
    finally:
        socket.close()


def _no_automatic_address() -> dict[str, Any]:
    mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_MODE_NONE)]}
    return {"IFLA_AF_SPEC": {"attrs": [("AF_INET6", mode)]}}


def _dump(socket: Any, *, addresses: bool = False) -> dict[str, Link]:
    of_index: dict[int, set[str]] = {}
    if addresses:
        for message in socket.get_addr(family=2):
            of_index.setdefault(message["index"], set()).add(f"{message.get('IFA_ADDRESS')}/{message['prefixlen']}")
    found = {}
    for message in socket.get_links():
        name = message.get("IFLA_IFNAME")
        info = message.get("IFLA_LINKINFO")
        properties = message.get("IFLA_PROP_LIST")
        found[name] = Link(
            name=name,
            index=message["index"],
            kind=(info.get("IFLA_INFO_KIND") or "") if info else "",
            mac=message.get("IFLA_ADDRESS") or "",
            mtu=message.get("IFLA_MTU") or 0,
            up=bool(message["flags"] & 1),
            group=message.get("IFLA_GROUP") or 0,
            master=message.get("IFLA_MASTER") or 0,
            alternatives=frozenset(properties.get_attrs("IFLA_ALT_IFNAME")) if properties else frozenset(),
            addresses=frozenset(of_index.get(message["index"], ())),
        )
    return found
