"""What every host promises its controller, checked against each kind of host in the same words."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.drivers import SPECS, Spec
from hostd.spec import (
    PROTOCOL,
    Ack,
    Act,
    Applied,
    Apply,
    BackendSeen,
    BackendSpec,
    Console,
    DiskFormat,
    DiskLimits,
    Empty,
    ErrorCode,
    Event,
    EventKind,
    ExportSpec,
    Hello,
    HostError,
    ImageRef,
    InstanceSpec,
    Known,
    NetworkingSpec,
    NetworkSpec,
    ObjectKind,
    Observe,
    PowerState,
    Prune,
    Receive,
    SegmentType,
    SnapshotSpec,
    SourceKind,
    SubnetSpec,
    Sync,
    VolumeDisk,
    VolumeSource,
    VolumeSpec,
    Want,
    Watch,
    dump,
    load,
)
from tests.contract.hosts import CLOUD, HOSTS, Host, Peer, greeted

GUEST = InstanceSpec(
    uuid="11111111-0000-4000-8000-000000000001",
    want=Want.RUNNING,
    name="first",
    project_id="p",
    vcpus=1,
    ram_mb=64,
    root_gb=1,
)
NETWORK = NetworkSpec(
    uuid="22222222-0000-4000-8000-000000000001",
    type=SegmentType.VXLAN,
    segment=1001,
    mtu=1450,
    subnets=(SubnetSpec(id="s", cidr="10.0.0.0/24", gateway="10.0.0.1", dhcp=True, service_ip="10.0.0.2"),),
)
NETWORKING = NetworkingSpec(uuid="33333333-0000-4000-8000-000000000001", networks=(NETWORK,))
IMAGE = bytes(range(256)) * 1000
IMAGE_DIGEST = hashlib.sha256(IMAGE).hexdigest()


@pytest.fixture(params=sorted(HOSTS))
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Host]:
    async with HOSTS[request.param](tmp_path) as host:
        yield host


@pytest.fixture
async def peer(host: Host) -> Peer:
    return await greeted(host)


def apply(spec: Spec, generation: int = 1) -> Apply:
    (kind,) = (kind for kind, known in SPECS.items() if isinstance(spec, known))
    return Apply(kind=kind, uuid=spec.uuid, generation=generation, spec=dump(spec))


async def refused(work: Any) -> ErrorCode:
    with pytest.raises(HostError) as caught:
        await work
    return caught.value.code


async def stored(peer: Peer, count: int) -> list[Event]:
    """The next `count` stored events, leaving out what the host says of itself.

    A guest's lifecycle and the result of the apply that caused it come in either order.
    """
    events: list[Event] = []
    async for event in peer.events():
        if event.seq and event.kind is not EventKind.HOST:
            events.append(event)
        if len(events) == count:
            break
    return events


# ---------------------------------------------------------------------------- hello


async def test_hello_comes_first(host: Host) -> None:
    peer = await host.connect()
    assert await refused(peer.call("ping", Empty())) is ErrorCode.PROTOCOL


async def test_hello_tells_who_answers(host: Host) -> None:
    peer = await host.connect()
    first = await peer.call("hello", Hello(protocol=PROTOCOL, cloud="c", term=4, host=None))
    assert first.term == 4
    assert first.versions["libvirt"] == "none"
    again = await peer.call("hello", Hello(protocol=PROTOCOL, cloud="c", term=4, host=first.host))
    assert (again.host, again.boot_id, again.journal_id) == (first.host, first.boot_id, first.journal_id)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"protocol": 99}, ErrorCode.PROTOCOL),
        ({"cloud": "another"}, ErrorCode.WRONG_CLOUD),
        ({"host": "another"}, ErrorCode.WRONG_HOST),
        ({"term": 0}, ErrorCode.STALE_CONTROLLER),
    ],
)
async def test_hello_refuses(host: Host, change: dict[str, Any], code: ErrorCode) -> None:
    await greeted(host)
    stranger = await host.connect()
    hello = attrs.evolve(Hello(protocol=PROTOCOL, cloud="cloud-1", term=1, host=None), **change)
    assert await refused(stranger.call("hello", hello)) is code


async def test_term_and_cloud_outlive_the_daemon(host: Host) -> None:
    await greeted(host, term=7)
    await host.restart()
    assert await refused(greeted(host, term=6)) is ErrorCode.STALE_CONTROLLER
    assert await refused(greeted(host, term=8, cloud="another")) is ErrorCode.WRONG_CLOUD


async def test_an_outdated_connection_may_look_but_not_touch(host: Host) -> None:
    old = await greeted(host, term=1)
    await old.call("apply", apply(GUEST))
    await greeted(host, term=2)
    assert await old.call("ping", Empty()) == Empty()
    assert (await old.call("observe", Observe())).domains
    for name, body in (
        ("apply", apply(GUEST, 2)),
        ("act", Act(request="r", verb="reboot_hard", uuid=GUEST.uuid)),
        ("sync", Sync(objects=())),
        ("prune", Prune(keep_bytes=0)),
        ("ack", Ack(seq=1)),
    ):
        assert await refused(old.call(name, body)) is ErrorCode.STALE_CONTROLLER, name


# ---------------------------------------------------------------------------- apply


async def test_apply_converges_and_says_how(peer: Peer) -> None:
    applied = await peer.call("apply", apply(GUEST))
    assert applied == Applied(
        uuid=GUEST.uuid, generation=1, steps=("disks", "define", "start"), power=PowerState.RUNNING
    )
    stopped = await peer.call("apply", apply(attrs.evolve(GUEST, want=Want.STOPPED), 2))
    assert (stopped.steps, stopped.power) == (("stop",), PowerState.SHUTDOWN)


async def test_a_duplicate_gets_the_first_answer(peer: Peer) -> None:
    first = await peer.call("apply", apply(GUEST))
    assert await peer.call("apply", apply(GUEST)) == first


async def test_simultaneous_duplicates_are_done_once(peer: Peer) -> None:
    answers = await asyncio.gather(*(peer.call("apply", apply(GUEST)) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    await peer.call("watch", Watch(from_seq=0))
    await peer.call("apply", apply(NETWORKING))
    kinds = {(event.kind, event.uuid) for event in await stored(peer, 3)}
    assert kinds == {
        (EventKind.LIFECYCLE, GUEST.uuid),
        (EventKind.RESULT, GUEST.uuid),
        (EventKind.RESULT, NETWORKING.uuid),
    }


async def test_a_reordered_apply_is_refused(peer: Peer) -> None:
    await peer.call("apply", apply(GUEST, 5))
    assert await refused(peer.call("apply", apply(GUEST, 4))) is ErrorCode.OLD_GENERATION


async def test_the_same_generation_cannot_ask_two_things(peer: Peer) -> None:
    await peer.call("apply", apply(GUEST))
    other = apply(attrs.evolve(GUEST, name="second"))
    assert await refused(peer.call("apply", other)) is ErrorCode.CONFLICT


async def test_a_failed_apply_converges_again(peer: Peer) -> None:
    ref = ImageRef(digest=IMAGE_DIGEST, format=DiskFormat.RAW, size=len(IMAGE), virtual_size=len(IMAGE))
    wanted = apply(attrs.evolve(GUEST, image=ref))
    with pytest.raises(HostError) as caught:
        await peer.call("apply", wanted)
    assert (caught.value.code, caught.value.error.step) == (ErrorCode.IMAGE_MISSING, "disks")
    await peer.send_image(Receive(digest=IMAGE_DIGEST, size=len(IMAGE)), IMAGE)
    assert (await peer.call("apply", wanted)).power is PowerState.RUNNING


async def test_absent_deletes_and_leaves_a_tombstone(peer: Peer) -> None:
    await peer.call("apply", apply(GUEST, 1))
    absent = apply(attrs.evolve(GUEST, want=Want.ABSENT), 2)
    assert (await peer.call("apply", absent)).steps == ("undefine", "delete_disks")
    seen = await peer.call("observe", Observe())
    assert (seen.domains, seen.disks) == ((), ())
    assert await refused(peer.call("apply", apply(GUEST, 1))) is ErrorCode.OLD_GENERATION
    assert (await peer.call("apply", absent)).steps == ("undefine", "delete_disks")


async def test_unknown_fields_are_refused(peer: Peer) -> None:
    plain = dump(apply(GUEST))
    assert await refused(peer.call("apply", plain | {"colour": "red"})) is ErrorCode.PROTOCOL
    strange = plain | {"spec": plain["spec"] | {"colour": "red"}}
    assert await refused(peer.call("apply", strange)) is ErrorCode.PROTOCOL
    assert await refused(peer.call("apply", plain | {"uuid": "another"})) is ErrorCode.PROTOCOL
    assert (await peer.call("observe", Observe())).domains == ()


async def test_outcomes_outlive_the_daemon(host: Host, peer: Peer) -> None:
    first = await peer.call("apply", apply(GUEST))
    await host.restart()
    peer = await greeted(host)
    assert await peer.call("apply", apply(GUEST)) == first
    assert await refused(peer.call("apply", apply(GUEST, 0))) is ErrorCode.OLD_GENERATION


# ---------------------------------------------------------------------------- volumes

BACKEND = BackendSpec(uuid="44444444-0000-4000-8000-000000000001", driver="file")
VOLUME = VolumeSpec(uuid="55555555-0000-4000-8000-000000000001", want=Want.PRESENT, backend=BACKEND, size_gb=1)
SNAPSHOT = SnapshotSpec(
    uuid="66666666-0000-4000-8000-000000000001", want=Want.PRESENT, volume=VOLUME.uuid, backend=BACKEND
)
WITH_DISK = attrs.evolve(GUEST, volumes=(VolumeDisk(volume=VOLUME.uuid, backend=BACKEND),))


async def looked_at(peer: Peer, *backends: BackendSpec) -> tuple[BackendSeen, ...]:
    args = {"backends": [dump(backend) for backend in backends or (BACKEND,)]}
    acted = await peer.call("act", Act(request="look", verb="storage_seen", uuid="", args=args))
    return tuple(load(BackendSeen, seen) for seen in acted.detail["backends"])


async def test_a_volume_is_made_grown_turned_back_and_deleted(peer: Peer) -> None:
    made = await peer.call("apply", apply(VOLUME))
    assert (made.steps, made.detail["size"]) == (("create",), 1 << 30)
    assert await peer.call("apply", apply(VOLUME)) == made
    taken = await peer.call("apply", apply(SNAPSHOT))
    assert (taken.steps, taken.detail) == (("snapshot",), {"size": 1 << 30, "quiesced": None})
    (seen,) = await looked_at(peer)
    assert (seen.reachable, seen.free <= seen.total, "clone" in seen.capabilities) == (True, True, True)
    (known,) = seen.volumes
    assert (known.uuid, known.size, known.snapshots) == (VOLUME.uuid, 1 << 30, (SNAPSHOT.uuid,))
    source = VolumeSource(kind=SourceKind.SNAPSHOT, volume=VOLUME.uuid, snapshot=SNAPSHOT.uuid)
    clone = attrs.evolve(VOLUME, uuid="55555555-0000-4000-8000-000000000002", source=source)
    await peer.call("apply", apply(clone))
    assert await refused(peer.call("apply", apply(attrs.evolve(VOLUME, want=Want.ABSENT), 2))) is ErrorCode.BAD_STATE
    back = await peer.call("apply", apply(attrs.evolve(VOLUME, size_gb=2, revert_to=SNAPSHOT.uuid), 3))
    assert back.steps == ("revert", "extend")
    await peer.call("apply", apply(attrs.evolve(SNAPSHOT, want=Want.ABSENT), 2))
    await peer.call("apply", apply(attrs.evolve(VOLUME, want=Want.ABSENT), 4))
    assert [left.uuid for (seen,) in [await looked_at(peer)] for left in seen.volumes] == [clone.uuid]
    lost = apply(attrs.evolve(VOLUME, made=True), 5)
    assert await refused(peer.call("apply", lost)) is ErrorCode.BAD_STATE


async def test_a_guest_gets_volumes_and_keeps_them_from_being_deleted(peer: Peer) -> None:
    await peer.call("apply", apply(GUEST))
    assert await refused(peer.call("apply", apply(WITH_DISK, 2))) is ErrorCode.NOT_FOUND
    await peer.call("apply", apply(VOLUME))
    present = attrs.evolve(WITH_DISK, want=Want.PRESENT)
    assert (await peer.call("apply", apply(present, 3))).steps == ("attach_disks",)
    taken = await peer.call("apply", apply(attrs.evolve(SNAPSHOT, quiesce=True)))
    assert taken.detail["quiesced"] is True
    export = ExportSpec(
        uuid="77777777-0000-4000-8000-000000000001", want=Want.PRESENT, instance=GUEST.uuid, disk=VOLUME.uuid
    )
    assert (await peer.call("apply", apply(export))).detail["size"] == 1 << 30
    assert (await peer.call("apply", apply(attrs.evolve(export, want=Want.ABSENT), 2))).steps == ("delete",)
    assert (await peer.call("apply", apply(attrs.evolve(VOLUME, size_gb=2), 2))).steps == ("extend",)
    for generation, change in ((3, {"want": Want.ABSENT}), (4, {"revert_to": SNAPSHOT.uuid})):
        assert (
            await refused(peer.call("apply", apply(attrs.evolve(VOLUME, **change), generation))) is ErrorCode.BAD_STATE
        )
    limited = attrs.evolve(present.volumes[0], limits=DiskLimits(total_iops=100))
    assert (await peer.call("apply", apply(attrs.evolve(present, volumes=(limited,)), 4))).steps == ("limit_disks",)
    assert (await peer.call("apply", apply(attrs.evolve(present, volumes=()), 5))).steps == ("detach_disks",)
    await peer.call("apply", apply(attrs.evolve(SNAPSHOT, want=Want.ABSENT), 2))
    await peer.call("apply", apply(attrs.evolve(VOLUME, want=Want.ABSENT), 5))


async def test_a_volume_from_an_image_waits_for_the_image(peer: Peer) -> None:
    ref = ImageRef(digest=IMAGE_DIGEST, format=DiskFormat.RAW, size=len(IMAGE), virtual_size=len(IMAGE))
    wanted = attrs.evolve(VOLUME, source=VolumeSource(kind=SourceKind.IMAGE, image=ref))
    with pytest.raises(HostError) as caught:
        await peer.call("apply", apply(wanted))
    assert (caught.value.code, caught.value.error.step) == (ErrorCode.IMAGE_MISSING, "create")
    await peer.send_image(Receive(digest=IMAGE_DIGEST, size=len(IMAGE)), IMAGE)
    assert (await peer.call("apply", apply(wanted))).detail["size"] == 1 << 30


async def test_a_backend_that_nobody_knows_hides_no_other(peer: Peer) -> None:
    bad = {"backends": [{"uuid": "x", "colour": "red"}]}
    work = peer.call("act", Act(request="r", verb="storage_seen", uuid="", args=bad))
    assert await refused(work) is ErrorCode.PROTOCOL
    old = await looked_at(peer, BACKEND, BACKEND)
    assert [seen.reachable for seen in old] == [True, True]
    # It changes nothing, and is looked at anew each time.
    await peer.call("apply", apply(VOLUME))
    (seen,) = await looked_at(peer)
    assert len(seen.volumes) == 1


# ---------------------------------------------------------------------------- act


async def test_a_repeated_act_is_done_once(peer: Peer) -> None:
    await peer.call("apply", apply(GUEST))
    await peer.call("watch", Watch(from_seq=0))
    reboot = Act(request="r1", verb="reboot_soft", uuid=GUEST.uuid)
    first, second = await asyncio.gather(peer.call("act", reboot), peer.call("act", reboot))
    assert first == second
    await peer.call("apply", apply(attrs.evolve(GUEST, want=Want.STOPPED), 2))
    reasons = [event.detail["reason"] for event in await stored(peer, 5) if event.kind is EventKind.LIFECYCLE]
    assert reasons == ["asked", "reboot", "asked"]


async def test_a_request_id_cannot_ask_two_things(peer: Peer) -> None:
    await peer.call("apply", apply(GUEST))
    await peer.call("act", Act(request="r1", verb="reboot_hard", uuid=GUEST.uuid))
    other = Act(request="r1", verb="reboot_soft", uuid=GUEST.uuid)
    assert await refused(peer.call("act", other)) is ErrorCode.CONFLICT


async def test_acts_refuse_with_a_reason_that_stays(peer: Peer) -> None:
    reboot = Act(request="r1", verb="reboot_hard", uuid=GUEST.uuid)
    assert await refused(peer.call("act", reboot)) is ErrorCode.NOT_FOUND
    await peer.call("apply", apply(GUEST))
    assert await refused(peer.call("act", reboot)) is ErrorCode.NOT_FOUND
    assert await refused(peer.call("act", Act(request="r2", verb="fly", uuid=GUEST.uuid))) is ErrorCode.PROTOCOL


# ---------------------------------------------------------------------------- sync and observe


async def test_sync_names_what_is_behind(peer: Peer) -> None:
    await peer.call("apply", apply(GUEST, 3))
    unknown = Known(kind=ObjectKind.NETWORKING, uuid=NETWORKING.uuid, generation=1)
    synced = await peer.call(
        "sync", Sync(objects=(Known(kind=ObjectKind.INSTANCE, uuid=GUEST.uuid, generation=4), unknown))
    )
    assert [(known.uuid, known.generation) for known in synced.behind] == [(GUEST.uuid, 3), (NETWORKING.uuid, 0)]
    assert synced.quarantined == ()


async def test_the_unlisted_is_quarantined_never_deleted(peer: Peer) -> None:
    await peer.call("apply", apply(GUEST))
    assert (await peer.call("sync", Sync(objects=()))).quarantined == (GUEST.uuid,)
    seen = await peer.call("observe", Observe())
    assert [(domain.power, domain.quarantined) for domain in seen.domains] == [(PowerState.SHUTDOWN, True)]
    assert seen.disks
    assert (await peer.call("apply", apply(GUEST, 2))).power is PowerState.RUNNING


async def test_observe_knows_generations(peer: Peer) -> None:
    hello = await peer.call("hello", Hello(protocol=PROTOCOL, cloud=CLOUD, term=1, host=None))
    await peer.call("apply", apply(GUEST, 3))
    await peer.call("apply", apply(attrs.evolve(NETWORKING, uuid=hello.host), 2))
    seen = await peer.call("observe", Observe(stats=False))
    assert [(domain.uuid, domain.generation) for domain in seen.domains] == [(GUEST.uuid, 3)]
    assert [network.uuid for network in seen.networks] == [NETWORK.uuid]
    assert seen.networking is not None
    assert seen.networking.generation == 2
    assert seen.capacity.vcpus > 0


# ---------------------------------------------------------------------------- events


async def test_events_are_numbered_and_resumed(host: Host, peer: Peer) -> None:
    await peer.call("watch", Watch(from_seq=0))
    await peer.call("apply", apply(GUEST))
    first, second = await stored(peer, 2)
    assert {event.kind: event.detail for event in (first, second)} == {
        EventKind.LIFECYCLE: {"power": "running", "reason": "asked"},
        EventKind.RESULT: {"generation": 1, "ok": True},
    }
    await host.restart()
    again = await greeted(host)
    await again.call("watch", Watch(from_seq=first.seq))
    assert await stored(again, 1) == [second]
    await again.call("apply", apply(attrs.evolve(GUEST, want=Want.STOPPED), 2))
    numbers = [event.seq for event in await stored(again, 2)]
    assert numbers == sorted(numbers)
    assert numbers[0] > second.seq


async def test_acknowledged_events_are_forgotten_and_their_numbers_stay_used(host: Host, peer: Peer) -> None:
    await peer.call("watch", Watch(from_seq=0))
    await peer.call("apply", apply(GUEST))
    last = (await stored(peer, 2))[-1].seq
    await peer.call("ack", Ack(seq=last))
    await host.restart()
    again = await greeted(host)
    await again.call("watch", Watch(from_seq=0))
    await again.call("apply", apply(NETWORKING))
    (result,) = await stored(again, 1)
    assert (result.uuid, result.seq > last) == (NETWORKING.uuid, True)


async def test_progress_names_steps_as_they_begin(peer: Peer) -> None:
    await peer.call("watch", Watch(from_seq=0))
    await peer.call("apply", apply(GUEST))
    began = []
    async for event in peer.events():
        if event.kind is EventKind.RESULT:
            break
        if event.kind is EventKind.PROGRESS and event.detail["percent"] == 0:
            assert (event.seq, event.detail["generation"]) == (0, 1)
            began.append(event.detail["step"])
    assert began == ["disks", "define", "start"]


async def test_failures_reach_watchers(peer: Peer) -> None:
    await peer.call("watch", Watch(from_seq=0))
    ref = ImageRef(digest=IMAGE_DIGEST, format=DiskFormat.RAW, size=1, virtual_size=1)
    assert await refused(peer.call("apply", apply(attrs.evolve(GUEST, image=ref)))) is ErrorCode.IMAGE_MISSING
    (result,) = await stored(peer, 1)
    assert (result.detail["ok"], result.detail["error"]["code"]) == (False, "image_missing")


# ---------------------------------------------------------------------------- images and consoles


async def test_images_are_kept_while_held(host: Host, peer: Peer) -> None:
    bulk = await greeted(host)
    received = await bulk.send_image(Receive(digest=IMAGE_DIGEST, size=len(IMAGE)), IMAGE)
    assert (received.size, received.verified) == (len(IMAGE), True)
    assert await bulk.send_image(Receive(digest=IMAGE_DIGEST, size=len(IMAGE)), IMAGE) == received
    ref = ImageRef(digest=IMAGE_DIGEST, format=DiskFormat.RAW, size=len(IMAGE), virtual_size=len(IMAGE))
    await peer.call("apply", apply(attrs.evolve(GUEST, image=ref)))
    (image,) = (await peer.call("observe", Observe())).images
    assert (image.digest, image.size, image.refs) == (IMAGE_DIGEST, len(IMAGE), 1)
    assert (await peer.call("prune", Prune(keep_bytes=0))).removed == ()
    await peer.call("apply", apply(attrs.evolve(GUEST, want=Want.ABSENT), 2))
    pruned = await peer.call("prune", Prune(keep_bytes=0))
    assert (pruned.removed, pruned.bytes_freed) == ((IMAGE_DIGEST,), len(IMAGE))


async def test_damaged_images_are_refused(host: Host, peer: Peer) -> None:
    bulk = await greeted(host)
    damaged = b"x" + IMAGE[1:]
    work = bulk.send_image(Receive(digest=IMAGE_DIGEST, size=len(IMAGE)), damaged)
    assert await refused(work) is ErrorCode.DIGEST_MISMATCH
    assert (await peer.call("observe", Observe())).images == ()
    assert await refused((await greeted(host)).send_image(Receive(digest="../x", size=1), b"x")) is ErrorCode.PROTOCOL


async def test_a_stale_controller_sends_no_image(host: Host) -> None:
    bulk = await greeted(host, term=1)
    await greeted(host, term=2)
    work = bulk.send_image(Receive(digest=IMAGE_DIGEST, size=len(IMAGE)), IMAGE)
    assert await refused(work) is ErrorCode.STALE_CONTROLLER


async def test_consoles_carry_bytes_both_ways(host: Host, peer: Peer) -> None:
    assert await refused((await greeted(host)).console(Console(uuid=GUEST.uuid))) is ErrorCode.NOT_FOUND
    await peer.call("apply", apply(GUEST))
    console = await (await greeted(host)).console(Console(uuid=GUEST.uuid))
    await console.write(b"hello\n")
    heard = b""
    while b"hello\n" not in heard:
        heard += await console.read()
    await console.close()
    log = Act(request="r", verb="console_log", uuid=GUEST.uuid, args={"lines": 1})
    assert (await peer.call("act", log)).detail == {"text": "hello"}
