"""The lowest free number of a range: how addresses and segments are given out.

The database counts, by an index; Python sees a handful of numbers however many are taken.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from sqlalchemy import func
from sqlmodel import Session

from core.sql import select

HIGHEST: Final = 2**63 - 1
"""The largest number a database keeps."""

_HOST_PART: Final = 2**64 - 1


def of_address(ip: str) -> int | None:
    """An address as a number that orders its subnet: all of an IPv4 address, the last 64 bits of an IPv6 one.

    None when that is more than a database keeps: such an address was derived or named, never the next free one.
    """
    number = int(ipaddress.ip_address(ip)) & _HOST_PART
    return number if number <= HIGHEST else None


def lowest_free(session: Session, number: Any, *where: Any, first: int, last: int) -> int | None:
    """The lowest number from `first` to `last` that no row has in the column `number`; None when all are taken.

    `where` chooses the rows; their numbers are distinct. Mostly one query, and never more than 64: numbers handed
    out in order leave no gap, and a gap is found by halving.
    """
    taken, highest = session.execute(
        select(func.count(), func.max(number)).where(*where, number >= first, number <= last)
    ).one()
    if not taken:
        return first
    low, high = first, int(highest)
    if taken == high - low + 1:
        return high + 1 if high < last else None
    while low < high:
        middle = (low + high) // 2
        below = session.execute(select(func.count()).where(*where, number >= low, number <= middle)).scalar_one()
        if below == middle - low + 1:
            low = middle + 1
        else:
            high = middle
    return low
