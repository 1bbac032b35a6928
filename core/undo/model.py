"""What takes one event back, and that nothing does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sqlmodel import Session

from core.config import Config
from core.context import Context

Run = Callable[[Session, Context, Config], object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inverse:
    """The verb that takes one event back."""

    says: str
    """`start web-01`."""
    asks: bool = True
    """Whether a person is asked before: as for that verb when it is done by its own key."""
    dangerous: bool = False
    """Whether it takes something away."""
    loses: str = ""
    """What is not as it was, all the same."""
    run: Run = dataclasses.field(compare=False)


class Irreversible(Exception):
    """Cannot be taken back; says why and what there is instead. Only inside this package."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint
