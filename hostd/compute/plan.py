"""Decides what leads from a guest as it is to the guest as it is wanted. Pure: the tests hold the whole table.

A definition that differs is replaced at once, also under a running guest, which goes on with its old
hardware until it next starts: no apply restarts a guest that shall run.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from hostd.compute.domain import Domain
from hostd.compute.domain_xml import Hardware, Places, digest_of, render
from hostd.drivers import Step
from hostd.spec import Accel, ErrorCode, HostError, InstanceSpec, PowerState, Want
from hostd.storage import config_drive, disks
from hostd.storage.instances import CONFIG, ROOT, SEED

STEPS: Final = (
    "cut",
    "undefine",
    "erase",
    "disks",
    "config_drive",
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
those that are missing. config_drive: write both CDs. define: make or replace the definition. detach_nics,
attach_nics: pull interfaces out of the running guest, and plug others in. start: boot. resume: go on from saved
memory. suspend: save memory to disk and power off. stop: ACPI, then cut after the spec's time.
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
class GuestSeen:
    """What is really there of one instance."""

    domain: Domain | None
    files: frozenset[str] | None
    """Names in its directory; None without a directory."""
    config: str | None
    """Digest of what its config drives hold; None when that is not known."""
    accel: Accel | None
    """None until it is known whether guests run under KVM here."""
    machine: str
    """What a guest defined now for the first time gets."""
    cache: str
    places: Places


def hardware(seen: GuestSeen, accel: Accel) -> Hardware:
    """The machine type of the first define, kept; acceleration and cache mode as the host has them now."""
    kept = seen.domain.metadata.get("machine") if seen.domain else None
    return Hardware(accel=accel, type=kept or seen.machine, cache=seen.cache)


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
    extra, missing = _interfaces(spec, seen)
    found: dict[str, dict[str, Any]] = {
        "disks": {"lost": _root_lost(spec, seen)},
        "detach_nics": {"macs": extra},
        "attach_nics": {"macs": missing},
    }
    if spec.want is Want.ABSENT:
        names = _removal(seen)
    else:
        plugging = (*(("detach_nics",) if extra else ()), *(("attach_nics",) if missing else ()))
        names = (*_definition(spec, seen), *plugging, *_power(spec, seen))
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
    return digest_of(render(spec, hardware(seen, seen.accel), seen.places)) != domain.metadata.get("digest")


def _interfaces(spec: InstanceSpec, seen: GuestSeen) -> tuple[list[str], list[str]]:
    """MACs that a running guest has too many, and those it lacks. One that shall stop gets what its definition says."""
    if seen.domain is None or seen.domain.macs is None or spec.want in (Want.STOPPED, Want.SUSPENDED, Want.ABSENT):
        return [], []
    wanted = {nic.mac.lower() for nic in spec.nics}
    return sorted(seen.domain.macs - wanted), sorted(wanted - seen.domain.macs)


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
