"""Every label of the engine and of hostd, one at a time: the process dies there, comes back, and nothing is lost or
doubled. The labels are enumerated from the code, so that a new step is tested by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.compute.instances import interfaces, verbs
from core.compute.instances.block_devices import BlockDevice
from core.compute.instances.nics import Nic
from core.hosts import findings
from core.network import networks, ports, subnets
from core.network.tables import Network
from core.operations import operations
from core.operations.engine import labels as engine_labels
from core.operations.kinds import KINDS
from core.operations.operations import Operation
from core.sql import select
from hostd.crash import labels as host_labels
from hostd.serve import drivers
from tests.core.crash import storage
from tests.core.crash.cloudlet import Cloudlet

DISKS = (
    BlockDevice(source_type="volume", uuid="data"),
    BlockDevice(source_type="blank", destination_type="volume", size_gb=1, delete_on_termination=True),
)
"""Of a launch: a volume that is there, and one that is made with it."""

START_FROM = {"instance.start": "stop", "instance.unpause": "pause", "instance.resume": "suspend"}
"""The verb that brings a new instance to where another verb begins."""

ENDS = {
    "instance.create": "ACTIVE", "instance.start": "ACTIVE", "instance.stop": "SHUTOFF", "instance.pause": "PAUSED",
    "instance.unpause": "ACTIVE", "instance.suspend": "SUSPENDED", "instance.resume": "ACTIVE",
    "instance.reboot_soft": "ACTIVE", "instance.reboot_hard": "ACTIVE", "instance.delete": "DELETED",
    "guest.reap": "DELETED", "host.repair_networking": "ACTIVE", "instance.update": "ACTIVE",
    "instance.attach_interface": "ACTIVE", "instance.detach_interface": "ACTIVE",
}  # fmt: skip


@pytest.fixture(scope="module")
def holder(sqlite_template: Path) -> Iterator[Callable[[], Cloudlet]]:
    """Makes a cloudlet, and another one after a test that failed half way."""
    made: list[Cloudlet] = []

    def get() -> Cloudlet:
        if made and made[-1].used:
            made.pop().close()
        if not made:
            made.append(Cloudlet(sqlite_template))
            made[-1].start()
        return made[-1]

    yield get
    for cloudlet in made:
        cloudlet.close()


@pytest.fixture
def cloudlet(holder: Callable[[], Cloudlet]) -> Cloudlet:
    return holder()


def prepare(cloudlet: Cloudlet, kind: str) -> None:
    """An instance, or what else there must be, in the state in which `kind` begins."""
    if kind in storage.SCENARIOS:
        storage.SCENARIOS[kind].prepare(cloudlet)
        return
    if kind == "instance.create":
        storage.a_volume(cloudlet)
        return
    assert cloudlet.ended(cloudlet.create()).state == "succeeded"
    if verb := START_FROM.get(kind):
        assert cloudlet.ended(cloudlet.world.power(verb)).state == "succeeded"
    if kind.endswith("_interface"):
        second_network(cloudlet)
    if kind == "instance.detach_interface":
        assert cloudlet.ended(ask(cloudlet, "instance.attach_interface")).state == "succeeded"
    if kind == "guest.reap":
        instance = cloudlet.world.last_instance()
        assert cloudlet.ended(cloudlet.world.delete()).state == "succeeded"
        record = {"files": True, "name": "web", "power": "running", "quarantined": False}
        (cloudlet.guests / instance.id).write_text(json.dumps(record))
        cloudlet.restart("hostd")  # the engine looks at a host that is back
        cloudlet.found(instance.id)


def second_network(cloudlet: Cloudlet) -> None:
    world = cloudlet.world
    with world.store.write() as session:
        if not any(network.name == "second" for network in session.execute(select(Network)).scalars()):
            made = networks.create(session, world.admin, world.config, name="second")
            subnets.create(
                session, world.admin, name="second", network=made.id, project_id=made.project_id, cidr="10.77.0.0/24"
            )


def on_second(cloudlet: Cloudlet) -> list[str]:
    """The addresses of the instance's ports on the second network."""
    with cloudlet.store.read() as session:
        mine = ports.of_device(session, cloudlet.world.last_instance().id)
        return [ip for port in mine for ip in ports.addresses(session, port.id) if ip.startswith("10.77.")]


