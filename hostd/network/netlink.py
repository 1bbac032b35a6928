"""Making links and shaping them: the only file that imports pyroute2.

pyroute2's blocking sockets refuse to work in a thread with a running event loop, and entering a
namespace concerns one thread; so everything here runs on one thread of its own, which also puts
concurrent changes in an order. What there are thousands of is `rtnetlink`'s.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from hostd.network import names, namespaces, rtnetlink
from hostd.network.rtnetlink import Link
from hostd.spec import ErrorCode, HostError

__all__ = ["Link", "Netlink"]

T = TypeVar("T")

_ADDRESS_MODE_NONE: Final = 1
"""IN6_ADDR_GEN_MODE_NONE: no link-local address by itself. disable_ipv6 would also stop neighbour suppression."""

VXLAN_PORT: Final = 4789


class Netlink:
    """The kernel's links, changed. Every method blocks; HostError(NETWORK) when the kernel says no."""

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

    # ------------------------------------------------------------------ on the host

    def make_bridge(self, name: str, *, alternative: str, mac: str, mtu: int, calls_iptables: bool) -> None:
        """A bridge with these properties, up. An existing one is corrected and keeps its ports."""

        def make() -> None:
            # The explicit address matters: a bridge that takes its ports' lowest one forgets permanent neighbours.
            # Without snooping, multicast (IPv6 neighbour discovery) needs no querier.
            wanted = {
                "br_mcast_snooping": 0,
                "br_nf_call_iptables": int(calls_iptables),
                "br_nf_call_ip6tables": int(calls_iptables),
            }
            index = self._find(name)
            if index is None:
                self._socket.link("add", ifname=name, kind="bridge", address=mac, mtu=mtu, group=names.GROUP, **wanted)
                index = self._index(name)
            else:
                self._socket.link("set", index=index, kind="bridge", **wanted)
                if rtnetlink.links()[name].mac != mac:  # even its own again would make it forget its neighbours
                    self._socket.link("set", index=index, address=mac)
            self._finish(index, alternative=alternative, mtu=mtu)

        self._call(f"making bridge {name}", make)

    def make_vxlan(
        self, name: str, *, alternative: str, vni: int, local: str, mtu: int, bridge: str, flood: bool
    ) -> None:
        """A tunnel as a port of the bridge, up. One with another VNI or endpoint is replaced.

        `flood`: ARP and unknown addresses go to all peers, and nothing is answered here.
        """

        def make() -> None:
            present = rtnetlink.links().get(name)
            if present is not None and (present.kind, present.tag, present.local) != ("vxlan", vni, local):
                self._delete(name)
                present = None
            master = self._index(bridge)
            if present is None:
                endpoint = "vxlan_local6" if ":" in local else "vxlan_local"
                self._socket.link(
                    "add", ifname=name, kind="vxlan", vxlan_id=vni, vxlan_port=VXLAN_PORT, vxlan_learning=0,
                    mtu=mtu, group=names.GROUP, master=master, **{endpoint: local},
                )  # fmt: skip
            index = self._index(name)
            if present is not None:
                self._socket.link("set", index=index, master=master)
            self._finish(index, alternative=alternative, mtu=mtu)
            self._socket.brport("set", index=index, learning=0, unicast_flood=int(flood), neigh_suppress=int(not flood))

        self._call(f"making tunnel {name}", make)

    def make_cable(
        self,
        name: str,
        *,
        alternative: str,
        bridge: str,
        mtu: int,
        far: str,
        namespace: str | None = None,
        far_mac: str | None = None,
    ) -> None:
        """A cable from a bridge: into a namespace (made when it is not there), or to `far` beside it; up on our side.

        An existing cable is corrected; one whose other end went away with its namespace is replaced.
        """

        def make() -> None:
            if namespace is not None:
                namespaces.create(namespace)
            if self._find(name) is None or not self._reaches(name, far, namespace):
                self._delete(name)
                peer: dict[str, Any] = {"ifname": far}
                if far_mac is not None:
                    peer["address"] = far_mac
                cable = {
                    "ifname": name,
                    "kind": "veth",
                    "mtu": mtu,
                    "group": names.GROUP,
                    "master": self._index(bridge),
                }
                if namespace is None:
                    self._socket.link("add", peer=peer, **cable)
                else:
                    with namespaces.path(namespace).open() as target:
                        self._socket.link("add", peer={**peer, "net_ns_fd": target.fileno()}, **cable)
            index = self._index(name)
            self._socket.link("set", index=index, master=self._index(bridge))
            self._finish(index, alternative=alternative, mtu=mtu)

        self._call(f"making cable {name}", make)

    def make_pair(self, namespace: str, name: str, other: str, far: str, *, mtu: int) -> None:
        """A new cable between two namespaces, in the place of any end that was there."""

        def make() -> None:
            from pyroute2 import IPRoute

            for space, end in ((namespace, name), (other, far)):
                with namespaces.inside(space):
                    if (old := rtnetlink.links().get(end)) is not None:
                        rtnetlink.change([rtnetlink.removal(old.index)], fine=rtnetlink.GONE)
            with namespaces.path(other).open() as target, namespaces.inside(namespace):
                socket = IPRoute()
                try:
                    peer = {"ifname": far, "net_ns_fd": target.fileno()}
                    socket.link("add", ifname=name, kind="veth", mtu=mtu, group=names.GROUP, peer=peer)
                finally:
                    socket.close()

        self._call(f"making cable {name} in {namespace}", make)

    def make_vlan(self, name: str, *, alternative: str, parent: str, tag: int, mtu: int, bridge: str) -> None:
        """A VLAN of an interface as a port of the bridge, up. One of another id or interface is replaced."""

        def make() -> None:
            below = self._index(parent)
            present = rtnetlink.links().get(name)
            if present is not None and (present.kind, present.tag, present.parent) != ("vlan", tag, below):
                self._delete(name)
                present = None
            if present is None:
                self._socket.link("add", ifname=name, kind="vlan", link=below, vlan_id=tag, mtu=mtu, group=names.GROUP)
            index = self._index(name)
            self._socket.link("set", index=below, state="up")
            self._socket.link("set", index=index, master=self._index(bridge))
            self._finish(index, alternative=alternative, mtu=mtu)

        self._call(f"making VLAN {tag} of {parent}", make)

    def enslave(self, name: str, bridge: str | None) -> None:
        """Make an interface of the operator's a port of the bridge, up; None: of no bridge."""

        def put() -> None:
            master = 0 if bridge is None else self._index(bridge)
            self._socket.link("set", index=self._index(name), master=master)
            if bridge is not None:
                self._socket.link("set", index=self._index(name), state="up")

        self._call(f"putting {name} on {bridge}", put)

    def set_port(self, name: str, *, learning: bool, flood: bool) -> None:
        """Properties of a bridge's port."""
        self._call(
            f"setting up {name}",
            lambda: self._socket.brport(
                "set", index=self._index(name), learning=int(learning), unicast_flood=int(flood)
            ),
        )

    def mark(self, name: str, *, prefix: str, mark: str | None) -> None:
        """Leave a mark on an interface: an alternative name that begins with `prefix`, the only one that does."""

        def put() -> None:
            link = rtnetlink.links()[name]
            wanted = frozenset() if mark is None else frozenset((mark,))
            old = frozenset(one for one in link.alternatives if one.startswith(prefix))
            for one in sorted(old - wanted):
                self._socket.link("property_del", index=link.index, altname=one)
            for one in sorted(wanted - old):
                self._socket.link("property_add", index=link.index, altname=one)

        self._call(f"marking {name}", put)

    def delete(self, name: str) -> None:
        """Remove an interface. An absent one is fine."""
        self._call(f"deleting {name}", lambda: self._delete(name))

    # ------------------------------------------------------------------ in namespaces

    def configure(
        self, namespace: str, link: str, *, mtu: int, addresses: Iterable[str], mac: str | None = None
    ) -> None:
        """Give an interface of a namespace its MAC, MTU and exactly these addresses (`10.0.0.2/24`, but for link-local
        ones); up, and the namespace's loopback with it."""
        wanted = frozenset(addresses)

        def configure() -> None:
            from pyroute2 import IPRoute

            with namespaces.inside(namespace):
                socket = IPRoute()
                try:
                    found = rtnetlink.links()
                    if link not in found:
                        raise OSError(errno.ENODEV, "it is not there", link)
                    index = found[link].index
                    socket.link("set", index=1, state="up")  # the loopback is the first link of every namespace
                    address = {} if mac is None or mac == found[link].mac else {"address": mac}
                    socket.link("set", index=index, mtu=mtu, **address, **_no_automatic_address())
                    socket.link("set", index=index, state="up")
                finally:
                    socket.close()
                here = rtnetlink.addresses().get(index, frozenset())
                extra = {one for one in here - wanted if not one.startswith("fe80:")}
                rtnetlink.change(
                    [rtnetlink.address(index, one, delete=True) for one in sorted(extra)]
                    + [rtnetlink.address(index, one) for one in sorted(wanted - here)]
                )

        self._call(f"configuring {link} in {namespace}", configure)

    def remove_namespace(self, name: str) -> None:
        """Remove a named namespace. An absent one is fine."""
        self._call(f"removing namespace {name}", lambda: namespaces.remove(name))

    # ------------------------------------------------------------------ shaping

    def shape(self, name: str, *, kbit: int | None) -> None:
        """Limit what leaves by an interface, or lift the limit."""

        def shape() -> None:
            index = self._index(name)
            if kbit is None:
                self._without(lambda: self._socket.tc("delete", index=index, handle="1:", root=True))
            else:
                self._socket.tc("replace", "tbf", index, "1:", **_bucket(kbit))

        self._call(f"limiting {name}", shape)

    def divert(self, name: str, shaper: str, *, kbit: int | None, group: int = names.GROUP) -> None:
        """Limit what comes in by an interface: it takes a way over `shaper`, which is made, or taken away again."""

        def divert() -> None:
            index = self._index(name)
            self._without(lambda: self._socket.tc("delete", "ingress", index))
            if kbit is None:
                self._delete(shaper)
                return
            if self._find(shaper) is None:
                self._socket.link("add", ifname=shaper, kind="ifb", group=group)
            over = self._index(shaper)
            self._socket.link("set", index=over, state="up")
            self._socket.tc("replace", "tbf", over, "1:", **_bucket(kbit))
            self._socket.tc("add", "ingress", index, "ffff:")
            self._socket.tc(
                "add-filter", "u32", index, parent=0xFFFF0000, prio=1, protocol=_ETH_P_ALL, target=0x10020,
                keys=["0x0/0x0+0"],
                action={"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": over},
            )  # fmt: skip

        self._call(f"limiting {name}", divert)

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
            raise HostError(ErrorCode.NETWORK, f"{what}: the networking driver is not started")

        def run() -> T:
            self._open()
            from pyroute2.netlink.exceptions import NetlinkError

            try:
                return work()
            except (NetlinkError, OSError) as error:
                raise HostError(ErrorCode.NETWORK, f"{what}: {error}") from error

        return self._thread.submit(run).result()

    def _find(self, name: str) -> int | None:
        found: list[int] = self._socket.link_lookup(ifname=name)
        return found[0] if found else None

    def _index(self, name: str) -> int:
        index = self._find(name)
        if index is None:
            raise OSError(errno.ENODEV, "it is not there", name)
        return index

    def _reaches(self, name: str, far: str, namespace: str | None) -> bool:
        """Whether the cable's other end is where it belongs."""
        if namespace is None:
            return self._find(far) is not None
        with namespaces.inside(namespace):
            return far in rtnetlink.links()

    def _finish(self, index: int, *, alternative: str, mtu: int) -> None:
        self._socket.link("set", index=index, mtu=mtu, group=names.GROUP, **_no_automatic_address())
        if not self._socket.link_lookup(altname=alternative):
            self._socket.link("property_add", index=index, altname=alternative)
        self._socket.link("set", index=index, state="up")

    def _delete(self, name: str) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        index = self._find(name)
        if index is None:
            return
        try:
            self._socket.link("delete", index=index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:  # it went by itself, with its other end
                raise

    @staticmethod
    def _without(work: Callable[[], object]) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            work()
        except NetlinkError as error:
            if error.code not in (errno.ENOENT, errno.EINVAL):  # there was no limit
                raise


_ETH_P_ALL: Final = 0x0003


def _bucket(kbit: int) -> dict[str, Any]:
    """A token bucket: 20 ms of burst, at least a few frames; 100 ms of waiting room."""
    return {
        "rate": f"{kbit}kbit",
        "burst": max(kbit * 1000 // 8 // 50, 16 * 1024),
        "latency": "100ms",
    }


def _no_automatic_address() -> dict[str, Any]:
    mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_MODE_NONE)]}
    return {"IFLA_AF_SPEC": {"attrs": [("AF_INET6", mode)]}}
