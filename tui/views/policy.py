"""Reasons that policy gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui.verbs import Reason, Row


def needs_role(rule: str) -> Callable[[Any, Row], Reason | None]:
    """A disabled_reason: the policy rule, and who could help."""

    def disabled(ctx: Any, row: Row) -> Reason | None:
        from core.identity import policy

        if policy.allowed(ctx, rule):
            return None
        return f"policy {rule} needs the role {policy.needed(rule)}", "An admin can give you the role."

    return disabled
