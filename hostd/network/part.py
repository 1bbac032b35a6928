"""One part of a host's networking: what the driver is put together from.

The driver looks once (`World`), asks every part what it sees and what it would do, and carries the steps
out in its own order: guards first, then what makes, then what takes away. A part knows its own objects
and nobody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

import attrs

from hostd.drivers import Step
from hostd.network.document import Document
from hostd.network.rtnetlink import Link

SeenT = TypeVar("SeenT")


@attrs.frozen(kw_only=True)
class World:
    """What all parts need of one look at the host."""

    links: Mapping[str, Link]
    """Of the host's own namespace, by name; addresses are not read."""
    namespaces: frozenset[str]
    """Every named namespace, ours or not."""


class Part(Protocol[SeenT]):
    """Converges its share of a document. All methods block; HostError(NETWORK) with the cause when the host says no."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of its steps that make, in order: `firewall`, `links`, …; the crash tests enumerate them."""

    @property
    def removals(self) -> tuple[str, ...]:
        """Names of its steps that take away; they run after every part's steps, parts in reverse."""

    def seen(self, wanted: Document, world: World, *, deep: bool) -> SeenT:
        """What there is of ours, in the document or not. Not deep: a mark that names what was last put there may be
        believed (an apply asks so). Deep: everything is read (an observation asks so)."""

    def plan(self, wanted: Document, seen: SeenT) -> tuple[Step, ...]:
        """What leads from `seen` to the document. Pure, and empty when all is so. `Step.args` hold plain values."""

    def execute(self, step: Step, wanted: Document) -> None:
        """Do one step. Idempotent: it may have been done, wholly or in part, before a crash."""

    def faults(self, wanted: Document, seen: SeenT) -> Mapping[str, str]:
        """What is not as the document says, by network uuid (empty key: the host as a whole), for a person. Pure."""