def ask(cloudlet: Cloudlet, kind: str) -> Operation:
    """Have an operation of `kind` accepted."""
    world = cloudlet.world
    if kind in storage.SCENARIOS:
        return storage.SCENARIOS[kind].ask(cloudlet)
    if kind == "instance.create":
        return world.create(image=cloudlet.image(), block_devices=DISKS).operations[0]
    if kind == "instance.delete":
        return world.delete()
    if kind == "guest.reap":
        with world.store.write() as session:
            return findings.reap(session, world.admin, world.last_instance().id)
    if kind == "host.repair_networking":
        with world.store.write() as session:
            return findings.repair_networking(session, world.admin, cloudlet.host_id)
    if kind == "instance.update":
        with world.store.write() as session:
            verbs.set_properties(session, world.admin, "web", {"role": "db"})
        return world.operations()[-1]
    if kind == "instance.attach_interface":
        with world.store.write() as session:
            return interfaces.attach(session, world.admin, "web", Nic(network="second"))
    if kind == "instance.detach_interface":
        (address,) = on_second(cloudlet)
        with world.store.write() as session:
            return interfaces.detach(session, world.admin, "web", address)
    return world.power(kind.removeprefix("instance."))


def clean_up(cloudlet: Cloudlet) -> None:
    """Ready for the next: no instance, no volume, and the cloud is still whole."""
    for instance in cloudlet.world.live():
        assert cloudlet.ended(cloudlet.world.delete(instance.id)).state == "succeeded"
    storage.clear(cloudlet)
    check(cloudlet)


def check(cloudlet: Cloudlet) -> None:
    seen = cloudlet.check()
    with cloudlet.store.read() as session:
        storage.check(session, cloudlet, {domain.uuid: set(domain.volumes or ()) for domain in seen.domains})


def is_as(cloudlet: Cloudlet, kind: str) -> None:
    """What was asked for is so."""
    if kind in storage.SCENARIOS:
        assert storage.statuses(cloudlet) | storage.SCENARIOS[kind].ends == storage.statuses(cloudlet)
        return
    assert cloudlet.world.last_instance().status == ENDS[kind]
    assert len(on_second(cloudlet)) == (kind == "instance.attach_interface")


def survive(cloudlet: Cloudlet, kind: str, *, what: str, label: str) -> None:
    cloudlet.used = True
    prepare(cloudlet, kind)
    cloudlet.arm(what, label)
    operation = ask(cloudlet, kind)
    cloudlet.died(what)
    cloudlet.restart(what)
    ended = cloudlet.ended(operation)
    assert (ended.state, ended.error) == ("succeeded", None), ended.error
    is_as(cloudlet, kind)
    check(cloudlet)
    clean_up(cloudlet)
    cloudlet.used = False


NOT_IN_MEMORY = ("backup.drill",)
"""What ends well only with guests that boot: the long tests on real hosts have it."""

QUICK = ("instance.create", "instance.delete", "instance.stop", "instance.reboot_soft", "instance.reboot_hard")
"""The rest differ from these in one word only, and are left to the long tests."""


def _kind(label: str) -> str:
    return ".".join(label.partition(":")[0].split(".")[:2])


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(label, marks=() if _kind(label) in QUICK else pytest.mark.e2e)
        for label in engine_labels()
        if _kind(label) not in NOT_IN_MEMORY
    ],
)
def test_the_engine_dies(cloudlet: Cloudlet, label: str) -> None:
    survive(cloudlet, _kind(label), what="serve", label=label)


def _host_labels() -> list[str]:
    nowhere = Path("/nonexistent")
    return list(host_labels(drivers(state=nowhere, run=nowhere, memory=True)))


