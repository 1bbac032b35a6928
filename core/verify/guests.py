"""Invariants of guests: who owns and runs them, what they claim, and that nothing of them is lost or left behind."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

from core.compute.instances import states
from core.hosts.hosts import RESOURCES
from core.operations.operations import State
from core.verify.facts import Facts, Violation, host_name
from core.verify.networking import is_told
from hostd.spec import Observation, PowerState


def one_writer(facts: Facts) -> Iterator[Violation]:
    """1. No disk is open read-write by two QEMUs anywhere."""
    running: dict[str, list[str]] = {}
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            if domain.owned and domain.power in (PowerState.RUNNING, PowerState.PAUSED):
                running.setdefault(domain.uuid, []).append(host_name(facts, host_id))
    for uuid, names in running.items():
        if len(names) > 1:
            yield Violation(invariant=1, title=f"guest {uuid} runs on {len(names)} hosts", evidence=", ".join(names))


def one_owner(facts: Facts) -> Iterator[Violation]:
    """2. One owner host per instance; only it may run the guest."""
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            instance = facts.instances.get(domain.uuid)
            if domain.owned and instance and instance.host_id != host_id and domain.power is PowerState.RUNNING:
                yield Violation(
                    invariant=2,
                    title=f"{instance.name} runs on {host_name(facts, host_id)}, which does not own it",
                    evidence=f"its host is {host_name(facts, instance.host_id)}",
                )


def within_capacity(facts: Facts) -> Iterator[Violation]:
    """4. Claims on a host never exceed capacity x ratio, per resource."""
    for host in facts.hosts.values():
        for resource in RESOURCES:
            claimed = sum(getattr(claim, resource) for claim in facts.claims if claim.host_id == host.id)
            used, cap = getattr(host, f"{resource}_used"), getattr(host, f"{resource}_cap")
            if claimed != used:
                yield Violation(
                    invariant=4,
                    title=f"host {host.name}: {resource} used is not the sum of its claims",
                    evidence=f"used {used}, claimed {claimed}",
                )
            if claimed > cap:
                yield Violation(
                    invariant=4, title=f"host {host.name} is over its {resource}", evidence=f"{claimed} > {cap}"
                )


def claims_while_placed(facts: Facts) -> Iterator[Violation]:
    """5. A claim exists exactly while an instance is placed or moving."""
    held: dict[str, set[str]] = {}
    for claim in facts.claims:
        held.setdefault(claim.instance_id, set()).add(claim.host_id)
    for instance_id, hosts in held.items():
        instance = facts.instances.get(instance_id)
        if instance is None:
            yield Violation(invariant=5, title=f"a claim is held for {instance_id}, which is gone")
        elif instance.host_id not in hosts:
            yield Violation(invariant=5, title=f"{instance.name} holds a claim, but not on its host")
    for instance in facts.instances.values():
        if instance.host_id is not None and instance.host_id not in held.get(instance.id, ()):
            yield Violation(invariant=5, title=f"{instance.name} is placed without a claim")


def nothing_lost(facts: Facts) -> Iterator[Violation]:
    """6. An acknowledged create survives any crash until its deletion is acknowledged."""
    for operation_id, instance_id in facts.creates.items():
        if instance_id not in facts.known_instances:
            yield Violation(
                invariant=6,
                title=f"instance {instance_id} was accepted and is gone",
                evidence=f"operation {operation_id}",
            )


def generations(facts: Facts) -> Iterator[Violation]:
    """7. Per object, a host never has a generation that was not given out."""
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            instance = facts.instances.get(domain.uuid)
            if instance and domain.generation is not None and domain.generation > instance.generation:
                yield Violation(
                    invariant=7,
                    title=f"host {host_name(facts, host_id)} is ahead on {instance.name}",
                    evidence=f"generation {domain.generation} > {instance.generation}",
                )
        row = facts.networking.get(host_id)
        given = row.generation if row else 0
        applied = seen.networking.generation if seen.networking else None
        if applied is not None and applied > given:
            yield Violation(
                invariant=7,
                title=f"host {host_name(facts, host_id)} is ahead on its networking",
                evidence=f"generation {applied} > {given}",
            )


_HAS_DISK: Final = (states.ACTIVE, states.STOPPED, states.PAUSED, states.SUSPENDED)


def data_kept(facts: Facts) -> Iterator[Violation]:
    """8. Data is deleted only by a journalled `absent`: what lives has its root disk."""
    for instance in facts.instances.values():
        seen = facts.seen.get(instance.host_id or "")
        if seen is None or instance.id in facts.busy or instance.vm_state not in _HAS_DISK:
            continue
        if instance.image_id and not any(d.instance == instance.id and d.role == "root" for d in seen.disks):
            yield Violation(
                invariant=8, title=f"{instance.name} has no root disk on {host_name(facts, instance.host_id)}"
            )


def chains(facts: Facts) -> Iterator[Violation]:
    """9. A backing chain's digest is verified before first use."""
    for host_id, seen in facts.seen.items():
        for image in seen.images:
            if image.refs and not image.verified:
                yield Violation(
                    invariant=9, title=f"host {host_name(facts, host_id)} uses image {image.digest[:12]} unverified"
                )


