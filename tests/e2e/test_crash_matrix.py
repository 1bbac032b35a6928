"""The engine, then the host's daemon, is killed at every labelled step there is, one at a time; nothing may be lost.

The labels are enumerated by the code (`core.operations.engine.labels`, `hostd labels`), so that a new step is tested
by itself: one that no scenario meets fails here until a scenario is told of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlmodel import col

from core.compute.instances import interfaces, verbs
from core.compute.instances import snapshots as snapshots_of_servers
from core.compute.instances.nics import Nic
from core.errors import NotFound
from core.hosts import findings, hosts
from core.images import caching
from core.network import auto, fabric, networks, ports, routers, subnets
from core.network.fabric import HostNetworking
from core.operations import engine
from core.operations.operations import Operation, State
from core.sql import select
from core.volumes import backends, backups, qos, snapshots, types, upload, volumes
from core.volumes.tables import LOCAL, Backend, BackendHost, CachedImageRow
from hostd.crash import labels as labels_of
from hostd.relay import STATE
from hostd.serve import drivers
from hostd.spec import Act, Acted, Apply, NetworkingSpec, ObjectKind, Want, dump
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import EAST, SETTINGS, WEST, restore
from tests.e2e.raw import raw_link
from tests.lab import outside

pytestmark = pytest.mark.e2e

GUEST = "guest"
MAZE = "maze"
HOST = EAST

ENGINE_LABELS = engine.labels()
HOST_LABELS = list(labels_of(drivers(state=Path("/nowhere"), run=Path("/nowhere"), memory=False)))

POWER = {
    # operation kind: (the status it starts from, the verb, the status it ends in)
    "instance.start": ("SHUTOFF", "start", "ACTIVE"),
    "instance.stop": ("ACTIVE", "stop", "SHUTOFF"),
    "instance.pause": ("ACTIVE", "pause", "PAUSED"),
    "instance.unpause": ("PAUSED", "unpause", "ACTIVE"),
    "instance.suspend": ("ACTIVE", "suspend", "SUSPENDED"),
    "instance.resume": ("SUSPENDED", "resume", "ACTIVE"),
    "instance.reboot_soft": ("ACTIVE", "reboot_soft", "ACTIVE"),
    "instance.reboot_hard": ("ACTIVE", "reboot_hard", "ACTIVE"),
}

VOLUMES = (
    "instance.attach_volume",
    "instance.detach_volume",
    "volume.limits",
    "volume.create",
    "volume.extend",
    "snapshot.create",
    "snapshot.delete",
    "volume.revert",
    "volume.retype",
    "volume.upload",
    "volume.delete",
    "backup.create",
    "backup.restore",
    "backup.verify",
    "backup.drill",
    "backup.delete",
    "backend.look",
)
"""Scenarios of volumes; of those in a guest's hands, the guest has one of the cases before."""

OF_HOST_STEP = {
    # Where a step of the host is met; those not named here are met by a create.
    "instance.cut": "instance.delete",
    "instance.undefine": "instance.delete",
    "instance.erase": "instance.delete",
    "instance.resume": "instance.resume",
    "instance.unpause": "instance.unpause",
    "instance.pause": "instance.pause",
    "instance.suspend": "instance.suspend",
    "instance.stop": "instance.stop",
    "instance.attach_nics": "instance.attach_interface",
    "instance.detach_nics": "instance.detach_interface",
    "instance.attach_disks": "instance.attach_volume",
    "instance.detach_disks": "instance.detach_volume",
    "instance.limit_disks": "volume.limits",
    "volume": "volume.create",
    "volume.create": "volume.create",
    "volume.delete": "volume.delete",
    "volume.extend": "volume.extend",
    "volume.revert": "volume.revert",
    "snapshot": "snapshot.create",
    "snapshot.snapshot": "snapshot.create",
    "snapshot.delete": "snapshot.delete",
    "export": "instance.create_image",
    "export.export": "instance.create_image",
    "export.delete": "instance.create_image",
    "networking.shaping": "port.limits",
    "networking.shaping_remove": "instance.delete",
    "networking.metadata_remove": "instance.delete",
    "networking.dhcp_remove": "instance.delete",
    "networking.advertisers_remove": "instance.delete",
    "networking.routers_remove": "instance.delete",
    "networking.links_remove": "instance.delete",
    "networking.firewall_remove": "networking.absent",
    "networking.forget": "networking.absent",
    "act.reboot_soft": "instance.reboot_soft",
    "act.reboot_hard": "instance.reboot_hard",
    "act.power_off_found": "act.power_off_found",
    "act.adopt": "act.adopt",
}

