"""Decides what leads from a guest as it is to the guest as it is wanted. Pure: the tests hold the whole table.

A definition that differs is replaced at once, also under a running guest, which goes on with its old
hardware until it next starts: no apply restarts a guest that shall run. Interfaces and volumes are the exception: they
come and go while it runs. Volumes do so before the definition follows, so that one that could not be plugged in, or
that the guest does not let go of, is defined as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from hostd.compute import hardware
from hostd.compute.disk_xml import Plugged
from hostd.compute.domain import Domain
from hostd.compute.domain_xml import Machinery, Places, Volumes, digest_of, render
from hostd.compute.guest_disks import targets
from hostd.drivers import DiskSource, Step
from hostd.spec import Accel, ErrorCode, HostError, InstanceSpec, PowerState, VolumeDisk, Want
from hostd.storage import config_drive, disks
from hostd.storage.instances import CONFIG, ROOT, SEED

STEPS: Final = (
    "cut",
    "undefine",
    "erase",
    "disks",
    "config_drive",
    "detach_disks",
    "attach_disks",
    "limit_disks",
    "define",
    "detach_nics",
    "attach_nics",
    "start",
    "resume",
    "unpause",
    "pause",
    "suspend",
    "stop",
)
"""Every step there is, in the only order in which a plan may hold them.

cut: power off at once. undefine: forget domain and saved memory. erase: delete the instance's files. disks: make
those that are missing. config_drive: write both CDs. detach_disks, attach_disks: pull volumes out of the running
guest, and plug others in. limit_disks: change how fast it may use them. define: make or replace the definition.
detach_nics, attach_nics: as with volumes. start: boot. resume: go on from saved memory. suspend: save memory to disk
and power off. stop: ACPI, then cut after the spec's time.
"""

TOWARDS: Final[dict[tuple[Want, PowerState], tuple[str, ...]]] = {
    (Want.RUNNING, PowerState.SHUTDOWN): ("start",),
    (Want.RUNNING, PowerState.CRASHED): ("start",),
    (Want.RUNNING, PowerState.SUSPENDED): ("resume",),
    (Want.RUNNING, PowerState.PAUSED): ("unpause",),
    (Want.STOPPED, PowerState.RUNNING): ("stop",),
    # A guest that does not run cannot hear the power button.
    (Want.STOPPED, PowerState.PAUSED): ("unpause", "stop"),
    (Want.STOPPED, PowerState.SUSPENDED): ("resume", "stop"),
    (Want.PAUSED, PowerState.SHUTDOWN): ("start", "pause"),
    (Want.PAUSED, PowerState.CRASHED): ("start", "pause"),
    (Want.PAUSED, PowerState.SUSPENDED): ("resume", "pause"),
    (Want.PAUSED, PowerState.RUNNING): ("pause",),
    (Want.SUSPENDED, PowerState.RUNNING): ("suspend",),
    (Want.SUSPENDED, PowerState.PAUSED): ("suspend",),
}
"""Power steps by what is wanted and what is. A pair that is missing needs none; present wants none at all.

