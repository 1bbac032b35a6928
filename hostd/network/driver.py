"""All of a host's networking, made as its document says: the parts, in an order that never leaves a guest unguarded.

Everything is found again by name and mark (see `names`), so what is here is read from the kernel and not from memory.
STATE/networking.json holds the document last asked for, for looks and for taps that appear later.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

from hostd.drivers import Happened, NetworkingObserved, Step, StepContext
from hostd.network import checks, firewall, names, namespaces, rtnetlink
from hostd.network.document import Document
from hostd.network.firewall import Backend, Firewall
from hostd.network.forwarding import Forwarding
from hostd.network.links import Links
from hostd.network.netlink import Netlink
from hostd.network.part import Part, World
from hostd.network.routers import Routers
from hostd.network.services import Dhcp, MetadataPart
from hostd.network.shaping import Shaping
from hostd.network.taps import TapWatch
from hostd.spec import (
    ErrorCode,
    HostCheck,
    HostError,
    LinkSeen,
    Metadata,
    NetworkingSeen,
    NetworkingSpec,
    NetworkSeen,
    ObjectKind,
    PowerState,
    Trace,
    Traced,
    Want,
    dump,
    load,
)

log = logging.getLogger(__name__)

DIAL_PATIENCE: Final = 10.0
"""Seconds a guest gets to take a connection."""

RECORD: Final = "record"
FORGET: Final = "forget"
DEEP: Final = "deep"
"""An argument of every step: whether everything was read to plan it."""
UNMET: Final = "unmet"
"""No step that makes anything: it fails, with what this host cannot do, after everything else was done."""


@attrs.frozen(kw_only=True)
class Found:
    """What there is, as each part sees it, and for which document it was looked at."""

    document: Document | None
    """The one to be planned for; None before a plan names it."""
    recorded: NetworkingSpec | None
    world: World


class NetworkingDriver:
    """Converges NetworkingSpecs; see hostd.drivers.Networking for the calls."""

    kind = ObjectKind.NETWORKING

    def __init__(self, *, state: Path, run: Path) -> None:
        self._file = state / "networking.json"
        self._netlink = Netlink()
        self._links = Links(self._netlink, calls_iptables=_calls_iptables)
        self._dhcp = Dhcp(run)
        self._metadata = MetadataPart()
        self._routers = Routers(self._netlink, run=run)
        self._shaping = Shaping(self._netlink)
        self._parts: tuple[Part[Any], ...] = (
            Firewall(),
            self._links,
            Forwarding(),
            self._routers,
            self._dhcp,
            self._metadata,
            self._shaping,
        )
        self._taps = TapWatch(self._tap_appeared)
        self._checked: Document | None = None
        """The last document that was checked: one apply asks for it at every step."""
        self._planned: dict[str, Step] = {}
        """What was planned and nothing has been done since; empty once something has."""
        self._acting = threading.Lock()
        """Looks come while a document is applied, and taps while a look is taken."""

    @property
    def steps(self) -> tuple[str, ...]:
        makes = [name for part in self._parts for name in part.steps]
        takes = [name for part in reversed(self._parts) for name in part.removals]
        return (RECORD, *makes, *takes, FORGET)

    def start(self, on_event: Callable[[Happened], None], metadata_of: Callable[[str], Metadata | None]) -> None:
        self._netlink.start()
        self._routers.start()
        self._dhcp.start(on_event)
        self._metadata.start(metadata_of)
        self._taps.start()

    def stop(self) -> None:
        self._taps.stop()
        self._metadata.stop()
        self._dhcp.stop()
        self._routers.stop()
        self._netlink.stop()

    # ------------------------------------------------------------------ converge

    def seen(self, uuid: str) -> Found:
        """Raises HostError(NETWORK) when the kernel cannot be asked."""
        return Found(document=None, recorded=self._recorded(), world=_look())

    def plan(self, spec: NetworkingSpec, seen: Found) -> tuple[Step, ...]:
        """Raises HostError(NETWORK) for a document that cannot be; nothing happened then. What the parts need to know
        besides the links is read here: it depends on the document."""
        document = self._document(spec)
        # Who asks for the same again wants it looked at: what marks say is not believed then.
        deep = seen.recorded == spec
        makes: list[Step] = []
        takes: list[Step] = []
        for part in self._parts:
            found = part.plan(document, part.seen(document, seen.world, deep=deep))
            steps = [Step(step.name, {**step.args, DEEP: deep}) for step in found]
            if isinstance(part, Forwarding) and not steps and any(step.name == "links" for step in makes):
                # A link that is made anew, or a bridge whose address is set, has forgotten what it was told.
                steps = [Step(name, {DEEP: deep}) for name in part.steps]
            makes += [step for step in steps if step.name in part.steps]
            takes = [step for step in steps if step.name in part.removals] + takes
        record = (Step(RECORD),) if document.present and seen.recorded != spec else ()
        forget = (Step(FORGET),) if not document.present and seen.recorded is not None else ()
        unmet = self._links.unmet(document, seen.world.links)
        complain = (Step(UNMET, {"why": list(unmet)}),) if unmet else ()
        planned = (*record, *makes, *takes, *forget, *complain)
        self._planned = {step.name: step for step in planned}
        return planned

    def execute(self, step: Step, spec: NetworkingSpec, context: StepContext) -> None:
        """Raises HostError(NETWORK) with the cause."""
        with self._acting:
            if step.name == RECORD:
                self._record(spec)
            elif step.name == UNMET:
                hint = "All the rest was done. skydeck host set NAME --physnet or --vtep says how it is reached."
                raise HostError(ErrorCode.NETWORK, "; ".join(step.args["why"]), hint=hint)
            elif step.name == FORGET:
                self._file.unlink(missing_ok=True)
            else:
                self._again(step, self._document(spec))

    def result(self, spec: NetworkingSpec) -> tuple[PowerState | None, dict[str, Any]]:
        return None, {"networks": len(spec.networks), "ports": len(spec.ports)}

    def _again(self, step: Step, document: Document) -> None:
        """Do a step of a part, as the part sees it now: the steps before it may have changed what there is to do."""
        part = next(part for part in self._parts if step.name in (*part.steps, *part.removals))
        planned, self._planned = self._planned, {}
        if planned.get(step.name) is step:
            part.execute(step, document)  # the first: it is as it was planned
            return
        for now in part.plan(document, part.seen(document, _look(), deep=bool(step.args.get(DEEP)))):
            if now.name == step.name:
                part.execute(now, document)

    def _document(self, spec: NetworkingSpec) -> Document:
        if self._checked is not None and self._checked.spec is spec:
            return self._checked
        try:
            self._checked = Document(spec)
            return self._checked
        except ValueError as bad:
            raise HostError(ErrorCode.NETWORK, f"the networking of {spec.uuid} cannot be: {bad}") from bad

    # ------------------------------------------------------------------ look around

    def observe(self) -> NetworkingObserved:
        """Never raises: what could not be read is a problem."""
        spec = self._recorded()
        if spec is None:
            return NetworkingObserved(
                networking=NetworkingSeen(generation=None, healthy=True, detail="nothing was asked for yet")
            )
        try:
            with self._acting:
                return self._observe(self._document(spec))
        except (HostError, OSError) as bad:
            seen = NetworkingSeen(generation=None, healthy=False, detail=str(bad))
            return NetworkingObserved(networking=seen, problems=(f"networking cannot be looked at: {bad}",))

    def _observe(self, document: Document) -> NetworkingObserved:
        world = _look()
        faults: dict[str, list[str]] = {}
        wrong: list[str] = []
        for part in self._parts:
            seen = part.seen(document, world, deep=True)
            for uuid, why in part.faults(document, seen).items():
                faults.setdefault(uuid, []).append(why)
            wrong += [step.name for step in part.plan(document, seen)]
        whole = "; ".join(faults.get("", ()))
        return NetworkingObserved(
            networking=NetworkingSeen(
                generation=None,
                healthy=not wrong and not whole,
                detail=whole or (f"to be mended: {', '.join(wrong)}" if wrong else ""),
                backend=firewall.backend().value,
                checks=self._checks(document, world),
            ),
            networks=tuple(
                NetworkSeen(uuid=uuid, healthy=uuid not in faults, detail="; ".join(faults.get(uuid, ())))
                for uuid in sorted(document.networks)
            ),
            links=_ours(document, world),
        )

    def _checks(self, document: Document, world: World) -> tuple[HostCheck, ...]:
        return checks.checks(document, dict(world.links), calls_iptables=_calls_iptables())

    def trace(self, asked: Trace) -> Traced:
        spec = self._recorded()
        if spec is None or all(port.uuid != asked.port for port in spec.ports):
            raise HostError(ErrorCode.NOT_FOUND, f"port {asked.port} is not on this host")
        from hostd.network.trace import hops

        return Traced(hops=hops(self._document(spec), _look(), asked))

    def dial(self, network: str, address: str, port: int) -> socket.socket:
        try:
            # Who asks with something that is no uuid or no address has no path from here.
            name = names.namespace(network)
            where = (str(ipaddress.ip_address(address)), port)
        except ValueError as bad:
            raise HostError(ErrorCode.PROTOCOL, str(bad)) from bad
        if not namespaces.exists(name):
            raise HostError(ErrorCode.NOT_FOUND, f"network {network} has no namespace on this host")
        try:
            # A socket stays in the namespace it was made in.
            with namespaces.inside(name):
                return socket.create_connection(where, timeout=DIAL_PATIENCE)
        except OSError as bad:
            raise HostError(
                ErrorCode.NETWORK,
                f"{address} port {port} does not answer: {bad.strerror or bad}",
                hint="its security groups must let TCP in, and something must listen there",
            ) from bad

    # ------------------------------------------------------------------ taps

    def _tap_appeared(self, name: str) -> None:
        """A guest was plugged in: what its tap needs is given to it. On the watch's thread."""
        try:
            with self._acting:
                spec = self._recorded()
                if spec is None or all(names.tap(port.uuid) != name for port in spec.ports):
                    return
                document = self._document(spec)
                for step in self._shaping.plan(document, self._shaping.seen(document, _look(), deep=False)):
                    self._shaping.execute(step, document)
        except (HostError, OSError) as bad:
            log.warning("tap %s: %s", name, bad)  # a look tells of it, and the next document mends it

    # ------------------------------------------------------------------ the record

    def _record(self, spec: NetworkingSpec) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".new")
        partial.write_text(json.dumps(dump(spec)))
        partial.replace(self._file)

    def _recorded(self) -> NetworkingSpec | None:
        try:
            spec = load(NetworkingSpec, json.loads(self._file.read_text()))
        except (FileNotFoundError, json.JSONDecodeError, HostError):
            return None  # an unreadable record is written anew by the next document
        return None if spec.want is Want.ABSENT else spec


def _look() -> World:
    try:
        return World(links=rtnetlink.links(), namespaces=namespaces.names())
    except OSError as bad:
        raise HostError(ErrorCode.NETWORK, f"reading links: {bad}") from bad


def _calls_iptables() -> bool:
    return firewall.backend() is Backend.BR_NETFILTER


def _ours(document: Document, world: World) -> tuple[LinkSeen, ...]:
    """Our links, each with the network it belongs to."""
    short = {names.short(uuid): uuid for uuid in document.networks}
    bridges = {link.index: short.get(link.name[4:]) for link in world.links.values() if link.name.startswith("skb-")}
    found = []
    for link in world.links.values():
        if names.OURS.fullmatch(link.name) or link.group == names.GROUP:
            network = bridges.get(link.master) or short.get(link.name[4:])
            found.append(LinkSeen(name=link.name, kind=link.kind, network=network, up=link.up))
    return tuple(sorted(found, key=lambda link: link.name))
