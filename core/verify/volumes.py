"""Invariants of volumes: in whose hands they are, as database and guests say, and that they are where they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from core.verify.facts import Facts, Violation, host_name, volume_name
from core.volumes.attachments import ATTACHED, ATTACHING, AVAILABLE, DETACHING, IN_USE, RESERVED
from core.volumes.tables import VolumeAttachment
from hostd.spec import PowerState


def one_guest_per_volume(facts: Facts) -> Iterator[Violation]:
    """1, of volumes: one that is not made to be shared is in one guest that runs, anywhere."""
    having: dict[str, list[str]] = {}
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            if domain.owned and domain.power in (PowerState.RUNNING, PowerState.PAUSED):
                instance = facts.instances.get(domain.uuid)
                who = f"{instance.name if instance else domain.uuid} on {host_name(facts, host_id)}"
                for volume_id in domain.volumes or ():
                    having.setdefault(volume_id, []).append(who)
    for volume_id, guests in having.items():
        volume = facts.volumes.get(volume_id)
        if len(guests) > 1 and (volume is None or not volume.multiattach):
            title = f"volume {volume_name(facts, volume_id)} is in {len(guests)} guests"
            yield Violation(invariant=1, title=title, evidence=", ".join(sorted(guests)))


_MOVING: Final = (RESERVED, ATTACHING, DETACHING)


def attachments(facts: Facts) -> Iterator[Violation]:
    """1 and 11, of attachments: a volume is in-use while somebody has it, and is available only when nobody has; what
    holds it is there, and is at work while it moves."""
    held: dict[str, list[VolumeAttachment]] = {}
    for one in facts.attachments:
        held.setdefault(one.volume_id, []).append(one)
        instance, volume = facts.instances.get(one.instance_id), facts.volumes.get(one.volume_id)
        called = f"volume {volume_name(facts, one.volume_id)}"
        if instance is None or volume is None:
            gone = "a server" if instance is None else "a volume"
            yield Violation(invariant=11, title=f"{called} is attached, and {gone} of the two is gone")
            continue
        if volume.status == AVAILABLE and one.status in (ATTACHED, DETACHING):
            yield Violation(invariant=1, title=f"{called} is available while {instance.name} has it")
        if instance.id in facts.busy or volume.id in facts.busy:
            continue
        if one.status in _MOVING:
            title = f"{called} is {one.status} for {instance.name}, and nothing works on it"
            yield Violation(invariant=11, title=title)
        seen = facts.seen.get(instance.host_id or "")
        domain = next((guest for guest in seen.domains if guest.uuid == instance.id), None) if seen else None
        has = domain.volumes if domain is not None else None
        if one.status == ATTACHED and has is not None and volume.id not in has:
            title = f"{called} is attached to {instance.name}, whose guest does not have it"
            yield Violation(invariant=11, title=title, evidence=host_name(facts, instance.host_id))
    for volume in facts.volumes.values():
        if volume.status == IN_USE and volume.id not in held:
            yield Violation(invariant=11, title=f"volume {volume.name or volume.id} is in-use, and nobody has it")
        if len(held.get(volume.id, ())) > 1 and not volume.multiattach:
            yield Violation(invariant=1, title=f"volume {volume.name or volume.id} is attached more than once")
    yield from _taken_volumes(facts)


def _taken_volumes(facts: Facts) -> Iterator[Violation]:
    """11: no guest has a volume that the database does not say it has."""
    told = {(one.instance_id, one.volume_id) for one in facts.attachments}
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            instance = facts.instances.get(domain.uuid)
            if instance is None or instance.id in facts.busy or instance.host_id != host_id:
                continue
            for volume_id in domain.volumes or ():
                if (instance.id, volume_id) not in told:
                    title = f"{instance.name} has volume {volume_name(facts, volume_id)}, which is not attached to it"
                    yield Violation(invariant=11, title=title, evidence=host_name(facts, host_id))


def stored(facts: Facts) -> Iterator[Violation]:
    """8 and 11, of volumes: what the database has is on its backend, and nothing else is there."""
    for pool in facts.pools:
        where = f"backend {pool.backend.name} on {host_name(facts, pool.seen.host_id)}"
        for volume in pool.missing:
            yield Violation(invariant=8, title=f"volume {volume.name or volume.id} is not on {where}")
        for stranger in pool.unknown:
            title = f"{where} has volume {stranger.uuid}, which should not be there"
            yield Violation(invariant=11, title=title, evidence=stranger.why)
