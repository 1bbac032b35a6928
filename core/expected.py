"""A person acts on what was on the screen: when that is no longer so, nothing is done.

Between a key press and the transaction it leads to lie a question, its answer and other people. What decides an act
(its object's name, state, place and what hangs on it) is compared inside the transaction that acts, so that there is
no moment in which it can change unseen. Figures that merely move, such as a progress or a load, decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlmodel import Session

from core.context import Context
from core.errors import Conflict, NotFound
from core.listing import Listing, one

_STATE: Final = ("name", "status", "state", "enabled", "host")

MATTERS: Final[dict[str, tuple[str, ...]]] = {
    "instance": (*_STATE, "locked", "flavor", "ip"),
    "volume": (*_STATE, "size_gb", "attachments", "type"),
    "snapshot": (*_STATE, "volume_id"),
    "network": ("name", "shared", "external"),
    "subnet": ("name", "cidr", "network_id"),
    "port": ("name", "device_id", "ip", "host", "security_group_ids"),
    "router": ("name", "external_network_id", "interfaces"),
    "floating_ip": ("address", "port_id", "fixed_ip"),
    "security_group": ("name",),
    "security_group_rule": ("rule", "security_group_id"),
    "image": ("name", "status", "visibility", "protected"),
    "image_member": ("image_id", "member_id", "status"),
    "operation": ("kind", "object_id"),
    "project": ("name", "enabled"),
}
"""Noun to the columns of its listing that decide; of nouns that are not named here `_STATE`, as far as they have it.

A port's and a floating IP's status follow their hosts by themselves, and an operation's state its engine: their guards
say what is too late.
"""


def changes(listing: Listing, seen: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in what matters: `status ACTIVE → SHUTOFF`. Columns that were not seen are not compared."""
    found = []
    for column in MATTERS.get(listing.kind, _STATE):
        if column in seen and column in now and seen[column] != now[column]:
            found.append(f"{column.replace('_', ' ')} {_said(seen[column])} → {_said(now[column])}")
    return found


def check(session: Session, ctx: Context, listing: Listing, seen: Mapping[str, Any]) -> None:
    """Call first in the transaction that acts on the row that was `seen`.

    Raises NotFound when its object is gone, Conflict naming what changed.
    """
    name = str(seen.get(listing.name) or seen[listing.key])
    row = one(session, ctx, listing, seen[listing.key])
    if row is None:
        raise NotFound(f"{name} is gone", hint="Somebody deleted it. Nothing was done.")
    if differs := changes(listing, seen, row):
        raise Conflict(
            f"{name} changed since you looked: {', '.join(differs)}",
            hint="Nothing was done. Look at it as it is now, and ask again.",
        )


def _said(value: Any) -> str:
    """A value as a person reads it: of a list of objects their names or ids."""
    if isinstance(value, list | tuple):
        return ", ".join(_said(item) for item in value) or "none"
    if isinstance(value, dict):
        return str(value.get("server") or value.get("name") or value.get("server_id") or value.get("id") or value)
    return str(value) if value not in (None, "") else "none"
