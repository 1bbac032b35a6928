"""What a host stores, put together from the listings: its pools and what they have promised, volumes nobody knows of,
the image cache. The command line and the app show the same."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from tui.verbs import Row

GIB: Final = 1 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """A backend, as one host reaches it. Sizes in bytes."""

    backend: str
    driver: str
    shared: bool
    """Its room is all hosts' together."""
    reachable: bool
    detail: str
    """Why it is not."""
    hint: str
    total: int
    free: int
    promised: int
    """What volumes may grow to."""
    most: float
    """How many times its capacity may be promised."""
    volumes: int
    seen_at: int

    @property
    def used(self) -> int:
        return max(0, self.total - self.free)

    @property
    def over(self) -> float:
        """How many times its capacity is promised."""
        return self.promised / self.total if self.total else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orphan:
    """Something in a pool that no volume in the database is. Shown, never deleted by itself."""

    id: str
    backend: str
    why: str
    """How it can have come to be there."""
    allocated: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """All of it, of one host."""

    pools: tuple[Pool, ...]
    orphans: tuple[Orphan, ...]
    images: tuple[Row, ...]
    """Rows of the listing `cached_image`, the largest first."""


def stored(session: Any, ctx: Any, host: Row) -> Stored:
    """Of a row of the listing `host`. Raises Forbidden."""
    from core.volumes.stored import compare

    wide = dataclasses.replace(ctx, all_projects=ctx.is_admin)
    pools = []
    for row in _listed(session, wide, "backend_host", where={"host_id": host["id"]}, sort="backend"):
        kept = _listed(session, wide, "volume", where={"backend_id": row["backend_id"]})
        here = kept if row["shared"] else [each for each in kept if each["host_id"] == host["id"]]
        pools.append(
            Pool(
                backend=row["backend"],
                driver=row["driver"],
                shared=row["shared"],
                reachable=row["reachable"],
                detail=row["detail"],
                hint=row["hint"],
                total=row["total_bytes"],
                free=row["free_bytes"],
                promised=sum(each["size_gb"] for each in here) * GIB,
                most=row["max_over_subscription"],
                volumes=len(here),
                seen_at=row["seen_at"],
            )
        )
    orphans = [
        Orphan(id=each.uuid, backend=found.backend.name, why=each.why, allocated=each.allocated)
        for found in compare(session, host_id=host["id"])
        for each in found.unknown
    ]
    images = _listed(session, wide, "cached_image", where={"host_id": host["id"]}, sort="-size")
    return Stored(pools=tuple(pools), orphans=tuple(orphans), images=tuple(images))


def _listed(session: Any, ctx: Any, kind: str, **options: Any) -> list[Row]:
    from core import listing
    from core.lists import LISTINGS

    return listing.page(session, ctx, LISTINGS[kind], **options)