MEETS: dict[str, tuple[str, ...]] = {
    # Which of hostd's steps an operation comes by. Intents and outcomes are met by all that touch their kind.
    "instance.create": (
        "image:", "networking:", "networking.firewall", "networking.links", "networking.routers",
        "instance:", "instance.disks", "instance.define", "instance.start", "volume:", "volume.create",
    ),
    "instance.attach_volume": ("instance.attach_disks",),
    "instance.detach_volume": ("instance.detach_disks",),
    "volume.limits": ("instance.limit_disks",),
    "volume.delete": ("volume:", "volume.delete"),
    "volume.extend": ("volume.extend",),
    "volume.revert": ("volume.revert",),
    "instance.create_image": ("export:", "export.export", "export.delete"),
    "snapshot.create": ("snapshot:", "snapshot.snapshot"),
    "snapshot.delete": ("snapshot:", "snapshot.delete"),
    "instance.delete": ("instance:", "instance.undefine", "instance.delete_disks", "networking:"),
    "instance.stop": ("instance:", "instance.stop"),
    "instance.pause": ("instance.pause",),
    "instance.suspend": ("instance.suspend",),
    "instance.reboot_soft": ("act:", "act.reboot_soft"),
    "instance.reboot_hard": ("act:", "act.reboot_hard"),
}  # fmt: skip

NOT_BY_OPERATIONS = ("act.power_off_found", "act.adopt", "networking.remove")
"""What no operation asks for: acts so far unused, and what only the removal of a host does."""


def meets(kind: str, label: str) -> bool:
    return any(label.startswith(part if part.endswith(":") else f"{part}:") for part in MEETS[kind])


PAIRS = [(kind, label) for kind in MEETS for label in _host_labels() if meets(kind, label)]


def test_every_label_of_hostd_is_met_by_some_operation() -> None:
    met = {label for _, label in PAIRS}
    left = [label for label in _host_labels() if label not in met and not label.startswith(NOT_BY_OPERATIONS)]
    assert left == [], "say in MEETS which operation comes by the new step"


def _long(kind: str, *rest: str) -> Any:
    """A case; one of volumes is left to the long tests."""
    return pytest.param(kind, *rest, marks=pytest.mark.e2e if kind in storage.SCENARIOS else ())


@pytest.mark.parametrize(("kind", "label"), [_long(*pair) for pair in PAIRS])
def test_hostd_dies(cloudlet: Cloudlet, kind: str, label: str) -> None:
    survive(cloudlet, kind, what="hostd", label=label)


UNDONE = [
    (name, step.name)
    for name, kind in KINDS.items()
    for step in kind.steps
    if step.undo is not None and name not in NOT_IN_MEMORY
]


@pytest.mark.parametrize(("kind", "step"), [_long(*case) for case in UNDONE])
def test_the_engine_dies_undoing(cloudlet: Cloudlet, kind: str, step: str) -> None:
    """Cancelled while nobody worked on it, and then killed again while it is taken back."""
    cloudlet.used = True
    prepare(cloudlet, kind)
    last = KINDS[kind].steps[-1].name
    cloudlet.arm("serve", f"{kind}.{last}:after")
    operation = ask(cloudlet, kind)
    cloudlet.died("serve")
    with cloudlet.store.write() as session:
        operations.cancel(session, cloudlet.world.admin, operation.id)
    cloudlet.arm("serve", f"{kind}.{step}:undo")
    cloudlet.restart("serve")
    cloudlet.died("serve")
    cloudlet.restart("serve")
    assert cloudlet.ended(operation).state == "cancelled"
    if kind in storage.SCENARIOS:
        undone = storage.SCENARIOS[kind].cancelled
        assert undone is not None, "say in SCENARIOS what it is when it is cancelled"
        assert storage.statuses(cloudlet) | undone == storage.statuses(cloudlet)
    elif kind == "instance.create":
        instance = cloudlet.world.last_instance()
        assert (instance.status, instance.host_id) == ("ERROR", None)
    else:
        assert cloudlet.world.last_instance().status == "ACTIVE"
        assert on_second(cloudlet) == [], "what was plugged in is out again; what was given back stays so"
    check(cloudlet)
    clean_up(cloudlet)
    cloudlet.used = False
