"""Hardware addresses: which ones ports get."""

from __future__ import annotations

from typing import Final

from sqlmodel import Session, col

from core.errors import Conflict
from core.network.tables import Port
from core.sql import select
from core.store import clock_of

BASE_MAC: Final = "fa:16:3e"
"""neutron's base_mac."""


def free(session: Session) -> str:
    """One that no port has. Raises Conflict when none was found."""
    dice = clock_of(session).random
    for _ in range(64):
        mac = ":".join([BASE_MAC, *(f"{dice.randrange(256):02x}" for _ in range(3))])
        if session.execute(select(Port.id).where(col(Port.mac) == mac)).first() is None:
            return mac
    raise Conflict("no free MAC address was found", hint="Try again.")