OF_HOST_LABEL = {
    # What every apply and every act meets is tried under several.
    "instance:intent": ("instance.create", "instance.delete", "instance.stop"),
    "instance:outcome": ("instance.create", "instance.delete", "instance.stop"),
    "volume:intent": ("volume.create", "volume.delete", "volume.extend"),
    "volume:outcome": ("volume.create", "volume.delete", "volume.extend"),
    "snapshot:intent": ("snapshot.create", "snapshot.delete"),
    "snapshot:outcome": ("snapshot.create", "snapshot.delete"),
    "networking:intent": ("instance.create", "instance.delete"),
    "networking:outcome": ("instance.create", "instance.delete"),
    "act:intent": ("instance.reboot_soft", "instance.reboot_hard"),
    "act:outcome": ("instance.reboot_soft", "instance.reboot_hard"),
}


def _engine_cases() -> Iterator[tuple[str, str]]:
    for label in ENGINE_LABELS:
        noun, _, rest = label.partition(".")
        yield f"{noun}.{rest.partition(':')[0].partition('.')[0]}", label


def _host_cases() -> list[tuple[str, str]]:
    cases = [
        (scenario, label)
        for label in HOST_LABELS
        for scenario in OF_HOST_LABEL.get(label, (OF_HOST_STEP.get(label.partition(":")[0], "instance.create"),))
    ]
    # Those of one verb follow each other: they take over each other's guest and volume.
    order = [*POWER, *VOLUMES]
    return sorted(cases, key=lambda case: order.index(case[0]) if case[0] in order else -1)


@pytest.fixture(scope="module")
def impatient(spine: Cloud) -> Iterator[Cloud]:
    """Guests here have hardly begun to boot: none of them would hear the power button, so none is given the time."""
    spine.configure(**SETTINGS | {"shutdown_timeout": 1})
    restore(spine)
    spine.clear()
    _make_maze(spine)
    yield spine
    spine.configure(**SETTINGS)
    restore(spine)
    spine.clear()
    _take_maze(spine)


def _make_maze(cloud: Cloud) -> None:
    """A network that takes everything a host can do: IPv4 and IPv6, a router, a way out."""
    with cloud.store.write() as session:
        ctx = cloud.ctx
        hosts.update_host(session, ctx, HOST, physnets={"ext": outside.CARD})
        auto.auto(
            session, ctx, cloud.config, physical_network="ext", cidr=outside.CIDR, gateway=outside.GATEWAY,
            pool=("203.0.113.100", "203.0.113.199"),
        )  # fmt: skip
        made = networks.create(session, ctx, cloud.config, name=MAZE)
        router = routers.create(session, ctx, name=MAZE, external_gateway="public")
        for name, cidr, mode in (("four", "10.90.0.0/24", None), ("six", "fd00:90::/64", "slaac")):
            subnets.create(
                session, ctx, name=name, network=made.id, project_id=made.project_id, cidr=cidr, ipv6_mode=mode
            )
            routers.add_subnet(session, ctx, router.id, name)


def _take_maze(cloud: Cloud) -> None:
    with cloud.store.write() as session:
        ctx = cloud.ctx
        routers.unset_gateway(session, ctx, MAZE)
        for name in ("four", "six"):
            routers.remove_subnet(session, ctx, MAZE, name)
        routers.delete(session, ctx, MAZE)
        for name in (MAZE, "public"):
            networks.delete(session, ctx, name)
        hosts.update_host(session, ctx, HOST, physnets={})
    cloud.until_told()


