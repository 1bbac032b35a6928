"""What a relation is: pairs of keys, of something and of what depends on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sqlalchemy import Select

from core.context import Context
from core.sql import select

Pairs = Callable[[Context], Select[Any]]
"""The context to a SELECT of two columns: the key of the one above, and the key of the one below that depends on it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relation:
    """`below` depends on `above`: a port on its network, a server on its host."""

    above: str
    """A key of core.lists.LISTINGS."""
    below: str
    title: str
    """What those below are called on the page of the one above: `servers`."""
    pairs: Pairs
    owner: bool = False
    """Whether the one above is what the one below belongs to. Of several owners the first declared one counts that is
    there: a port belongs to its server, and to its network when it is on none."""
    inside: bool = True
    """Whether a tree shows those below under the one above. Not so where they are inside something else as well: a
    server is inside its host, not inside its image."""
    mutual: str = ""
    """What the one above is called among those that depend on the one below, when it does as well: a server cannot lose
    a volume that it has. Empty: it does not."""
    filter: str = ""
    """The filter by which the list of `below` shows just these, with the columns of the row above in braces:
    `network_id={id}`. Empty: no column tells."""


def pairs(above: Any, below: Any, *where: Any) -> Pairs:
    """Of two columns, of one table or of several that `where` joins."""
    return lambda ctx: select(above, below).where(above.is_not(None), *where)


def narrowed(above: Any, below: Any, mine: Callable[[Context], Any], *where: Any) -> Pairs:
    """The same, where it matters who asks."""
    return lambda ctx: select(above, below).where(mine(ctx), *where)