A guest that is off and wanted suspended stays off: the memory it should go on from is lost, and booting it only to
save it would hide that.
"""


@attrs.frozen(kw_only=True)
class VolumesSeen:
    """The volumes of a guest, by uuid."""

    defined: Mapping[str, Plugged] = attrs.field(factory=dict)
    """In the definition."""
    asked: Mapping[str, VolumeDisk] = attrs.field(factory=dict)
    """What the definition was made of."""
    live: Mapping[str, Plugged] | None = None
    """What a running guest has now, whatever its definition says; None for a guest that is off."""
    sources: Mapping[str, DiskSource] = attrs.field(factory=dict)
    """How those that the guest does not have open would be opened now."""
    problems: Mapping[str, HostError] = attrs.field(factory=dict)
    """Why that cannot be told."""

    @property
    def kept(self) -> dict[str, str]:
        """The names in use."""
        return {volume: disk.target for volume, disk in (*self.defined.items(), *(self.live or {}).items())}

    def source(self, disk: VolumeDisk) -> DiskSource | None:
        """How a volume is opened, as far as that is known. None for one that the domain has not had so far."""
        if live := (self.live or {}).get(disk.volume):
            return live.source
        if self.asked.get(disk.volume) != disk:
            return None
        if found := self.sources.get(disk.volume):
            return found
        # Good for a definition; nothing starts with it.
        return self.defined[disk.volume].source if disk.volume in self.defined else None


@attrs.frozen(kw_only=True)
class GuestSeen:
    """What is really there of one instance."""

    domain: Domain | None
    files: frozenset[str] | None
    """Names in its directory; None without a directory."""
    config: str | None
    """Digest of what its config drives hold; None when that is not known."""
    accel: Accel | None
    """None until it is known whether guests run under KVM here."""
    machines: Mapping[str, str]
    """By kind of machine (q35, pc), the type that a guest defined now for the first time gets."""
    cache: str
    places: Places
    volumes: VolumesSeen = VolumesSeen()


def machinery(spec: InstanceSpec, seen: GuestSeen, accel: Accel) -> Machinery:
    """The machine type of the first define, kept while its kind is; acceleration and cache mode as the host has them
    now."""
    kind = spec.hardware.machine
    kept = seen.domain.metadata.get("machine", "") if seen.domain else ""
    type_ = kept if kept.startswith(hardware.FAMILIES[kind]) else seen.machines[kind]
    return Machinery(accel=accel, type=type_, cache=seen.cache)


def plan(spec: InstanceSpec, seen: GuestSeen) -> tuple[Step, ...]:
    """The steps, in the order of STEPS; empty when all is so already.

    Raises HostError(BAD_STATE) for a domain that is not ours, HostError(PROTOCOL) for a spec that cannot be.
    """
    if seen.domain and not seen.domain.owned:
        raise HostError(
            ErrorCode.BAD_STATE,
            f"domain {seen.domain.name!r} has the uuid {spec.uuid} and was not made by skydeck",
            hint="somebody defined it on the host: rename or undefine it there",
        )
    if spec.want is Want.ABSENT:
        return tuple(Step(name) for name in _removal(seen))
    hardware.check(spec)
    power = _power(spec, seen)
    _check_volumes(spec, seen, power)
    plugging = {**_disks(spec, seen), **_interfaces(spec, seen)}
    names = (*_definition(spec, seen), *plugging, *power)
    found = {"disks": {"lost": _root_lost(spec, seen)}, **plugging}
    return tuple(Step(name, found.get(name, {})) for name in sorted(names, key=STEPS.index))


def _removal(seen: GuestSeen) -> tuple[str, ...]:
    steps = (
        ("cut", seen.domain is not None and seen.domain.active),
        ("undefine", seen.domain is not None and seen.domain.persistent),
        ("erase", seen.files is not None),
    )
    return tuple(name for name, needed in steps if needed)


def _definition(spec: InstanceSpec, seen: GuestSeen) -> tuple[str, ...]:
    files = seen.files or frozenset()
    steps = (
        ("disks", not files.issuperset(disks.wanted(spec)) or seen.files is None),
        ("config_drive", _config_differs(spec, seen, files)),
        ("define", _definition_differs(spec, seen)),
    )
    return tuple(name for name, needed in steps if needed)


def _config_differs(spec: InstanceSpec, seen: GuestSeen, files: frozenset[str]) -> bool:
    if not spec.config_drive or spec.metadata is None:
        return False
    wanted = config_drive.digest(config_drive.contents(spec, spec.metadata))
    return seen.config != wanted or not files.issuperset((CONFIG, SEED))


def _definition_differs(spec: InstanceSpec, seen: GuestSeen) -> bool:
    domain = seen.domain
    # Until the accelerator is known there is nothing to compare with; to define twice does no harm.
    if domain is None or not domain.persistent or domain.quarantined or seen.accel is None:
        return True
    volumes = known_volumes(spec, seen)
    if len(volumes.sources) < len(spec.volumes):
        return True  # one that the domain does not have yet, or has otherwise
    made = render(spec, machinery(spec, seen, seen.accel), seen.places, volumes)
    return digest_of(made) != domain.metadata.get("digest")


def known_volumes(spec: InstanceSpec, seen: GuestSeen) -> Volumes:
    """How the volumes of `spec` are opened, those that the domain knows, and the names they have."""
    found = {disk.volume: seen.volumes.source(disk) for disk in spec.volumes}
    return Volumes(
        sources={volume: source for volume, source in found.items() if source is not None}, targets=seen.volumes.kept
    )


def _check_volumes(spec: InstanceSpec, seen: GuestSeen, power: tuple[str, ...]) -> None:
    """Nothing is started over a volume that cannot be opened, nor goes on from memory that knows other volumes."""
    for disk in spec.volumes:
        if (why := seen.volumes.problems.get(disk.volume)) and "start" in power:
            raise why
    if seen.domain and seen.domain.saved and "cut" not in power:
        if set(seen.volumes.defined) != {disk.volume for disk in spec.volumes}:
            raise HostError(
                ErrorCode.BAD_STATE,
                "a suspended guest goes on with the volumes it was suspended with",
                hint="resume the instance, then attach or detach",
            )
        if why := next(iter(seen.volumes.problems.values()), None):
            raise why


def _plugs(spec: InstanceSpec) -> bool:
    """A guest that shall go off gets what its definition says when it starts again."""
    return spec.want not in (Want.STOPPED, Want.SUSPENDED, Want.ABSENT)


def _disks(spec: InstanceSpec, seen: GuestSeen) -> dict[str, dict[str, Any]]:
    """Steps to the volumes that a running guest shall have: those too many, those it lacks by the name each gets, and
    those whose limits are others."""
    live = seen.volumes.live
    if live is None or not _plugs(spec):
        return {}
    wanted = {disk.volume: disk for disk in spec.volumes}
    names = targets(spec, seen.volumes.kept)
    steps: dict[str, dict[str, Any]] = {
        "detach_disks": {"volumes": [volume for volume in live if volume not in wanted]},
        "attach_disks": {"targets": {volume: names[volume] for volume in wanted if volume not in live}},
        "limit_disks": {
            "volumes": [volume for volume, disk in live.items() if _limited_otherwise(disk, wanted.get(volume))]
        },
    }
    return {name: args for name, args in steps.items() if any(args.values())}


def _limited_otherwise(disk: Plugged, wanted: VolumeDisk | None) -> bool:
    return wanted is not None and disk.limits != wanted.limits


def _interfaces(spec: InstanceSpec, seen: GuestSeen) -> dict[str, dict[str, Any]]:
    """Steps to the interfaces that a running guest shall have, by MAC."""
    if seen.domain is None or seen.domain.macs is None or not _plugs(spec):
        return {}
    wanted = {nic.mac.lower() for nic in spec.nics}
    steps = {
        "detach_nics": {"macs": sorted(seen.domain.macs - wanted)},
        "attach_nics": {"macs": sorted(wanted - seen.domain.macs)},
    }
    return {name: args for name, args in steps.items() if args["macs"]}


def _root_lost(spec: InstanceSpec, seen: GuestSeen) -> bool:
    # Disks are made before the first define: a defined guest without its root disk once had one.
    return seen.domain is not None and ROOT in disks.wanted(spec) and ROOT not in (seen.files or ())


def _power(spec: InstanceSpec, seen: GuestSeen) -> tuple[str, ...]:
    power = seen.domain.power if seen.domain else PowerState.SHUTDOWN
    steps = TOWARDS.get((spec.want, power), ())
    if spec.want is Want.STOPPED and spec.hard and steps:
        # Saved memory of a guest whose power shall be cut is worth nothing; cut drops it.
        return ("cut",)
    return steps