@pytest.fixture
def crashing(impatient: Cloud) -> Cloud:
    """The cloud as the case before left it, its guest included: a new one each time would take most of the time."""
    restore(impatient)
    return impatient


@pytest.mark.parametrize(("scenario", "label"), _engine_cases())
def test_the_engine_dies(crashing: Cloud, scenario: str, label: str) -> None:
    play(crashing, scenario, label, crashing.arm, _engine_again)


@pytest.mark.parametrize(("scenario", "label"), _host_cases())
def test_the_host_daemon_dies(crashing: Cloud, scenario: str, label: str) -> None:
    play(crashing, scenario, label, lambda label: crashing.arm_host(HOST, label), lambda cloud: None)


def _engine_again(cloud: Cloud) -> None:
    cloud.until_engine_ended()
    cloud.start_engine()


def play(cloud: Cloud, scenario: str, label: str, arm: Callable[[str], Path], again: Callable[[Cloud], None]) -> None:
    """Prepare, arm, ask, see the process die, have it started again, and see that the operation came right."""
    act, end = SCENARIOS[scenario](cloud)
    if label.startswith("image:"):
        _forget_images(cloud)
    file = arm(label)
    try:
        operation = act()
        began = time.monotonic()
        cloud.until(lambda: not file.exists() or _over(cloud, operation), f"{label} is met", every=0.01)
        # The last labels are met just after the operation has ended.
        unmet = f"{scenario} meets {label}; when it never does, another scenario must be told of it"
        cloud.until(lambda: not file.exists(), unmet, patience=5, every=0.01)
    finally:
        file.unlink(missing_ok=True)
    again(cloud)
    if operation is not None:
        assert cloud.ended(operation.id).state == State.SUCCEEDED, cloud.operation(operation.id).error
    end()
    print(f"\n{label}: right again after {time.monotonic() - began:.2f} s", end="")
    assert cloud.verify() == []
    assert cloud.findings() == []


def _over(cloud: Cloud, operation: Operation | None) -> bool:
    return operation is not None and cloud.operation(operation.id).state == State.SUCCEEDED


def _forget_images(cloud: Cloud) -> None:
    """The host's cache is empty, and the engine knows."""
    cloud.stop_engine()
    for path in cloud.inside(HOST, f"{STATE}/images").iterdir():
        if path.is_file():
            path.unlink()
    cloud.start_engine()
    cloud.until_up(HOST)


# ---------------------------------------------------------------------------- the scenarios

Scenario = tuple[Callable[[], Operation | None], Callable[[], None]]
"""What is done while the crash point is armed, and what must be so in the end."""


def _with_guest(cloud: Cloud, status: str) -> str:
    """There is one guest, in this state; its id."""
    back = {"SHUTOFF": "start", "PAUSED": "unpause", "SUSPENDED": "resume"}
    there = {"SHUTOFF": "stop", "PAUSED": "pause", "SUSPENDED": "suspend"}
    now = {cloud.status(uuid) for uuid in cloud.instances()}
    if len(now) != 1 or not now <= {"ACTIVE", *back}:
        cloud.clear()
        cloud.launch(GUEST, host=HOST, networks=(MAZE,))
    for verb in (back.get(cloud.status(GUEST)), there.get(status)):
        if verb is not None and cloud.status(GUEST) != status:
            cloud.succeeded(cloud.start_power(GUEST, verb).id)
    return cloud.instance(GUEST).id


def _create(cloud: Cloud) -> Scenario:
    cloud.clear()

    def act() -> Operation:
        return cloud.create(GUEST, host=HOST, networks=(MAZE,), config_drive=True).operations[0]

    return act, lambda: _is(cloud, "ACTIVE")


def _delete(cloud: Cloud) -> Scenario:
    uuid = _with_guest(cloud, "ACTIVE")
    _limit(cloud, 2000)
    cloud.until_told()

    def end() -> None:
        cloud.until_told()
        assert uuid not in cloud.instances()
        assert not cloud.inside(HOST, f"{STATE}/instances/{uuid}").exists()

    return lambda: cloud.start_delete(GUEST), end


