"""The weigher: most room first, as a share of the most that any place has; the same places keep the order of names."""

from __future__ import annotations

from collections.abc import Sequence

from core.volumes.placement.model import Place


def rank(places: Sequence[Place]) -> list[tuple[Place, float]]:
    """[(place, 0 to 1)…], best first."""
    most = max((place.room_gb for place in places), default=0)
    weighed = [(place, place.room_gb / most if most else 0.0) for place in places]
    return sorted(weighed, key=lambda pair: (-pair[1], pair[0].name))
