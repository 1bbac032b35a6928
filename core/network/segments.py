"""Segments: the VNI or VLAN id that keeps one network's frames apart from all others, from a pool or as an admin says.

UNIQUE(type, physical network, segment) is the database's, so two creates at once cannot have one segment.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from sqlmodel import Session, col

from core.config import Config
from core.errors import Conflict, Invalid
from core.network import numbers
from core.network.tables import Network
from core.sql import select
from hostd.spec import SegmentType

TUNNEL = 50
"""Bytes of VXLAN over IPv4 around each frame."""

_LAST = {SegmentType.VXLAN: 2**24 - 1, SegmentType.VLAN: 4094}
_PHYSICAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    type: SegmentType
    physical_network: str
    """Empty for vxlan."""
    id: int | None
    """VNI or VLAN id; None for flat."""


def largest_mtu(type: str, underlay_mtu: int) -> int:
    """What a network of this type can carry on an underlay of `underlay_mtu` bytes."""
    return underlay_mtu - TUNNEL if type == SegmentType.VXLAN else underlay_mtu


def assign(
    session: Session, config: Config, *, type: str | None, physical_network: str | None, id: int | None
) -> Segment:
    """The segment of a new network: as asked for, else the lowest free of the configured ranges.

    Raises Invalid for what makes no sense together, Conflict for a segment that is taken and for an empty pool.
    """
    try:
        kind = SegmentType(type or SegmentType.VXLAN)
    except ValueError as bad:
        raise Invalid(f"{type!r} is not a network type", hint="vxlan, vlan or flat.") from bad
    if kind is SegmentType.VXLAN:
        if physical_network:
            raise Invalid("a vxlan network has no physical network", hint="It goes over the hosts' own addresses.")
    elif not physical_network or not _PHYSICAL.fullmatch(physical_network):
        raise Invalid(
            f"a {kind} network needs a physical network, not {physical_network!r}",
            hint="The name that hosts give the way there: skydeck host set --physnet NAME=INTERFACE.",
        )
    place = physical_network or ""
    if kind is SegmentType.FLAT:
        if id is not None:
            raise Invalid("a flat network has no segment", hint="Its frames are untagged.")
        _free(session, kind, place, None)
        return Segment(type=kind, physical_network=place, id=None)
    if id is None:
        return Segment(type=kind, physical_network=place, id=_next(session, config, kind, place))
    if not 1 <= id <= _LAST[kind]:
        raise Invalid(f"a {kind} network cannot have segment {id}", hint=f"Between 1 and {_LAST[kind]}.")
    _free(session, kind, place, id)
    return Segment(type=kind, physical_network=place, id=id)


def _free(session: Session, kind: SegmentType, place: str, id: int | None) -> None:
    taken = session.execute(
        select(Network.id).where(*_of(kind, place), col(Network.segmentation_id).is_not_distinct_from(id))
    ).first()
    if taken is not None:
        what = f"physical network {place}" if id is None else f"segment {id}" + (f" of {place}" if place else "")
        raise Conflict(f"{what} is taken by another {kind} network", hint="Choose another.")


def _next(session: Session, config: Config, kind: SegmentType, place: str) -> int:
    ranges = _vnis(config) if kind is SegmentType.VXLAN else _vlans(config).get(place, [])
    if not ranges:
        raise Invalid(
            f"no VLAN ids are set aside for physical network {place}",
            hint="Name one, or set network_vlan_ranges in the configuration.",
        )
    for first, last in ranges:
        found = numbers.lowest_free(session, col(Network.segmentation_id), *_of(kind, place), first=first, last=last)
        if found is not None:
            return found
    raise Conflict(
        f"every {kind} segment that is set aside{f' for {place}' if place else ''} is taken",
        hint="Delete a network, or widen the range in the configuration.",
    )


def _of(kind: SegmentType, place: str) -> tuple[Any, ...]:
    return col(Network.network_type) == kind.value, col(Network.physical_network) == place


def _vnis(config: Config) -> list[tuple[int, int]]:
    return [_range(text, text, SegmentType.VXLAN, "vni_ranges") for text in _parts(config.vni_ranges)]


def _vlans(config: Config) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for text in _parts(config.network_vlan_ranges):
        place, _, numbers_ = text.partition(":")
        found.setdefault(place, []).append(_range(numbers_, text, SegmentType.VLAN, "network_vlan_ranges"))
    return found


def _parts(setting: str) -> list[str]:
    return [part for text in setting.split(",") if (part := text.strip())]


def _range(ends: str, text: str, kind: SegmentType, setting: str) -> tuple[int, int]:
    first, _, last = ends.partition(":")
    if not (first.isdecimal() and last.isdecimal()) or not 1 <= int(first) <= int(last) <= _LAST[kind]:
        raise Invalid(
            f"the setting {setting} holds {text!r}, which is no range",
            hint=f"FIRST:LAST, from 1 to {_LAST[kind]}.",
        )
    return int(first), int(last)