def _power(kind: str) -> Callable[[Cloud], Scenario]:
    before, verb, after = POWER[kind]

    def prepare(cloud: Cloud) -> Scenario:
        _with_guest(cloud, before)
        if verb == "reboot_soft":
            return _soft_reboot(cloud)
        return lambda: cloud.start_power(GUEST, verb), lambda: _is(cloud, after)

    return prepare


def _soft_reboot(cloud: Cloud) -> Scenario:
    """Only a guest that has booted hears the button: before, and again after, for the case that follows."""
    if not cloud.boots(GUEST):
        cloud.booted(GUEST)
    boots = cloud.boots(GUEST)

    def end() -> None:
        _is(cloud, "ACTIVE")
        cloud.booted(GUEST, boots=boots + 1)

    return lambda: cloud.start_power(GUEST, "reboot_soft"), end


def _reap(cloud: Cloud) -> Scenario:
    """A guest that a host still has although its instance was deleted: libvirt was given it back by hand."""
    uuid = _with_guest(cloud, "ACTIVE")
    xml = cloud.hosts[HOST].run(["virsh", "dumpxml", "--inactive", uuid]).stdout
    cloud.succeeded(cloud.start_delete(GUEST).id)
    cloud.hosts[HOST].run(["virsh", "define", "/dev/stdin"], input=xml)
    cloud.restart_engine()
    cloud.until(lambda: any(finding.object_id == uuid for finding in cloud.findings()), "the guest is found")

    def end() -> None:
        assert uuid not in cloud.hosts[HOST].run(["virsh", "list", "--all", "--uuid"]).stdout
        assert cloud.findings() == []

    return lambda: cloud.ask(findings.reap, uuid), end


def _repair(cloud: Cloud) -> Scenario:
    _with_guest(cloud, "ACTIVE")
    return lambda: cloud.ask(findings.repair_networking, HOST), lambda: _is(cloud, "ACTIVE")


def _limit(cloud: Cloud, kbit: int) -> None:
    (port,) = cloud.ports(GUEST)
    cloud.ask(ports.set, port.id, ingress_kbit=kbit, egress_kbit=kbit)


def _limits(cloud: Cloud) -> Scenario:
    """A running guest's bandwidth is limited."""
    _with_guest(cloud, "ACTIVE")
    _limit(cloud, 1000)
    cloud.until_told()

    def end() -> None:
        cloud.until_up(HOST)
        cloud.until_told()

    return lambda: _limit(cloud, 3000), end


def _absent(cloud: Cloud) -> Scenario:
    """All networking of a host is taken away, as when the host is removed; the next engine gives it what is its own."""
    cloud.clear()
    cloud.until_told()
    cloud.stop_engine()
    row = cloud.host(HOST)
    with cloud.store.write() as session:
        fabric.renew(session, row.id)
        generation = session.get_one(HostNetworking, row.id).generation
    absent = Apply(
        kind=ObjectKind.NETWORKING,
        uuid=row.id,
        generation=generation,
        spec=dump(NetworkingSpec(uuid=row.id, want=Want.ABSENT)),
    )

    async def ask() -> None:
        async with raw_link(cloud, HOST) as link:
            await link.call_until_known("apply", absent, deadline=30)

    def end() -> None:
        cloud.start_engine()
        cloud.until_up(HOST)
        cloud.until_told()

    return lambda: asyncio.run(ask()), end


def _attach(cloud: Cloud) -> Scenario:
    """A second card for a running guest."""
    _with_guest(cloud, "ACTIVE")
    if not cloud.boots(GUEST):
        cloud.booted(GUEST)
    if len(cloud.ports(GUEST)) > 1:
        cloud.succeeded(_pull(cloud).id)

    def end() -> None:
        _is(cloud, "ACTIVE")
        assert len(cloud.ports(GUEST)) == 2

    return lambda: cloud.ask(interfaces.attach, GUEST, Nic(network=MAZE)), end


def _pull(cloud: Cloud) -> Operation:
    return cloud.ask(interfaces.detach, GUEST, cloud.ports(GUEST)[-1].id)


def _detach(cloud: Cloud) -> Scenario:
    _with_guest(cloud, "ACTIVE")
    if not cloud.boots(GUEST):
        cloud.booted(GUEST)
    if len(cloud.ports(GUEST)) == 1:
        cloud.succeeded(cloud.ask(interfaces.attach, GUEST, Nic(network=MAZE)).id)

    def end() -> None:
        _is(cloud, "ACTIVE")
        assert len(cloud.ports(GUEST)) == 1

    return lambda: _pull(cloud), end


def _update(cloud: Cloud) -> Scenario:
    """A guest's metadata changes while it runs."""
    _with_guest(cloud, "ACTIVE")

    def act() -> Operation:
        cloud.ask(verbs.set_properties, GUEST, {"at": str(time.time_ns())})
        return next(one for one in cloud.open_operations() if one.kind == "instance.update")

    return act, lambda: _is(cloud, "ACTIVE")


# ---------------------------------------------------------------------------- volumes

DATA, THEN, COPY, OTHER = "data", "then", "copy", "other"
"""A volume, a snapshot and a backup of it, and a second backend with the type that asks for it."""


def _with_volume(cloud: Cloud) -> str:
    """There is one volume on the host, without snapshots, free; the id."""
    for uuid in cloud.volumes():
        if cloud.volume(uuid).name != DATA or cloud.volume(uuid).status != "available" or cloud.snapshots(uuid):
            for attachment in cloud.attachments(uuid):
                cloud.detach(attachment.instance_id, uuid)
            cloud.succeeded(cloud.ask(volumes.delete, uuid, cascade=True).id)
    if not cloud.volumes():
        # A volume goes where most room is: to this host, while the other one takes none.
        cloud.ask(hosts.update_host, WEST, enabled=False)
        cloud.add_volume(DATA)
        cloud.ask(hosts.update_host, WEST, enabled=True)
    (uuid,) = cloud.volumes()
    return uuid


def _volume_is(cloud: Cloud, status: str) -> None:
    (uuid,) = cloud.volumes()
    assert cloud.volume(uuid).status == status
    doubled = {path: who for path, who in cloud.open_for_writing().items() if len(who) > 1}
    assert doubled == {}, "a disk is open twice"


def _with_both(cloud: Cloud) -> str:
    """A guest that has booted, and a free volume beside it; the id of the volume."""
    _with_guest(cloud, "ACTIVE")
    if not cloud.boots(GUEST):
        cloud.booted(GUEST)
    return _with_volume(cloud)


def _attach_volume(cloud: Cloud) -> Scenario:
    _with_both(cloud)
    return lambda: cloud.start_attach(GUEST, DATA), lambda: _volume_is(cloud, "in-use")


def _attached(cloud: Cloud) -> str:
    """The guest has the volume; the volume's id."""
    held = [uuid for uuid in cloud.volumes() if cloud.volume(uuid).status == "in-use"]
    if held and cloud.status(GUEST) == "ACTIVE":
        return held[0]
    uuid = _with_both(cloud)
    cloud.attach(GUEST, DATA)
    return uuid


def _detach_volume(cloud: Cloud) -> Scenario:
    _attached(cloud)
    return lambda: cloud.start_detach(GUEST, DATA), lambda: _volume_is(cloud, "available")


def _limit_volume(cloud: Cloud) -> Scenario:
    """The QoS of the volume's type changes while a guest has it: an update of the guest."""
    _attached(cloud)

    def act() -> Operation:
        name = f"q{time.time_ns()}"
        # Other limits than it had: the next case would have nothing to do.
        cloud.ask(qos.create, name=name, specs={"total_iops_sec": str(500 + time.time_ns() % 500)})
        cloud.ask(qos.associate, name, types.DEFAULT)
        return next(one for one in cloud.open_operations() if one.kind == "instance.update")

    return act, lambda: _volume_is(cloud, "in-use")


