"""Queues, locks and crashes: whatever is interrupted is done once, and wholly."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.apply import STARTS_AT_ONCE
from hostd.crash import labels
from hostd.fake import FakeHost
from hostd.serve import drivers
from hostd.spec import (
    PROTOCOL,
    Act,
    Apply,
    BackendSpec,
    DiskFormat,
    DiskLimits,
    ErrorCode,
    EventKind,
    ExportSpec,
    Hello,
    HostError,
    ImageRef,
    InstanceSpec,
    NetworkingSpec,
    NetworkSpec,
    ObjectKind,
    Observe,
    Receive,
    SegmentType,
    SnapshotSpec,
    SubnetSpec,
    VolumeDisk,
    VolumeSpec,
    Want,
    Watch,
    dump,
)
from tests.contract.hosts import Daemon, SocketPeer, greeted

IMAGE = b"image" * 10_000
DIGEST = hashlib.sha256(IMAGE).hexdigest()
GUEST = InstanceSpec(
    uuid="11111111-0000-4000-8000-000000000001",
    want=Want.RUNNING,
    name="n",
    project_id="p",
    vcpus=1,
    ram_mb=64,
    root_gb=1,
    image=ImageRef(digest=DIGEST, format=DiskFormat.RAW, size=len(IMAGE), virtual_size=len(IMAGE)),
)
NETWORK = NetworkSpec(
    uuid="22222222-0000-4000-8000-000000000001",
    type=SegmentType.VXLAN,
    segment=1001,
    mtu=1450,
    subnets=(SubnetSpec(id="s", cidr="10.0.0.0/24", gateway=None, dhcp=False, service_ip=None),),
)
NETWORKING = NetworkingSpec(uuid="33333333-0000-4000-8000-000000000001", networks=(NETWORK,))


BACKEND = BackendSpec(uuid="44444444-0000-4000-8000-000000000001", driver="file")
VOLUME = "55555555-0000-4000-8000-000000000001"
SNAPSHOT = "66666666-0000-4000-8000-000000000001"
EXPORT = "77777777-0000-4000-8000-000000000001"
DISK = VolumeDisk(volume=VOLUME, backend=BACKEND)
LIMITED = attrs.evolve(DISK, limits=DiskLimits(total_iops=100))


def instance(want: Want, generation: int, **changes: Any) -> Apply:
    spec = dump(attrs.evolve(GUEST, want=want, **changes))
    return Apply(kind=ObjectKind.INSTANCE, uuid=GUEST.uuid, generation=generation, spec=spec)


def networking(want: Want, generation: int) -> Apply:
    spec = dump(attrs.evolve(NETWORKING, want=want))
    return Apply(kind=ObjectKind.NETWORKING, uuid=NETWORKING.uuid, generation=generation, spec=spec)


def volume(generation: int, *, want: Want = Want.PRESENT, size_gb: int = 1, revert_to: str | None = None) -> Apply:
    spec = VolumeSpec(uuid=VOLUME, want=want, backend=BACKEND, size_gb=size_gb, revert_to=revert_to)
    return Apply(kind=ObjectKind.VOLUME, uuid=VOLUME, generation=generation, spec=dump(spec))


def snapshot(want: Want, generation: int) -> Apply:
    spec = SnapshotSpec(uuid=SNAPSHOT, want=want, volume=VOLUME, backend=BACKEND)
    return Apply(kind=ObjectKind.SNAPSHOT, uuid=SNAPSHOT, generation=generation, spec=dump(spec))


def export(want: Want, generation: int) -> Apply:
    spec = ExportSpec(uuid=EXPORT, want=want, instance=GUEST.uuid, disk=VOLUME)
    return Apply(kind=ObjectKind.EXPORT, uuid=EXPORT, generation=generation, spec=dump(spec))


def act(verb: str) -> Act:
    return Act(request=f"request-{verb}", verb=verb, uuid=GUEST.uuid)


# ---------------------------------------------------------------------------- crashes

LIFE: list[Receive | Apply | Act] = [
    Receive(digest=DIGEST, size=len(IMAGE)),
    networking(Want.PRESENT, 1),
    instance(Want.RUNNING, 1),
    act("reboot_soft"),
    act("reboot_hard"),
    act("adopt"),
    instance(Want.PAUSED, 2),
    instance(Want.SUSPENDED, 3),
    act("power_off_found"),
    volume(1),
    snapshot(Want.PRESENT, 1),
    instance(Want.RUNNING, 4),
    instance(Want.PRESENT, 5, volumes=(DISK,)),
    instance(Want.PRESENT, 6, volumes=(LIMITED,)),
    volume(2, size_gb=2),
    export(Want.PRESENT, 1),
    export(Want.ABSENT, 2),
    instance(Want.PRESENT, 7),
    volume(3, size_gb=2, revert_to=SNAPSHOT),
    snapshot(Want.ABSENT, 2),
    volume(4, want=Want.ABSENT),
    instance(Want.STOPPED, 8),
    instance(Want.ABSENT, 9),
    networking(Want.ABSENT, 2),
]
"""Meets every crash point of the memory drivers at least once."""

LABELS = list(labels(drivers(state=Path("/nowhere"), run=Path("/nowhere"), memory=True)))


@pytest.mark.parametrize("label", LABELS)
async def test_killed_at_any_point_it_ends_as_if_never_killed(label: str, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    await daemon.start(crash=label)
    peer = await greeted(daemon)
    deaths = 0
    for asked in LIFE:
        try:
            await carry(daemon, peer, asked)
        except (ConnectionError, asyncio.IncompleteReadError):
            deaths += 1
            await daemon.died()
            await daemon.start()
            peer = await greeted(daemon)
            if isinstance(asked, Apply):
                await told(daemon, asked)  # by itself, before anybody asks again
            await carry(daemon, peer, asked)
    seen = await peer.call("observe", Observe())
    await daemon.kill()
    assert deaths == 1
    assert (seen.domains, seen.disks, seen.networks) == ((), (), ())
    assert [(image.verified, image.refs) for image in seen.images] == [(True, 0)]
    assert list((tmp_path / "s").glob(f"**/*{VOLUME[:8]}*")) + list((tmp_path / "s").glob("**/*.snap")) == []


async def carry(daemon: Daemon, peer: SocketPeer, asked: Receive | Apply | Act) -> None:
    if isinstance(asked, Receive):
        await (await greeted(daemon)).send_image(asked, IMAGE)
    else:
        await peer.call("apply" if isinstance(asked, Apply) else "act", asked)


async def told(daemon: Daemon, asked: Apply) -> None:
    """The RESULT of an apply arrives, and it is good."""
    peer = await greeted(daemon)
    await peer.call("watch", Watch(from_seq=0))
    async for event in peer.events():
        if event.kind is EventKind.RESULT and (event.uuid, event.detail["generation"]) == (
            asked.uuid,
            asked.generation,
        ):
            assert event.detail["ok"]
            return


async def test_a_point_is_armed_by_file_and_fires_once(tmp_path: Path) -> None:
    async with Daemon(tmp_path) as daemon:
        (daemon.run / "crash").write_text("networking.links:before\n")
        peer = await greeted(daemon)
        with pytest.raises(ConnectionError):
            await peer.call("apply", networking(Want.PRESENT, 1))
        await daemon.restart()
        applied = await (await greeted(daemon)).call("apply", networking(Want.PRESENT, 1))
        # The firewall was there before the crash.
        assert applied.steps == ("links", "routers")


# ---------------------------------------------------------------------------- queues


@pytest.fixture
async def host() -> FakeHost:
    host = FakeHost()
    host.put_image(IMAGE)
    await greet(host)
    return host


async def greet(host: FakeHost) -> None:
    await host.call("hello", Hello(protocol=PROTOCOL, cloud="c", term=1, host=None))


async def begun(host: FakeHost, step: str, count: int = 1) -> None:
    """Wait until that many applies are at `step`."""
    async for event in host.events():
        count -= event.kind is EventKind.PROGRESS and event.detail["step"] == step
        if not count:
            return


async def test_a_newer_generation_makes_a_waiting_one_moot(host: FakeHost) -> None:
    gate = host.hold("disks")
    await host.call("watch", Watch(from_seq=0))
    first = asyncio.create_task(host.call("apply", instance(Want.RUNNING, 1)))
    await begun(host, "disks")
    second = asyncio.create_task(host.call("apply", instance(Want.PAUSED, 2)))
    third = asyncio.create_task(host.call("apply", instance(Want.STOPPED, 3)))
    await asyncio.sleep(0.01)
    gate.set()
    assert (await first).steps == ("disks", "define", "start")
    with pytest.raises(HostError) as moot:
        await second
    assert moot.value.code is ErrorCode.OLD_GENERATION
    assert (await third).steps == ("stop",)


async def test_a_cut_leaves_the_work_going(host: FakeHost) -> None:
    gate = host.hold("define")
    await host.call("watch", Watch(from_seq=0))
    applying = asyncio.create_task(host.call("apply", instance(Want.RUNNING, 1)))
    await begun(host, "define")
    host.cut()
    with pytest.raises(ConnectionResetError):
        await applying
    await greet(host)
    again = asyncio.create_task(host.call("apply", instance(Want.RUNNING, 1)))
    await asyncio.sleep(0)
    gate.set()
    assert (await again).steps == ("disks", "define", "start")


async def test_few_guests_start_at_once(host: FakeHost) -> None:
    gate = host.hold("start")
    await host.call("watch", Watch(from_seq=0))
    specs = [attrs.evolve(GUEST, uuid=f"{number:08}-guest") for number in range(STARTS_AT_ONCE + 2)]
    starting = [
        asyncio.create_task(
            host.call("apply", Apply(kind=ObjectKind.INSTANCE, uuid=spec.uuid, generation=1, spec=dump(spec)))
        )
        for spec in specs
    ]
    await begun(host, "start", STARTS_AT_ONCE)
    disks = (await host.call("observe", Observe())).disks
    assert len(disks) == STARTS_AT_ONCE
    # What does not start anything is not kept waiting.
    await host.call("apply", networking(Want.PRESENT, 1))
    gate.set()
    assert all(applied.steps for applied in await asyncio.gather(*starting))


async def test_a_failing_step_is_named(host: FakeHost) -> None:
    host.fail_next("define", HostError(ErrorCode.LIBVIRT, "no", hint="try"))
    with pytest.raises(HostError) as failed:
        await host.call("apply", instance(Want.RUNNING, 1))
    error = failed.value.error
    assert (error.code, error.message, error.hint, error.step) == (ErrorCode.LIBVIRT, "no", "try", "define")
    assert (await host.call("apply", instance(Want.RUNNING, 1))).steps == ("define", "start")


async def test_a_fault_of_ours_is_an_answer_too(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(host.guests, "plan", broken)
    with pytest.raises(HostError, match="ZeroDivisionError") as failed:
        await host.call("apply", instance(Want.RUNNING, 1))
    assert failed.value.code is ErrorCode.INTERNAL


async def test_transient_failures_of_acts_are_not_kept(host: FakeHost) -> None:
    await host.call("apply", instance(Want.RUNNING, 1))
    host.fail_next("reboot_hard", HostError(ErrorCode.LIBVIRT_DOWN, "away"))
    with pytest.raises(HostError, match="away"):
        await host.call("act", act("reboot_hard"))
    await host.call("act", act("reboot_hard"))


async def test_networking_is_looked_at_after_a_reboot(host: FakeHost) -> None:
    await host.call("apply", networking(Want.PRESENT, 1))
    host.reboot()
    await greet(host)
    await host.call("watch", Watch(from_seq=0))
    async for event in host.events():
        if event.kind is EventKind.RESULT and event.seq > 2:
            break
    assert [seen.uuid for seen in (await host.call("observe", Observe())).networks] == [NETWORK.uuid]


async def test_a_lost_journal_shows(host: FakeHost) -> None:
    await host.call("apply", instance(Want.RUNNING, 1))
    before = await host.call("hello", Hello(protocol=PROTOCOL, cloud="c", term=1, host=None))
    host.lose_journal()
    after = await host.call("hello", Hello(protocol=PROTOCOL, cloud="c", term=1, host=None))
    assert (after.host, after.journal_id == before.journal_id) == (before.host, False)
    (domain,) = (await host.call("observe", Observe())).domains
    assert domain.generation is None
    assert (await host.call("apply", instance(Want.RUNNING, 1))).steps == ()
