"""A project network's share on this host: bridge, service namespace, DHCP server, anti-spoofing.

    guest -- skt-P --+-- skb-X (bridge) --+-- skd-X == svc (10.0.0.2, dnsmasq) in namespace skn-X

Everything is found again by name (see `names`), so what is here is read from the kernel and not from
memory. STATE/networks/UUID/spec.json says what was last asked, for `observe`; RUN/networks/UUID holds
the DHCP server's files.
"""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from hostd.drivers import Happened, Step, StepContext
from hostd.network import dhcp, firewall, names, namespaces
from hostd.network.dnsmasq import Server, ServerSeen
from hostd.network.firewall import Allowed, FirewallSeen
from hostd.network.netlink import Link, Netlink
from hostd.spec import (
    ErrorCode,
    HostError,
    LinkSeen,
    NetworkSeen,
    NetworkSpec,
    ObjectKind,
    PowerState,
    Want,
    dump,
    load,
)

STEPS: Final = ("record", "firewall", "bridge", "service", "dhcp", "remove")


@attrs.frozen(kw_only=True)
class NetworkFound:
    """What there is of one network."""

    recorded: NetworkSpec | None
    bridge: Link | None
    leg: Link | None
    namespace: bool
    service: Link | None
    server: ServerSeen
    chains: bool
    """The firewall's chains are in place."""
    allowed: frozenset[Allowed]
    """The rights the firewall gives to this network's taps."""
    taps: tuple[str, ...]
    """Guests' interfaces on the bridge."""
    files: bool
    """The network has a directory under STATE or RUN."""

    @property
    def anything(self) -> bool:
        return bool(self.bridge or self.leg or self.namespace or self.server.pid or self.allowed or self.files)


