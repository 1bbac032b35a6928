"""`create_running`, `create_active`, `create_20`: from asking for a guest to its QEMU running, the image cached.

The baseline is a bare `virsh define` and `virsh start` of the same domain on the same host.

The bare domain is our own guest's definition under another name, uuid, MAC and tap, on copies of its files that were
made before the clock started.
"""

from __future__ import annotations

import dataclasses
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlmodel import col

from core.compute.instances import create
from core.compute.instances.create import Created, CreateSpec
from core.operations.operations import OPEN, Operation, State
from core.sql import select
from tests.bench.common import record
from tests.bench.ground import Ground, Starts, ground, median
from tests.e2e.cloud import Cloud
from tests.lab.guest import build
from tests.lab.hosts import LabHost

ROUNDS = 15
CROWD = 20
CROWDS = 2
AT_ONCE = 4
"""Bare starts side by side, as hostd does them."""

STATE = "/var/lib/skydeck/instances"


def run() -> None:
    with ground() as on:
        on.cloud.add_guest(build())
        # The first one carries the image and makes the network; its definition is the twins'. It stays, paused: a
        # network is taken from a host with its last guest.
        with Starts(on.host.libvirt_uri) as starts:
            model = _ask(on.cloud, 1)
            _until_active(on.cloud, model)
            on.cloud.power(model.instances[0].id, "pause")
            with _twins(on.host, model.instances[0].id, CROWD) as twins:
                _one(on, starts, twins[:1])
                _crowd(on, starts, twins)


def _one(on: Ground, starts: Starts, twins: Sequence[str]) -> None:
    running, active, bare, commands = [], [], [], []
    for _ in range(ROUNDS):
        ours = _create(on, starts, 1)
        running.append(ours.running)
        active.append(ours.active)
        theirs = _virsh(on.host, starts, twins)
        bare.append(theirs.running)
        commands.append(theirs.active)
    record("create_running", 1000 * median(running), "ms", 1000 * median(bare), ROUNDS)
    record("create_active", 1000 * median(active), "ms", 1000 * median(commands), ROUNDS)


def _crowd(on: Ground, starts: Starts, twins: Sequence[str]) -> None:
    if not CROWDS:
        return
    ours, bare = [], []
    for _ in range(CROWDS):
        ours.append(_create(on, starts, CROWD).running)
        bare.append(_virsh(on.host, starts, twins).running)
    record(f"create_{CROWD}", 1000 * median(ours), "ms", 1000 * median(bare), CROWDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds since it was asked for."""

    running: float
    """The last QEMU runs, by libvirt's event."""
    active: float
    """The database says ACTIVE, or the last command has returned."""


def _create(on: Ground, starts: Starts, count: int) -> Took:
    began = time.perf_counter()
    made = _ask(on.cloud, count)
    active = _until_active(on.cloud, made) - began
    guests = [instance.id for instance in made.instances]
    running = starts.wait(guests) - began
    for operation in [on.cloud.start_delete(guest) for guest in guests]:
        on.cloud.ended(operation.id)
    return Took(running=running, active=active)


def _ask(cloud: Cloud, count: int) -> Created:
    spec = CreateSpec(name="guest", flavor="m1.tiny", image="tiny", min_count=count, max_count=count)
    return create.create(cloud.store, cloud.config, cloud.ctx, spec)


def _until_active(cloud: Cloud, made: Created) -> float:
    """When the last of these instances was ACTIVE, to two milliseconds."""
    ids = [operation.id for operation in made.operations]
    running = select(col(Operation.id)).where(col(Operation.id).in_(ids), col(Operation.state).in_(OPEN))
    seen = -1
    while True:
        # Asking for the version costs next to nothing: the wait shall not compete with what is waited for.
        if (version := cloud.store.version()) != seen:
            seen = version
            if not cloud.row(lambda session, ctx: session.execute(running.limit(1)).first()):
                break
        time.sleep(0.002)
    at = time.perf_counter()
    for operation in ids:
        assert cloud.operation(operation).state == State.SUCCEEDED, cloud.operation(operation).error
    return at


def _virsh(host: LabHost, starts: Starts, twins: Sequence[str]) -> Took:
    line = "virsh -q define /root/{}.xml >/dev/null && virsh -q start {} >/dev/null"
    command = host.enter(["xargs", "-P", str(AT_ONCE), "-I{}", "sh", "-c", line])
    names = "".join(f"{twin}\n" for twin in twins)
    began = time.perf_counter()
    subprocess.run(command, input=names, text=True, check=True)
    active = time.perf_counter() - began
    running = starts.wait(twins) - began
    for twin in twins:
        host.run(["virsh", "-q", "destroy", twin])
        host.run(["virsh", "-q", "undefine", twin])
    return Took(running=running, active=active)


@contextmanager
def _twins(host: LabHost, model: str, count: int) -> Iterator[list[str]]:
    """The uuids, and names, of bare domains: their files are there, their definitions in /root/<uuid>.xml."""
    definition = host.run(["virsh", "dumpxml", "--inactive", f"skydeck-{model}"]).stdout
    twins = [str(uuid.uuid4()) for _ in range(count)]
    for number, twin in enumerate(twins):
        xml = definition.replace(f"skydeck-{model}", twin).replace(model, twin)
        xml = xml.replace("fa:16:3e:", f"fa:16:{number:02x}:").replace(
            "<target dev='skt-", f"<target dev='t{number:02}-"
        )
        host.run(["sh", "-c", f"cat > /root/{twin}.xml"], input=xml)
        host.run(["cp", "-a", f"{STATE}/{model}", f"{STATE}/{twin}"])
    yield twins
    for twin in twins:
        host.run(["rm", "-r", f"{STATE}/{twin}", f"/root/{twin}.xml"])
