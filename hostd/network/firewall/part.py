"""The firewall as a part of the host's networking: what stands in the kernel, and what leads to the document.

The kernel is the only memory. A mark in the table names what is loaded, the map of zones says which network has which,
and a second mark, loaded in the same transaction as a narrower ruleset, stands until the connections that are allowed
no longer are forgotten: so a crash between the two is made good by the next plan.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Final

import attrs

from hostd.drivers import Step
from hostd.network import conntrack, nft
from hostd.network.document import Document
from hostd.network.firewall import kernel, rules
from hostd.network.firewall.revocation import due, revoked
from hostd.network.firewall.rules import BRIDGE, INET, REVOKING, Backend
from hostd.network.firewall.tables import Table, difference, listed, removal, replacement
from hostd.network.nft import Json
from hostd.network.part import World
from hostd.spec import HostError

LOAD: Final = "firewall"
REMOVE: Final = "firewall_remove"
log = logging.getLogger(__name__)

_OURS: Final = frozenset({INET, BRIDGE})
_REVOKING: Final = {"chain": {"family": BRIDGE[0], "table": BRIDGE[1], "name": REVOKING}}


@attrs.frozen(kw_only=True)
class FirewallSeen:
    """Our rules as the kernel has them."""

    backend: Backend
    prepared: bool = True
    """What the backend needs of the kernel is loaded."""
    tables: frozenset[tuple[str, str]] = frozenset()
    """Those of our tables that stand."""
    mark: str | None = None
    """The mark of what the document asks for; None when something else is loaded, or nothing."""
    zones: Mapping[str, int] = attrs.field(factory=dict)
    """Bridge to conntrack zone."""
    revoking: bool = False
    """Connections that are allowed no longer may still be tracked."""
    switched_on: tuple[str, ...] = ()
    """Global switches of br_netfilter that must be off."""
    altered: tuple[str, ...] = ()
    """Chains, sets and maps that are not as they were loaded; found by a deep look."""


class Firewall:
    """Converges the rules of the host's own namespace."""

    def __init__(self) -> None:
        self._loaded: tuple[Table, ...] | None = None
        """What this process loaded last: what a difference starts from, when its mark still stands."""
        self._worked_out: tuple[Document, Backend, dict[str, int], tuple[Table, ...]] | None = None
        self._listed: tuple[str, dict[tuple[str, str], dict[str, str]]] | None = None
        """A mark, and how this kernel lists what it names."""
        self._harmed: tuple[str, ...] = ()
        """What the last deep look found altered, until it is loaded again: a shallow look would believe the mark."""

    @property
    def steps(self) -> tuple[str, ...]:
        return (LOAD,)

    @property
    def removals(self) -> tuple[str, ...]:
        return (REMOVE,)

    def seen(self, wanted: Document, world: World, *, deep: bool) -> FirewallSeen:
        """Raises HostError(NETWORK) when nft cannot be asked."""
        backend = kernel.backend()
        found = FirewallSeen(
            backend=backend,
            prepared=kernel.prepared(backend),
            tables=nft.tables() & _OURS,
            switched_on=kernel.switched_on(),
        )
        if found.tables != _OURS:
            return found
        found = attrs.evolve(found, zones=_zones(backend), revoking=nft.list_chain(*BRIDGE, REVOKING) is not None)
        if not wanted.present:
            return found
        tables = self._tables(wanted, found)
        mark = rules.mark_of(tables)
        if nft.list_chain(*BRIDGE, mark) is None:
            return found
        if deep:
            self._harmed = self._altered(tables, mark)
        return attrs.evolve(found, mark=mark, altered=self._harmed)

    def plan(self, wanted: Document, seen: FirewallSeen) -> tuple[Step, ...]:
        if not wanted.present:
            return (Step(REMOVE),) if seen.tables else ()
        if not self.faults(wanted, seen) and not seen.revoking:
            return ()
        # What somebody else changed is no ground for a difference to stand on.
        return (Step(LOAD, {"whole": bool(seen.altered)}),)

    def execute(self, step: Step, wanted: Document) -> None:
        """Raises HostError(NETWORK) with the kernel's words; the rules are then as they were."""
        if step.name == LOAD:
            self._load(wanted, whole=bool(step.args.get("whole")))
        elif step.name == REMOVE:
            nft.run(removal(sorted(nft.tables() & _OURS)))
            self._loaded = None
        else:
            raise ValueError(f"no step of the firewall: {step.name}")

    def faults(self, wanted: Document, seen: FirewallSeen) -> Mapping[str, str]:
        wrong = []
        if not wanted.present:
            wrong += [f"table {' '.join(table)} is left" for table in sorted(seen.tables)]
        elif seen.tables != _OURS:
            wrong += [f"table {' '.join(table)} is missing" for table in sorted(_OURS - seen.tables)]
        elif seen.mark != rules.mark_of(self._tables(wanted, seen)):
            wrong.append("other firewall rules are loaded")
        if seen.altered:
            wrong.append(f"firewall rules were changed: {', '.join(seen.altered[:5])}")
        if wanted.present and not seen.prepared:
            wrong.append("br_netfilter is not loaded")
        if wanted.present and seen.switched_on:
            wrong.append(f"{', '.join(seen.switched_on)} must be 0")
        return {"": "; ".join(wrong)} if wrong else {}

    def _load(self, wanted: Document, *, whole: bool) -> None:
        backend = kernel.backend()
        kernel.prepare(backend)
        tables = self._tables(wanted, FirewallSeen(backend=backend, zones=_zones(backend)))
        known = None if whole or self._harmed else self._standing()
        owed = known is None or due(known, tables) or nft.list_chain(*BRIDGE, REVOKING) is not None
        marks: list[Json] = [{"add": _REVOKING}] if owed else []
        changes = difference(known or _read_back(), tables)
        try:
            if changes is not None:
                nft.run(changes + marks)
        except HostError as error:
            # Somebody changed what the difference starts from, and left the mark.
            log.warning("firewall: replacing all, as a change was refused: %s", error)
            changes = None
        if changes is None:
            nft.run(replacement(tables) + marks)
        self._loaded, self._harmed = tables, ()
        if owed:
            zones = _networks(wanted, tables, backend)
            conntrack.delete(revoked(wanted, zones, conntrack.flows(rules.ZONES)))
            nft.run([{"delete": _REVOKING}])

    def _standing(self) -> tuple[Table, ...] | None:
        """What is loaded, as far as this process knows it."""
        if self._loaded is None or nft.list_chain(*BRIDGE, rules.mark_of(self._loaded)) is None:
            return None
        return self._loaded if INET in nft.tables() else None

    def _tables(self, wanted: Document, seen: FirewallSeen) -> tuple[Table, ...]:
        """Of the document; worked out once, as a plan asks several times."""
        zones = rules.allocated(wanted, seen.zones)
        known = self._worked_out
        if known is None or not (known[0] is wanted or known[0] == wanted) or known[1:3] != (seen.backend, zones):
            tables = rules.loaded(wanted, backend=seen.backend, zones=zones)
            self._worked_out = known = (wanted, seen.backend, zones, tables)
        return known[3]

    def _altered(self, tables: tuple[Table, ...], mark: str) -> tuple[str, ...]:
        if self._listed is None or self._listed[0] != mark:
            listings = nft.rehearse(replacement(tables), sorted(_OURS))
            self._listed = (mark, {table: _parts(items) for table, items in listings.items()})
        wrong: list[str] = []
        for table, expected in self._listed[1].items():
            there = _parts(nft.list_table(*table, stateless=True) or [])
            there.pop(f"chain {REVOKING}", None)
            wrong += sorted(name for name in expected.keys() | there.keys() if expected.get(name) != there.get(name))
        return tuple(wrong)