class NetworkDriver:
    """Converges NetworkSpecs; see hostd.drivers.Networks for the calls."""

    kind = ObjectKind.NETWORK
    steps = STEPS

    def __init__(self, *, state: Path, run: Path) -> None:
        self._state = state / "networks"
        self._run = run.absolute() / "networks"
        self._netlink = Netlink()
        self._firewall = threading.Lock()
        """nft's reading and changing go together, and networks are applied side by side."""

    def start(self, on_event: Callable[[Happened], None]) -> None:
        """Begin the netlink thread. Networks cause no events of their own yet."""
        self._netlink.start()

    def stop(self) -> None:
        self._netlink.stop()

    # ------------------------------------------------------------------ read

    def seen(self, uuid: str) -> NetworkFound:
        """Raises HostError(NETWORK) when the kernel or nft cannot be asked, and for what is no uuid."""
        try:
            return self._find(uuid, links=self._netlink.links(), wall=firewall.seen())
        except ValueError as error:
            raise HostError(ErrorCode.NETWORK, f"network {uuid!r}: {error}") from error

    def _find(self, uuid: str, *, links: dict[str, Link], wall: FirewallSeen) -> NetworkFound:
        short = names.short(uuid)
        bridge = links.get(names.bridge(uuid))
        namespace = names.namespace(uuid)
        taps = (
            link.name
            for link in links.values()
            if bridge and link.master == bridge.index and link.name != names.leg(uuid)
        )
        return NetworkFound(
            recorded=self._recorded(uuid),
            bridge=bridge,
            leg=links.get(names.leg(uuid)),
            namespace=namespaces.exists(namespace),
            service=self._netlink.links_inside(namespace).get(names.SERVICE),
            server=self._server(uuid).seen(),
            chains=wall.current,
            allowed=frozenset(right for right in wall.allowed if right.network == short),
            taps=tuple(sorted(taps)),
            files=(self._state / uuid).exists() or (self._run / uuid).exists(),
        )

    # ------------------------------------------------------------------ decide

    def plan(self, spec: NetworkSpec, seen: NetworkFound) -> tuple[Step, ...]:
        """Raises HostError(BAD_STATE) for a removal under running guests, CONFLICT for another network of the same
        short name, and NETWORK for a spec that holds no valid addresses; nothing happened then."""
        if spec.want is Want.ABSENT:
            if seen.taps:
                raise HostError(
                    ErrorCode.BAD_STATE,
                    f"guests are still attached to network {spec.uuid}: {', '.join(seen.taps)}",
                    hint="Delete or detach them first.",
                )
            return (Step("remove"),) if seen.anything else ()
        bridge_name = names.bridge(spec.uuid)
        if seen.bridge and names.alternative(bridge_name, spec.uuid) not in seen.bridge.alternatives:
            taken = {name for name in seen.bridge.alternatives if name.startswith(names.bridge(spec.uuid)[:4])}
            if taken:
                raise HostError(ErrorCode.CONFLICT, f"{bridge_name} belongs to another network: {', '.join(taken)}")
        try:
            # All of it before any step: a bad address in a lease must not leave half a network.
            rights = firewall.allowed(spec)
            leases = dhcp.hosts(spec)
            addresses = dhcp.service_addresses(spec)
            configuration = dhcp.digest(self._server(spec.uuid).configuration(spec))
        except ValueError as error:
            raise HostError(ErrorCode.NETWORK, f"network {spec.uuid} cannot be: {error}") from error
        server = seen.server
        if dhcp.served(spec):
            served = server.digest == configuration and server.hosts == leases and not server.stale
        else:
            served = server.pid is None
        connected = _is_service(seen, spec, addresses=addresses)
        already = {
            "record": seen.recorded == spec,
            "firewall": seen.chains and seen.allowed == rights,
            "bridge": _is_bridge(seen.bridge, spec),
            "service": connected,
            "dhcp": served and connected,
        }
        return tuple(Step(name) for name, so in already.items() if not so)

    # ------------------------------------------------------------------ act

    def execute(self, step: Step, spec: NetworkSpec, context: StepContext) -> None:
        """Raises HostError(NETWORK) with the cause."""
        acts: dict[str, Callable[[NetworkSpec], None]] = {
            "record": self._record,
            "firewall": self._guard,
            "bridge": self._make_bridge,
            "service": self._make_service,
            "dhcp": self._serve,
            "remove": self._remove,
        }
        try:
            acts[step.name](spec)
        except OSError as error:
            raise HostError(ErrorCode.NETWORK, f"network {spec.uuid}, {step.name}: {error}", step=step.name) from error

    def result(self, spec: NetworkSpec) -> tuple[PowerState | None, dict[str, Any]]:
        if spec.want is Want.ABSENT:
            return None, {}
        return None, {"bridge": names.bridge(spec.uuid), "namespace": names.namespace(spec.uuid)}

    def _record(self, spec: NetworkSpec) -> None:
        directory = self._state / spec.uuid
        directory.mkdir(parents=True, exist_ok=True)
        partial = directory / "spec.new"
        partial.write_text(json.dumps(dump(spec)))
        partial.replace(directory / "spec.json")

    def _guard(self, spec: NetworkSpec) -> None:
        with self._firewall:
            firewall.apply(names.short(spec.uuid), firewall.allowed(spec))

    def _make_bridge(self, spec: NetworkSpec) -> None:
        name = names.bridge(spec.uuid)
        self._netlink.make_bridge(
            name, alternative=names.alternative(name, spec.uuid), mac=names.mac("bridge", spec.uuid), mtu=spec.mtu
        )

    def _make_service(self, spec: NetworkSpec) -> None:
        leg, namespace = names.leg(spec.uuid), names.namespace(spec.uuid)
        if not dhcp.served(spec):
            self._unmake_service(spec.uuid)
            return
        # A server bound to a leg that is replaced hears nothing on the new one; the next step starts it again.
        self._server(spec.uuid).stop()
        self._netlink.make_leg(
            leg,
            alternative=names.alternative(leg, spec.uuid),
            bridge=names.bridge(spec.uuid),
            namespace=namespace,
            mtu=spec.mtu,
        )
        self._netlink.configure_service(
            namespace, mac=names.mac("service", spec.uuid), mtu=spec.mtu, addresses=dhcp.service_addresses(spec)
        )

    def _unmake_service(self, uuid: str) -> None:
        self._server(uuid).stop()
        self._netlink.delete(names.leg(uuid))
        self._netlink.remove_namespace(names.namespace(uuid))

    def _serve(self, spec: NetworkSpec) -> None:
        server = self._server(spec.uuid)
        if not dhcp.served(spec):
            server.stop()
            return
        self._run.mkdir(parents=True, exist_ok=True)
        self._run.chmod(0o755)  # dnsmasq reads its files as nobody
        server.apply(spec)

    def _remove(self, spec: NetworkSpec) -> None:
        uuid = spec.uuid
        self._unmake_service(uuid)
        self._netlink.delete(names.bridge(uuid))
        with self._firewall:
            firewall.apply(names.short(uuid), frozenset())
        for directory in (self._run / uuid, self._state / uuid):
            with suppress(FileNotFoundError):
                shutil.rmtree(directory)

    # ------------------------------------------------------------------ look around

    def observe(self) -> tuple[tuple[NetworkSeen, ...], tuple[LinkSeen, ...], tuple[str, ...]]:
        """Never raises: what could not be read is a problem."""
        try:
            links, wall = self._netlink.links(), firewall.seen()
        except HostError as error:
            return (), (), (str(error),)
        uuids = sorted(path.name for path in self._state.glob("*/") if (path / "spec.json").exists())
        networks = tuple(self._observe_one(uuid, links=links, wall=wall) for uuid in uuids)
        known = {names.short(uuid): uuid for uuid in uuids}
        of_bridge = {link.index: link.name[4:] for link in links.values() if link.name.startswith("skb-")}
        ours = [link for link in links.values() if names.OURS.fullmatch(link.name) or link.group == names.GROUP]
        rows = []
        for link in ours:
            short = of_bridge.get(link.master, link.name[4:])
            rows.append(LinkSeen(name=link.name, kind=link.kind, network=known.get(short), up=link.up))
        return networks, tuple(sorted(rows, key=lambda row: row.name)), tuple(_strays(rows, wall, known))

    def _observe_one(self, uuid: str, *, links: dict[str, Link], wall: FirewallSeen) -> NetworkSeen:
        report = functools.partial(NetworkSeen, uuid=uuid, generation=None)
        try:
            found = self._find(uuid, links=links, wall=wall)
            if found.recorded is None:
                return report(healthy=False, detail="its record cannot be read")
            missing = [step.name for step in self.plan(found.recorded, found)]
        except (HostError, OSError, ValueError) as error:
            return report(healthy=False, detail=str(error))
        return report(healthy=not missing, detail=f"to be mended: {', '.join(missing)}" if missing else "")

    def _server(self, uuid: str) -> Server:
        return Server(self._run / uuid, namespace=names.namespace(uuid))

    def _recorded(self, uuid: str) -> NetworkSpec | None:
        try:
            return load(NetworkSpec, json.loads((self._state / uuid / "spec.json").read_text()))
        except (FileNotFoundError, json.JSONDecodeError, HostError):
            return None  # an unreadable record is written anew by the next apply


