"""Who may do what. Rules in code, overridden by a policy file; an unknown rule denies.

A rule names the least role that may act. Within a project the role must be held in that project; rules marked
`admin` are the operator's. Reading another project's object is answered NotFound by the loaders, not Forbidden here:
that an id exists is nobody else's business.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from core.context import Context
from core.errors import Forbidden, Invalid

ROLES = ("reader", "member", "manager", "admin")
"""Each includes the ones before it."""

RULES: dict[str, str] = {
    "project:list": "reader",
    "project:create": "admin",
    "project:set": "admin",
    "project:delete": "admin",
    "user:list": "admin",
    "quota:show": "reader",
    "quota:set": "admin",
    "flavor:list": "reader",
    "flavor:create": "admin",
    "flavor:set": "admin",
    "flavor:delete": "admin",
    "keypair:list": "reader",
    "keypair:create": "reader",
    "keypair:delete": "reader",
    "image:list": "reader",
    "image:create": "member",
    "image:create_public": "admin",
    "image:import_file": "admin",
    "image:set": "member",
    "image:delete": "member",
    "network:list": "reader",
    "network:create": "member",
    "network:set": "member",
    "network:delete": "member",
    "network:provider": "admin",
    "network:external": "admin",
    "network:share_all": "admin",
    "network:rbac": "member",
    "network:repair": "admin",
    "router:list": "reader",
    "router:create": "member",
    "router:set": "member",
    "router:delete": "member",
    "router:no_snat": "admin",
    "floating_ip:list": "reader",
    "floating_ip:create": "member",
    "floating_ip:set": "member",
    "floating_ip:delete": "member",
    "security_group:list": "reader",
    "security_group:create": "member",
    "security_group:set": "member",
    "security_group:delete": "member",
    "instance:list": "reader",
    "instance:create": "member",
    "instance:force_host": "admin",
    "instance:set": "member",
    "instance:delete": "member",
    "instance:power": "member",
    "instance:lock": "member",
    "instance:unlock_override": "admin",
    "instance:console": "member",
    "instance:console_log": "reader",
    "instance:ssh": "member",
    "volume:list": "reader",
    "volume:create": "member",
    "volume:set": "member",
    "volume:delete": "member",
    "volume:force_delete": "admin",
    "volume:attach": "member",
    "volume:transfer": "member",
    "volume:upload": "member",
    "volume_type:list": "reader",
    "volume_type:manage": "admin",
    "snapshot:list": "reader",
    "snapshot:create": "member",
    "snapshot:set": "member",
    "snapshot:delete": "member",
    "backup:list": "reader",
    "backup:create": "member",
    "backup:set": "member",
    "backup:delete": "member",
    "backup:restore": "member",
    "backend:list": "admin",
    "backend:manage": "admin",
    "image:share": "member",
    "image:deactivate": "admin",
    "image:cache": "admin",
    "host:list": "admin",
    "host:manage": "admin",
    "aggregate:list": "admin",
    "aggregate:manage": "admin",
    "operation:list": "reader",
    "operation:manage": "member",
    "event:list": "reader",
    "finding:list": "admin",
    "finding:act": "admin",
    "all_projects": "admin",
}

_overrides: dict[str, str] = {}


def load_file(path: Path) -> None:
    """Take overrides from a TOML file of `rule = "role"`. Raises Invalid for a rule or role that does not exist."""
    _overrides.clear()
    if not path.exists():
        return
    try:
        rules = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as bad:
        raise Invalid(f"{path} is not TOML: {bad}") from bad
    for rule, role in rules.items():
        if rule not in RULES:
            raise Invalid(f"{path}: unknown rule {rule!r}", hint=f"Known: {', '.join(RULES)}.")
        if role not in ROLES:
            raise Invalid(f"{path}: {rule}: unknown role {role!r}", hint=f"Known: {', '.join(ROLES)}.")
        _overrides[rule] = role


def needed(rule: str) -> str | None:
    """The least role a rule asks for; None for an unknown rule."""
    return _overrides.get(rule, RULES.get(rule))


def allowed(ctx: Context, rule: str) -> bool:
    """Whether the caller's roles satisfy the rule."""
    least = needed(rule)
    if least is None:
        return False
    rank = ROLES.index(least)
    return any(role in ctx.roles for role in ROLES[rank:])


def authorize(ctx: Context, rule: str) -> None:
    """Raise Forbidden unless the caller may."""
    if not allowed(ctx, rule):
        least = needed(rule) or "nobody"
        raise Forbidden(
            f"policy {rule} needs the role {least}",
            hint=f"{ctx.user_name} has {', '.join(sorted(ctx.roles)) or 'no role'} in project {ctx.project_name}.",
        )