def _read_back() -> tuple[Table, ...]:
    """Our tables as they stand, those that do."""
    found = ((table, nft.list_table(*table, stateless=True)) for table in (INET, BRIDGE))
    return tuple(listed(*table, items) for table, items in found if items is not None)


def _zones(backend: Backend) -> dict[str, int]:
    """Bridge to zone, as the kernel has it."""
    table = INET if backend is Backend.BR_NETFILTER else BRIDGE
    return rules.zones_in(nft.list_map(*table, "zones") or [])


def _networks(wanted: Document, tables: tuple[Table, ...], backend: Backend) -> dict[str, int]:
    """Network to zone, as just loaded."""
    return rules.allocated(wanted, _zones(backend))


def _parts(items: list[Json]) -> dict[str, str]:
    """A listing by chain, set and map, each as text that is equal for equal content."""
    found: dict[str, list[str]] = {}
    for item in items:
        for kind, value in item.items():
            if kind == "table":
                continue
            plain = {key: held for key, held in value.items() if key not in ("handle", "elem")}
            owner = f"chain {value['chain']}" if kind == "rule" else f"{kind} {value['name']}"
            # Rules stand in order; elements do not.
            elements = sorted(json.dumps(element, sort_keys=True) for element in value.get("elem", ()))
            found.setdefault(owner, []).append(json.dumps([plain, elements], sort_keys=True))
    return {owner: "\n".join(parts) for owner, parts in found.items()}