def _no_volume(cloud: Cloud) -> None:
    """There is none, and whatever is made goes to the host, until WEST is enabled again."""
    if cloud.volumes():
        cloud.succeeded(cloud.ask(volumes.delete, _with_volume(cloud), cascade=True).id)
    cloud.ask(hosts.update_host, WEST, enabled=False)


def _create_volume(cloud: Cloud) -> Scenario:
    _no_volume(cloud)

    def end() -> None:
        cloud.ask(hosts.update_host, WEST, enabled=True)
        _volume_is(cloud, "available")

    return lambda: cloud.start_volume(DATA, image="tiny")[1], end


def _of_volume(verb: Callable[[Cloud, str], Operation], *, snapshot: bool = False) -> Callable[[Cloud], Scenario]:
    """Something done to a volume that nobody has."""

    def prepare(cloud: Cloud) -> Scenario:
        uuid = _with_volume(cloud)
        if snapshot:
            cloud.snapshot(uuid, THEN)

        def end() -> None:
            if cloud.volumes():
                _volume_is(cloud, "available")

        return lambda: verb(cloud, uuid), end

    return prepare


def _add_backend(cloud: Cloud, name: str) -> None:
    """A directory of each host's own."""
    for host in cloud.hosts.values():
        host.run(["mkdir", "-p", f"{STATE}/{name}"])
    cloud.ask(backends.create, name=name, driver="file", options={"path": f"{STATE}/{name}"})


def _retype(cloud: Cloud, uuid: str) -> Operation:
    """To the backend where it is not, by a type of either's."""
    with cloud.store.write() as session:
        there = {row.name for row in session.execute(select(Backend)).scalars()}
    if OTHER not in there:
        _add_backend(cloud, OTHER)
        for name in (LOCAL, OTHER):
            cloud.ask(types.create, name=name, extra_specs={"volume_backend_name": name})
    with cloud.store.read() as session:
        now_on = session.get_one(Backend, cloud.volume(uuid).backend_id).name
        reached = select(BackendHost.backend_id).join(Backend, col(Backend.id) == col(BackendHost.backend_id))
        query = reached.where(col(Backend.name) == OTHER, col(BackendHost.reachable))
    cloud.until(lambda: cloud.store_has(query), "the other backend is reached")
    to = LOCAL if now_on == OTHER else OTHER
    return cloud.ask(volumes.retype, cloud.config, uuid, type=to, migration_policy="on-demand")


def _back_up(cloud: Cloud) -> Operation:
    operation: Operation = cloud.ask(backups.create, cloud.config, volume=DATA, name=COPY)[1]
    return operation


def _of_backup(verb: Callable[[Cloud], Operation], *, there: bool = True) -> Callable[[Cloud], Scenario]:
    """Something done to a backup, or to a volume that has none yet. The volume has a system that boots."""

    def prepare(cloud: Cloud) -> Scenario:
        _no_volume(cloud)
        cloud.add_volume(DATA, image="tiny")
        cloud.ask(hosts.update_host, WEST, enabled=True)
        if there:
            cloud.succeeded(_back_up(cloud).id)

        def end() -> None:
            with contextlib.suppress(NotFound):
                cloud.succeeded(cloud.ask(backups.delete, COPY, force=True).id)
            _volume_is(cloud, "available")

        return lambda: verb(cloud), end

    return prepare


def _look(cloud: Cloud) -> Scenario:
    """A backend that no volume is on, which both hosts look for."""
    name = f"b{time.time_ns()}"

    def act() -> Operation:
        _add_backend(cloud, name)
        mine = cloud.host(HOST).id
        return next(
            one for one in cloud.open_operations() if one.kind == "backend.look" and one.object_id.endswith(mine)
        )

    return act, lambda: cloud.ask(backends.delete, name)


def _create_image(cloud: Cloud) -> Scenario:
    _with_guest(cloud, "ACTIVE")
    name = f"of-guest-{time.time_ns()}"

    def end() -> None:
        _is(cloud, "ACTIVE")
        cloud.delete_image(name)

    return lambda: cloud.ask(snapshots_of_servers.create_image, cloud.config, GUEST, name=name)[1], end


