"""Who asks: carried through every verb, into policy, quotas and the audit trail."""

from __future__ import annotations

import dataclasses
import uuid


def request_id() -> str:
    """A new request id in OpenStack's form: `req-` and a UUID."""
    return f"req-{uuid.uuid4()}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """One request's identity. Immutable; `dataclasses.replace` makes a changed one."""

    user_id: str
    """32 hex digits."""
    user_name: str
    project_id: str
    """32 hex digits: the project objects are made in and seen from."""
    project_name: str
    roles: frozenset[str]
    """As assigned; policy expands what they imply."""
    source: str = "cli"
    """Where the request came from: cli, app, serve."""
    request_id: str = dataclasses.field(default_factory=request_id)
    all_projects: bool = False
    """Lists span projects. Only an admin's request may set it; policy checks."""

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles
