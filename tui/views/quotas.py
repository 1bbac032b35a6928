"""What a project may have: its quotas as a form, and the project's own name and state."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.verbs import Row
from tui.view import Field, Form, Holds, Lines, Loaded
from tui.views.wires import handle

SHOWN = (
    ("instances", "instances"),
    ("cores", "vCPUs"),
    ("ram", "RAM"),
    ("key_pairs", "keypairs"),
    ("networks", "networks"),
    ("subnets", "subnets"),
    ("ports", "ports"),
    ("routers", "routers"),
    ("floating_ips", "floating"),
    ("security_groups", "groups"),
    ("security_group_rules", "rules"),
    ("volumes", "volumes"),
    ("snapshots", "snapshots"),
    ("gigabytes", "gigabytes"),
    ("backups", "backups"),
    ("backup_gigabytes", "in backups"),
    ("images", "images"),
)
"""Resource and label, in the order of the form; the command line sets the others besides."""

HINTS = {"ram": "MiB", "gigabytes": "GiB of volumes and snapshots", "backup_gigabytes": "GiB"}


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    from core.identity import quotas

    assert row is not None
    limits = quotas.limits(session, row["id"])
    return Loaded(
        values={"id": row["id"], "name": row["name"], **{what: str(limits[what]) for what, _ in SHOWN}},
        facts={
            "handle": handle(session, ctx, "project", row),
            "used": quotas.tally(session, row["id"]),
        },
    )


def _limit(resource: str, text: str) -> int:
    from core.errors import Invalid

    plain = text.strip()
    if not plain.removeprefix("-").isdecimal():
        raise Invalid(f"{text!r} is no limit of {resource}", hint="A whole number; -1: unlimited.")
    return int(plain)


def _changed(loaded: dict[str, str], values: dict[str, str]) -> dict[str, int]:
    return {
        what: _limit(what, values[what]) for what, _ in SHOWN if values[what].strip() != loaded.get(what, "").strip()
    }


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.identity import quotas

    with store.write() as session:
        now = {what: str(limit) for what, limit in quotas.limits(session, values["id"]).items()}
        quotas.update(session, ctx, values["id"], values["name"], _changed(now, values))
    return f"quotas of {values['name']} changed"


def _preview(loaded: Loaded, values: dict[str, str]) -> Lines:
    """Where a limit is below what is used: that is allowed, and nothing goes away."""
    below = []
    for what, label in SHOWN:
        text, used = values[what].strip(), loaded.facts["used"].get(what, 0)
        if text.isdecimal() and int(text) < used:
            below.append(f"{label} {used}/{text}")
    if not below:
        return []
    return [[("! ", "warn"), (f"below what is used, so that nothing more can be made: {', '.join(below)}", "warn")]]


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("quota", "set")
    for what, limit in _changed(loaded.values, values).items():
        line.extend([f"--{what.replace('_', '-')}", str(limit)])
    return [line.end(loaded.facts["handle"])] if len(line) > 2 else []


QUOTAS = Form(
    title="Quotas",
    fields=tuple(
        Field(name=what, label=label, hint=HINTS.get(what, "-1: unlimited"), holds=Holds.NUMBER)
        for what, label in SHOWN
    ),
    load=_load,
    submit=_submit,
    preview=_preview,
    command=_command,
)


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={
            "id": row["id"],
            "name": row["name"],
            "description": row["description"],
            "enabled": str(bool(row["enabled"])),
        },
        choices={"enabled": [("True", "yes"), ("False", "no: nobody can work in it")]},
        facts={"handle": handle(session, ctx, "project", row)},
    )


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.identity import projects

    with store.write() as session:
        changed = projects.update(
            session,
            ctx,
            values["id"],
            name=values["name"].strip(),
            description=values["description"].strip(),
            enabled=values["enabled"] == "True",
        )
        return f"project {changed.name} changed"


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("project", "set"), Changes(loaded.values, values)
    changes.option(line, "--name", "name")
    changes.option(line, "--description", "description")
    changes.either(line, "enabled", "--enable", "--disable")
    return [line.end(loaded.facts["handle"])]


EDIT = Form(
    title="Change project",
    fields=(
        Field(name="name", label="name"),
        Field(name="description", label="about"),
        Field(name="enabled", label="enabled", choices=True, holds=Holds.FLAG),
    ),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)