def _prefetch(cloud: Cloud) -> Scenario:
    _forget_images(cloud)
    held = select(CachedImageRow.digest).where(col(CachedImageRow.host_id) == cloud.host(HOST).id)
    cloud.until(lambda: not cloud.store_has(held.where(col(CachedImageRow.present))), "the cache is seen to be empty")

    def act() -> Operation:
        (operation,) = cloud.ask(caching.prefetch, "tiny", hosts=[HOST])
        return operation

    return act, lambda: None


def _prune(cloud: Cloud) -> Scenario:
    return lambda: cloud.ask(caching.prune, HOST), lambda: None


def _act(verb: str, status: str) -> Callable[[Cloud], Scenario]:
    """An act of the host that no operation asks for yet."""

    def prepare(cloud: Cloud) -> Scenario:
        uuid = _with_guest(cloud, "ACTIVE")
        body = Act(request=f"by hand {time.time_ns()}", verb=verb, uuid=uuid)

        async def ask() -> Acted:
            async with raw_link(cloud, HOST) as link:
                answer: Acted = await link.call_until_known("act", body, deadline=30)
                return answer

        def end() -> None:
            assert asyncio.run(ask()).request == body.request, "asked again, it answers as it did"
            cloud.until(lambda: cloud.status(GUEST) == status, f"the guest is {status}")

        def act() -> None:
            with contextlib.suppress(TimeoutError):
                asyncio.run(ask())

        return act, end

    return prepare


def _is(cloud: Cloud, status: str) -> None:
    assert cloud.status(GUEST) == status
    assert len(cloud.instances()) == 1


SCENARIOS: dict[str, Callable[[Cloud], Scenario]] = {
    "instance.create": _create,
    "instance.delete": _delete,
    **{kind: _power(kind) for kind in POWER},
    "guest.reap": _reap,
    "host.repair_networking": _repair,
    "instance.update": _update,
    "instance.attach_interface": _attach,
    "instance.detach_interface": _detach,
    "instance.attach_volume": _attach_volume,
    "instance.detach_volume": _detach_volume,
    "volume.limits": _limit_volume,
    "volume.create": _create_volume,
    "volume.delete": _of_volume(lambda cloud, uuid: cloud.ask(volumes.delete, uuid)),
    "volume.extend": _of_volume(
        lambda cloud, uuid: cloud.ask(volumes.extend, uuid, size_gb=cloud.volume(uuid).size_gb + 1)
    ),
    "volume.revert": _of_volume(lambda cloud, uuid: cloud.ask(volumes.revert, uuid, snapshot=THEN), snapshot=True),
    "volume.retype": _of_volume(_retype),
    "volume.upload": _of_volume(
        lambda cloud, uuid: cloud.ask(upload.upload, cloud.config, uuid, image_name="of-data")[1]
    ),
    "snapshot.create": _of_volume(lambda cloud, uuid: cloud.ask(snapshots.create, volume=uuid, name=THEN)[1]),
    "snapshot.delete": _of_volume(lambda cloud, uuid: cloud.ask(snapshots.delete, THEN), snapshot=True),
    "backup.create": _of_backup(_back_up, there=False),
    "backup.restore": _of_backup(lambda cloud: cloud.ask(backups.restore, cloud.config, COPY, volume=DATA)[1]),
    "backup.verify": _of_backup(lambda cloud: cloud.ask(backups.verify, COPY)),
    "backup.drill": _of_backup(lambda cloud: cloud.ask(backups.drill, cloud.config, COPY)),
    "backup.delete": _of_backup(lambda cloud: cloud.ask(backups.delete, COPY)),
    "backend.look": _look,
    "instance.create_image": _create_image,
    "image.prefetch": _prefetch,
    "host.prune_images": _prune,
    "port.limits": _limits,
    "networking.absent": _absent,
    "act.power_off_found": _act("power_off_found", "SHUTOFF"),
    "act.adopt": _act("adopt", "ACTIVE"),
}
