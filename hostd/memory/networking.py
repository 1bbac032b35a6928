"""Networking that is nothing but records: the document of the host, part by part as the real driver has them."""

from __future__ import annotations

import socket
from collections.abc import Callable, MutableMapping
from typing import Any

from hostd.drivers import Happened, NetworkingObserved, Step, StepContext
from hostd.memory.records import Record
from hostd.spec import (
    ErrorCode,
    Hop,
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
    Verdict,
    Want,
    dump,
)


class MemoryNetworking:
    """drivers.Networking over records: the document of the host, part by part as the real driver has them."""

    kind = ObjectKind.NETWORKING
    steps = ("firewall", "links", "routers", "remove")

    def __init__(self, records: MutableMapping[str, Record]) -> None:
        self._records = records

    def start(self, on_event: Callable[[Happened], None], metadata_of: Callable[[str], Metadata | None]) -> None:
        """Nothing happens here by itself."""

    def stop(self) -> None:
        """Nothing runs here."""

    def seen(self, uuid: str) -> Record | None:
        return self._records.get(uuid)

    def plan(self, spec: NetworkingSpec, seen: Record | None) -> tuple[Step, ...]:
        if spec.want is Want.ABSENT:
            return (Step("remove"),) if seen is not None else ()
        here = seen or {}
        return tuple(Step(name) for name in ("firewall", "links", "routers") if here.get(name) != _part(spec, name))

    def execute(self, step: Step, spec: NetworkingSpec, context: StepContext) -> None:
        if step.name == "remove":
            self._records.pop(spec.uuid, None)
        else:
            self._records[spec.uuid] = self._records.get(spec.uuid, {}) | {step.name: _part(spec, step.name)}

    def result(self, spec: NetworkingSpec) -> tuple[PowerState | None, dict[str, Any]]:
        return None, {}

    def observe(self) -> NetworkingObserved:
        uuids = [network["uuid"] for record in self._records.values() for network in record.get("links", ())]
        return NetworkingObserved(
            networking=NetworkingSeen(generation=None, healthy=True, backend="memory"),
            networks=tuple(NetworkSeen(uuid=uuid, healthy=True) for uuid in uuids),
            links=tuple(LinkSeen(name=f"skb-{uuid[:8]}", kind="bridge", network=uuid, up=True) for uuid in uuids),
        )

    def trace(self, asked: Trace) -> Traced:
        for record in self._records.values():
            for port in record.get("firewall", {}).get("ports", ()):
                if port["uuid"] == asked.port:
                    return Traced(hops=(Hop(kind="tap", name=f"skt-{asked.port[:8]}", verdict=Verdict.PASS),))
        raise HostError(ErrorCode.NOT_FOUND, f"port {asked.port} is not on this host")

    def dial(self, network: str, address: str, port: int) -> socket.socket:
        """This machine plays all guests: whatever listens on the port of its loopback answers."""
        if all(seen.uuid != network for seen in self.observe().networks):
            raise HostError(ErrorCode.NOT_FOUND, f"network {network} has no namespace on this host")
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1)
        except OSError as bad:
            raise HostError(ErrorCode.NETWORK, f"{address} port {port} does not answer: {bad.strerror}") from bad


def _part(spec: NetworkingSpec, name: str) -> Any:
    """What a step of MemoryNetworking keeps of the document."""
    plain = dump(spec)
    match name:
        case "firewall":
            return {"ports": plain["ports"], "groups": plain["groups"]}
        case "links":
            return plain["networks"]
        case _:
            return {key: plain[key] for key in ("routers", "gateways", "floating")}
