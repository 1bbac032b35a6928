"""Following a packet through the cloud: from one of a project's ports to an address, hop by hop, on every host.

The path is worked out from the database; each host then tells its own hops, what they are told to do against what is
really there. The first hop that drops, or is missing, is the answer.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from sqlmodel import Session, col

from core.compute.instances import verbs
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.hosts.hosts import Host
from core.identity.policy import allowed, authorize
from core.network import fabric, ports
from core.network.tables import GUEST, HOST_GATEWAY, FixedIP, FloatingIP, Port
from core.sql import select
from hostd.spec import Hop, Trace, Traced, Verdict

PROTOCOLS = ("icmp", "icmpv6", "tcp", "udp", "sctp")


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """One of our ports, where it is."""

    port_id: str
    host_id: str
    host: str
    """As the asker may see it: its name, or which end it is."""
    address: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Path:
    """What is to be asked of whom."""

    source: End
    target: End | None
    """The port behind the address; None for an address that is nobody's here."""
    address: str
    """Where the packet is sent to."""
    seen_from: str
    """What the target sees it come from."""
    protocol: str
    first: int | None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Path:
        target = plain["target"]
        ends = {"source": End(**plain["source"]), "target": None if target is None else End(**target)}
        return cls(**{**plain, **ends})

    def asks(self) -> list[tuple[str, Trace]]:
        """(host id, question), in the order the packet goes."""
        common = {"protocol": self.protocol, "first": self.first}
        found = [
            (self.source.host_id, Trace(port=self.source.port_id, outgoing=True, address=self.address, **common))  # type: ignore[arg-type]
        ]
        if self.target is not None:
            question = Trace(port=self.target.port_id, outgoing=False, address=self.seen_from, **common)  # type: ignore[arg-type]
            found.append((self.target.host_id, question))
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A hop, and the host it is on."""

    host: str
    hop: Hop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Followed:
    steps: tuple[Step, ...]

    @property
    def stopped(self) -> Step | None:
        """The first hop that does not let it through; None when all do."""
        return next((step for step in self.steps if step.hop.verdict in (Verdict.DROP, Verdict.MISSING)), None)


def plan(
    session: Session, ctx: Context, source: str, destination: str, *, protocol: str = "icmp", port: int | None = None
) -> Path:
    """From an instance or port (id or name) to an address, instance or port.

    Raises NotFound, Invalid for a protocol or address that makes no sense, Conflict for a source that is on no host.
    """
    authorize(ctx, "network:list")
    if protocol not in PROTOCOLS:
        raise Invalid(f"unknown protocol {protocol!r}", hint=f"One of {', '.join(PROTOCOLS)}.")
    candidates = _ports_named(session, ctx, source)
    bound = [found for found in candidates if found.host_id]
    if not bound:
        raise Conflict(
            f"{source} is plugged in on no host", hint="Start it first; skydeck server show says where it is."
        )
    start, address = _meeting(session, ctx, bound, destination)
    six = ipaddress.ip_address(address).version == 6
    own = [ip for ip in ports.addresses(session, start.id) if (":" in ip) is six]
    if not own:
        raise Invalid(f"{source} has no IPv{6 if six else 4} address to send from")
    begin = _end(session, ctx, start, own[0], "source host")
    target, seen_from = _behind(session, ctx, start, begin, address)
    if six and protocol == "icmp":
        protocol = "icmpv6"
    return Path(source=begin, target=target, address=address, seen_from=seen_from, protocol=protocol, first=port)


def follow(path: Path, answers: list[Traced | str]) -> Followed:
    """The hosts' answers to `asks`, as one way; an answer may be the reason why there is none."""
    ends = [path.source] + ([path.target] if path.target is not None else [])
    steps: list[Step] = []
    for end, answer in zip(ends, answers, strict=True):
        if isinstance(answer, str):
            hop = Hop(kind="host", name=end.host, verdict=Verdict.UNKNOWN, seen=answer)
            steps.append(Step(host=end.host, hop=hop))
        else:
            steps += [Step(host=end.host, hop=hop) for hop in answer.hops]
    return Followed(steps=tuple(steps))


def _ports_named(session: Session, ctx: Context, name: str) -> list[Port]:
    """The ports of an instance, or the one port, of this name."""
    try:
        instance = verbs.find(session, ctx, name)
    except NotFound:
        return [ports.find(session, ctx, name)]
    found = ports.of_device(session, instance.id)
    if not found:
        raise Conflict(f"{instance.name} has no port")
    return found


def _meeting(session: Session, ctx: Context, sources: list[Port], destination: str) -> tuple[Port, str]:
    """Which port it leaves by, and the address it goes to: of an instance, the one nearest to a port of the source."""
    try:
        return sources[0], str(ipaddress.ip_address(destination))
    except ValueError:
        pass
    targets = _ports_named(session, ctx, destination)
    for source in sources:
        near = fabric.joined(session, {source.network_id})
        for target in sorted(targets, key=lambda port: port.network_id != source.network_id):
            if target.network_id in near and (found := ports.addresses(session, target.id)):
                return source, found[0]
    raise Invalid(
        f"no network of the source leads to {destination}",
        hint="Join their networks with a router, or give it a floating IP and trace to that.",
    )


def _behind(session: Session, ctx: Context, start: Port, begin: End, address: str) -> tuple[End | None, str]:
    """The port behind an address, as reached from the source, and what it sees the packet come from."""
    near = fabric.joined(session, {start.network_id})
    direct = session.execute(
        select(Port)
        .join(FixedIP, col(FixedIP.port_id) == col(Port.id))
        .where(
            col(FixedIP.ip) == address,
            col(FixedIP.network_id).in_(near),
            col(Port.host_id).is_not(None),
            col(Port.device_owner).startswith(GUEST),
        )
        .limit(1)
    ).scalar_one_or_none()
    if direct is not None:
        return _end(session, ctx, direct, address, "target host"), begin.address
    floating = session.execute(
        select(FloatingIP, Port).where(
            col(FloatingIP.address) == address, col(Port.id) == col(FloatingIP.port_id), col(Port.host_id).is_not(None)
        )
    ).first()
    if floating is None:
        return None, begin.address
    row, port = floating
    return _end(session, ctx, port, str(row.fixed_ip), "target host"), _public(session, start, begin, row.network_id)


def _public(session: Session, start: Port, begin: End, network_id: str) -> str:
    """What a source is seen as on an external network: its floating IP, or its host's address there."""
    own = select(FloatingIP.address).where(
        col(FloatingIP.port_id) == start.id, col(FloatingIP.network_id) == network_id
    )
    shared = (
        select(FixedIP.ip)
        .join(Port, col(Port.id) == col(FixedIP.port_id))
        .where(
            col(Port.device_owner) == HOST_GATEWAY,
            col(Port.device_id) == begin.host_id,
            col(Port.network_id) == network_id,
        )
    )
    for query in (own, shared):
        if found := session.execute(query.limit(1)).scalar_one_or_none():
            return str(found)
    return begin.address


def _end(session: Session, ctx: Context, port: Port, address: str, which: str) -> End:
    assert port.host_id is not None  # only bound ports are asked about
    host = session.get(Host, port.host_id)
    # Which hosts there are is the operator's business.
    name = host.name if host is not None and allowed(ctx, "host:list") else which
    return End(port_id=port.id, host_id=port.host_id, host=name, address=address)