def _is_bridge(link: Link | None, spec: NetworkSpec) -> bool:
    return link is not None and (
        link.kind == "bridge"
        and link.up
        and link.mtu == spec.mtu
        and link.mac == names.mac("bridge", spec.uuid)
        and link.group == names.GROUP
        and names.alternative(link.name, spec.uuid) in link.alternatives
    )


def _is_service(seen: NetworkFound, spec: NetworkSpec, *, addresses: frozenset[str]) -> bool:
    if not dhcp.served(spec):
        return seen.leg is None and not seen.namespace
    if seen.bridge is None or seen.leg is None or seen.service is None:
        return False
    return (
        seen.leg.up
        and seen.leg.master == seen.bridge.index
        and seen.leg.mtu == seen.service.mtu == spec.mtu
        and seen.leg.group == names.GROUP
        and seen.service.up
        and seen.service.mac == names.mac("service", spec.uuid)
        and seen.service.addresses == addresses
    )


def _strays(rows: list[LinkSeen], wall: FirewallSeen, known: dict[str, str]) -> list[str]:
    """What carries our mark and belongs to no network of this host."""
    strays = [f"link {row.name} belongs to no network of this host" for row in rows if row.network is None]
    strays += [
        f"namespace {name} belongs to no network of this host"
        for name in sorted(namespaces.names())
        if name.startswith("skn-") and name[4:] not in known
    ]
    unknown = sorted({right.tap for right in wall.allowed if right.network not in known})
    return strays + [f"the firewall knows {tap}, of no network of this host" for tap in unknown]
