"""What is wanted against what is seen: the steps between them, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.compute.disk_xml import Plugged
from hostd.compute.domain import Domain
from hostd.compute.domain_xml import PREFIX, Machinery, Places, Volumes, digest_of, render
from hostd.compute.guest_disks import targets
from hostd.compute.plan import STEPS, TOWARDS, GuestSeen, VolumesSeen, machinery, plan
from hostd.drivers import DiskSource, Step
from hostd.spec import (
    Accel,
    BackendSpec,
    DiskLimits,
    ErrorCode,
    Hardware,
    HostError,
    InstanceSpec,
    Nic,
    PowerState,
    VolumeDisk,
    Want,
)
from hostd.storage import config_drive
from hostd.storage.instances import CONFIG, EPHEMERAL, ROOT, SEED
from tests.hostd.specs import UUID, image, instance, metadata

TCG = Accel(mode="tcg", reason="tcg (no /dev/kvm)")
PLACES = Places(directory=Path("/state") / UUID, console_socket=Path("/run/console.sock"))
MACHINES = {"q35": "pc-q35-7.2", "pc": "pc-i440fx-7.2"}
NOTHING = GuestSeen(domain=None, files=None, config=None, accel=TCG, machines=MACHINES, cache="none", places=PLACES)

OFF, ON, PAUSED = PowerState.SHUTDOWN, PowerState.RUNNING, PowerState.PAUSED
SUSPENDED, CRASHED = PowerState.SUSPENDED, PowerState.CRASHED
MAKE = ("disks", "define")


def there(spec: InstanceSpec, power: PowerState, **domain: Any) -> GuestSeen:
    """A guest that is all that `spec` asks for, in this power state."""
    made_by = Machinery(accel=TCG, type="pc-q35-7.2", cache="none")
    facts = {
        "uuid": spec.uuid,
        "name": PREFIX + spec.uuid,
        "power": power,
        "active": power in (ON, PAUSED),
        "persistent": True,
        "saved": power is SUSPENDED,
        "metadata": {"uuid": UUID, "machine": "pc-q35-7.2", "digest": digest_of(render(spec, made_by, PLACES))},
    }
    files = {ROOT} | ({CONFIG, SEED} if spec.config_drive else set())
    told = spec.metadata if spec.config_drive else None
    return attrs.evolve(
        NOTHING,
        domain=Domain(**{**facts, **domain}),
        files=frozenset(files),
        config=config_drive.digest(config_drive.contents(spec, told)) if told else None,
    )


def names(steps: tuple[Step, ...]) -> tuple[str, ...]:
    return tuple(step.name for step in steps)


@pytest.mark.parametrize(
    ("want", "power", "hard", "steps"),
    [
        (Want.RUNNING, None, False, (*MAKE, "start")),
        (Want.RUNNING, OFF, False, ("start",)),
        (Want.RUNNING, CRASHED, False, ("start",)),
        (Want.RUNNING, ON, False, ()),
        (Want.RUNNING, PAUSED, False, ("unpause",)),
        (Want.RUNNING, SUSPENDED, False, ("resume",)),
        (Want.STOPPED, None, False, MAKE),
        (Want.STOPPED, OFF, False, ()),
        (Want.STOPPED, CRASHED, False, ()),
        (Want.STOPPED, ON, False, ("stop",)),
        (Want.STOPPED, PAUSED, False, ("unpause", "stop")),
        (Want.STOPPED, SUSPENDED, False, ("resume", "stop")),
        (Want.STOPPED, OFF, True, ()),
        (Want.STOPPED, ON, True, ("cut",)),
        (Want.STOPPED, PAUSED, True, ("cut",)),
        (Want.STOPPED, SUSPENDED, True, ("cut",)),
        (Want.PAUSED, None, False, (*MAKE, "start", "pause")),
        (Want.PAUSED, OFF, False, ("start", "pause")),
        (Want.PAUSED, CRASHED, False, ("start", "pause")),
        (Want.PAUSED, ON, False, ("pause",)),
        (Want.PAUSED, PAUSED, False, ()),
        (Want.PAUSED, SUSPENDED, False, ("resume", "pause")),
        (Want.SUSPENDED, None, False, MAKE),
        (Want.SUSPENDED, OFF, False, ()),
        (Want.SUSPENDED, CRASHED, False, ()),
        (Want.SUSPENDED, ON, False, ("suspend",)),
        (Want.SUSPENDED, PAUSED, False, ("suspend",)),
        (Want.SUSPENDED, SUSPENDED, False, ()),
        (Want.PRESENT, None, False, MAKE),
        (Want.PRESENT, ON, False, ()),
        (Want.ABSENT, None, False, ()),
        (Want.ABSENT, OFF, False, ("undefine", "erase")),
        (Want.ABSENT, CRASHED, False, ("undefine", "erase")),
        (Want.ABSENT, ON, False, ("cut", "undefine", "erase")),
        (Want.ABSENT, PAUSED, False, ("cut", "undefine", "erase")),
        (Want.ABSENT, SUSPENDED, False, ("undefine", "erase")),
    ],
)
def test_power(want: Want, power: PowerState | None, hard: bool, steps: tuple[str, ...]) -> None:
    spec = instance(want=want, hard=hard)
    seen = NOTHING if power is None else there(spec, power)
    assert names(plan(spec, seen)) == steps


@pytest.mark.parametrize("power", list(PowerState))
def test_present_never_touches_the_power(power: PowerState) -> None:
    spec = instance(want=Want.PRESENT)
    assert plan(spec, there(spec, power)) == ()


def test_every_step_is_planned_by_something_and_in_order() -> None:
    planned = {name for steps in TOWARDS.values() for name in steps}
    planned |= {"cut", "undefine", "erase", "disks", "config_drive", "define", "detach_nics", "attach_nics"}
    planned |= {"detach_disks", "attach_disks", "limit_disks"}
    assert planned == set(STEPS)
    for steps in TOWARDS.values():
        assert list(steps) == sorted(steps, key=STEPS.index)


def test_a_changed_definition_is_replaced_and_the_guest_runs_on() -> None:
    assert names(plan(instance(ram_mb=256), there(instance(), ON))) == ("define",)


def test_interfaces_of_a_running_guest_follow_its_spec() -> None:
    nic = Nic(port_id=UUID, network_id=UUID, mac="fa:16:3e:00:00:01", mtu=1450, ips=("10.0.0.3",))
    one = instance(nics=(nic,))
    own = frozenset((nic.mac,))
    assert plan(one, there(one, ON, macs=own)) == ()
    lacking = there(one, ON, macs=frozenset())
    assert plan(one, lacking) == (Step("attach_nics", {"macs": sorted(own)}),)
    extra = there(one, ON, macs=own | {"fa:16:3e:99:99:99"})
    assert plan(one, extra) == (Step("detach_nics", {"macs": ["fa:16:3e:99:99:99"]}),)
    assert names(plan(instance(want=Want.STOPPED), there(instance(want=Want.STOPPED), ON, macs=frozenset()))) == (
        "stop",
    )
    assert plan(instance(want=Want.STOPPED), there(instance(want=Want.STOPPED), OFF, macs=None)) == ()


RED, BLUE = "aaaaaaaa-1111-4222-8333-444444444444", "bbbbbbbb-1111-4222-8333-444444444444"
BACKEND = BackendSpec(uuid="b0000000-1111-4222-8333-444444444444", driver="file")


def volumes(*uuids: str, **fields: Any) -> tuple[VolumeDisk, ...]:
    return tuple(VolumeDisk(volume=uuid, backend=BACKEND, **fields) for uuid in uuids)


def opened(uuid: str, *, layer: int = 0) -> DiskSource:
    return DiskSource(type="file", format="qcow2", name=f"/v/{uuid}.{layer}")


def having(asked: tuple[VolumeDisk, ...], power: PowerState, **seen: Any) -> GuestSeen:
    """A guest that was defined with these volumes, and has them when it is on."""
    spec = instance(volumes=asked)
    names = targets(spec, {})
    plugged = {
        disk.volume: Plugged(target=names[disk.volume], bus="virtio", source=opened(disk.volume), limits=disk.limits)
        for disk in asked
    }
    on = power in (ON, PAUSED)
    found = VolumesSeen(
        defined=plugged,
        asked={disk.volume: disk for disk in asked},
        live=plugged if on else None,
        sources={} if on else {uuid: disk.source for uuid, disk in plugged.items()},
    )
    known = Volumes(sources={uuid: disk.source for uuid, disk in plugged.items()}, targets=found.kept)
    digest = digest_of(render(spec, Machinery(accel=TCG, type="pc-q35-7.2", cache="none"), PLACES, known))
    domain = {"metadata": {"uuid": UUID, "machine": "pc-q35-7.2", "digest": digest}}
    return attrs.evolve(there(instance(), power, **domain), volumes=attrs.evolve(found, **seen))


def test_volumes_of_a_running_guest_follow_its_spec_and_its_definition_follows_them() -> None:
    both, red = volumes(RED, BLUE), volumes(RED)
    assert plan(instance(volumes=both), having(both, ON)) == ()
    assert plan(instance(volumes=both), having(both, OFF)) == (Step("start"),)
    assert plan(instance(volumes=both), having(red, ON)) == (
        Step("attach_disks", {"targets": {BLUE: "vdc"}}),
        Step("define"),
    )
    assert plan(instance(volumes=red), having(both, ON)) == (
        Step("detach_disks", {"volumes": [BLUE]}),
        Step("define"),
    )
    slow = volumes(RED, limits=DiskLimits(total_iops=5))
    assert plan(instance(volumes=slow), having(red, ON)) == (Step("limit_disks", {"volumes": [RED]}), Step("define"))
    # Half done before a crash: plugged in and not defined.
    assert plan(instance(volumes=red), having((), ON, live=having(red, ON).volumes.live)) == (Step("define"),)
    for want in (Want.STOPPED, Want.SUSPENDED):
        assert "detach_disks" not in names(plan(instance(want=want, volumes=red), having(both, ON)))
    assert names(plan(instance(want=Want.STOPPED, volumes=red), having(both, OFF))) == ("define",)


def test_a_layer_that_came_while_the_guest_was_off_is_what_it_starts_with() -> None:
    red = volumes(RED)
    newer = having(red, OFF, sources={RED: opened(RED, layer=1)})
    assert names(plan(instance(volumes=red), newer)) == ("define", "start")


def test_nothing_starts_without_its_volumes_and_nothing_else_needs_them() -> None:
    red = volumes(RED)
    away = {RED: HostError(ErrorCode.STORAGE, "backend away")}
    off = having(red, OFF, sources={}, problems=away)
    for want in (Want.RUNNING, Want.PAUSED):
        with pytest.raises(HostError, match="backend away"):
            plan(instance(want=want, volumes=red), off)
    assert plan(instance(want=Want.STOPPED, volumes=red), off) == ()
    assert names(plan(instance(want=Want.PRESENT), off)) == ("define",)
    assert names(plan(instance(want=Want.ABSENT), off)) == ("undefine", "erase")
    saved = having(red, SUSPENDED)
    assert names(plan(instance(volumes=red), saved)) == ("resume",)
    with pytest.raises(HostError, match="suspended"):
        plan(instance(want=Want.PRESENT), saved)
    assert names(plan(instance(want=Want.STOPPED, hard=True), saved)) == ("cut", "define")


def test_another_machine_is_another_type_and_nonsense_is_refused_before_anything() -> None:
    pc = instance(hardware=Hardware(machine="pc"))
    assert machinery(pc, there(instance(), ON), TCG).type == "pc-i440fx-7.2"
    assert names(plan(pc, there(instance(), ON))) == ("define",)
    with pytest.raises(HostError) as refused:
        plan(instance(hardware=Hardware(video="qxl")), NOTHING)
    assert refused.value.code is ErrorCode.PROTOCOL


def test_the_machine_type_of_the_first_define_is_kept() -> None:
    newer = attrs.evolve(there(instance(), ON), machines={"q35": "pc-q35-9.1", "pc": "pc-i440fx-9.1"})
    assert plan(instance(), newer) == ()


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"domain": None}, ("define", "start")),
        ({"files": frozenset()}, ("disks",)),
        ({"files": None}, ("disks",)),
        ({"accel": None}, ("define",)),
        ({"accel": Accel(mode="kvm", reason="kvm: probe booted in 0.8 s")}, ("define",)),
        ({"cache": "writeback"}, ("define",)),
    ],
)
def test_what_went_missing_is_made_again(change: dict[str, Any], steps: tuple[str, ...]) -> None:
    assert names(plan(instance(), attrs.evolve(there(instance(), ON), **change))) == steps


def test_a_root_disk_lost_from_a_defined_guest_is_told_to_the_step() -> None:
    lost = attrs.evolve(there(instance(), OFF), files=frozenset())
    assert plan(instance(), lost)[0] == Step("disks", {"lost": True})
    assert plan(instance(), NOTHING)[0] == Step("disks", {"lost": False})


def test_another_disk_is_made_beside_the_root_disk() -> None:
    spec = instance(ephemeral_gb=1)
    assert plan(spec, there(instance(), OFF))[0] == Step("disks", {"lost": False})
    made = attrs.evolve(there(spec, ON), files=frozenset({ROOT, EPHEMERAL}))
    assert plan(spec, made) == ()


def test_config_drives_are_written_when_what_they_say_changed() -> None:
    spec = instance(config_drive=True, metadata=metadata())
    assert plan(spec, there(spec, ON)) == ()
    renamed = instance(config_drive=True, metadata=metadata(hostname="other"))
    assert names(plan(renamed, there(spec, ON))) == ("config_drive",)
    half = attrs.evolve(there(spec, ON), files=frozenset({ROOT, CONFIG}))
    assert names(plan(spec, half)) == ("config_drive",)


def test_an_apply_lifts_quarantine() -> None:
    seen = there(instance(), OFF)
    assert seen.domain
    marked = attrs.evolve(seen.domain, metadata={**seen.domain.metadata, "quarantined": "yes"})
    assert names(plan(instance(), attrs.evolve(seen, domain=marked))) == ("define", "start")


def test_a_transient_domain_becomes_persistent_and_is_not_undefined() -> None:
    assert names(plan(instance(), there(instance(), ON, persistent=False))) == ("define",)
    assert names(plan(instance(want=Want.ABSENT), there(instance(), ON, persistent=False))) == ("cut", "erase")


@pytest.mark.parametrize("want", list(Want))
def test_a_domain_that_is_not_ours_is_left_alone(want: Want) -> None:
    foreign = there(instance(), ON, name="db", metadata={})
    with pytest.raises(HostError, match="not made by skydeck"):
        plan(instance(want=want), foreign)


def test_an_image_needs_its_link_beside_the_overlay() -> None:
    spec = instance(image=image())
    assert names(plan(spec, there(spec, ON))) == ("disks",)
    linked = attrs.evolve(there(spec, ON), files=frozenset({ROOT, "base." + "a" * 16}))
    assert plan(spec, linked) == ()