def escaped(facts: Facts) -> Iterator[Violation]:
    """10. Nothing a tenant controls reaches a terminal unescaped: no name holds what would need escaping."""
    for instance in facts.instances.values():
        if any(unicodedata.category(letter) in ("Cc", "Cf") for letter in instance.name):
            yield Violation(invariant=10, title=f"instance {instance.id} has control characters in its name")


def as_wanted(facts: Facts) -> Iterator[Violation]:
    """11. The database equals the hosts, every operation is ended or says why not, and there are no orphans."""
    for operation in facts.operations:
        if operation.state == State.BLOCKED and not operation.error:
            yield Violation(invariant=11, title=f"operation {operation.id} is blocked without a reason")
    for host_id, seen in facts.seen.items():
        name = host_name(facts, host_id)
        here = {domain.uuid: domain for domain in seen.domains if domain.owned}
        for instance in facts.instances.values():
            if instance.host_id != host_id or instance.id in facts.busy or instance.vm_state == states.ERROR:
                continue
            domain = here.get(instance.id)
            if domain is None:
                yield Violation(invariant=11, title=f"{instance.name} is {instance.status}, host {name} lacks it")
            elif states.POWER[domain.power] != instance.power_state:
                yield Violation(
                    invariant=11,
                    title=f"{instance.name} is {states.POWER_WORD[instance.power_state]} here",
                    evidence=f"host {name} says {domain.power}",
                )
        mine = {uuid for uuid, instance in facts.instances.items() if instance.host_id == host_id} | facts.busy
        yield from _orphans(facts, host_id, seen, mine)


def _orphans(facts: Facts, host_id: str, seen: Observation, mine: set[str] | frozenset[str]) -> Iterator[Violation]:
    name = host_name(facts, host_id)
    for domain in seen.domains:
        if domain.owned and domain.uuid not in mine:
            yield Violation(
                invariant=11, title=f"host {name} has guest {domain.uuid}, which should not be there",
                evidence="quarantined" if domain.quarantined else str(domain.power),
            )  # fmt: skip
    for uuid in sorted({disk.instance for disk in seen.disks} - set(mine)):
        yield Violation(invariant=11, title=f"host {name} has files of {uuid}, which should not be there")
    for network in seen.networks:
        if (network.uuid, host_id) not in facts.networks_on:
            if is_told(facts, host_id, seen):
                yield Violation(invariant=11, title=f"host {name} has network {network.uuid}, which nothing there uses")
        elif not network.healthy:
            yield Violation(invariant=11, title=f"network {network.uuid} on {name}: {network.detail}")
