"""Projects: what owns everything."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Command, command
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Confirm, Needs, Reason, Row, Verb, deletion, editing
from tui.view import Cell, Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import facts, plain, yes_no
from tui.views.policy import needs_role
from tui.views.quotas import EDIT, QUOTAS


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.identity import projects

    return projects.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("project:delete")(ctx, row)
    if refused is None and row.get("id") == ctx.project_id:
        return "this is the project you work in", "Enter another one first."
    return refused


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.identity import projects

    with store.write() as session:
        made = projects.create(session, ctx, name=values["name"].strip(), description=values["description"].strip())
    return f"project {made.name} made; Enter works in it"


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("project", "create").option("--description", values["description"].strip())
    return [line.end(values["name"].strip())]


def used(row: Row, resource: str) -> Cell:
    """`12/20`: what a project uses of a quota; ram and volumes in GiB."""
    use, limit = row["use"][resource]
    tone = "" if limit < 0 else "bad" if use >= limit else "warn" if use >= limit * 0.8 else ""
    if resource == "ram":
        use, limit = use >> 10, limit >> 10 if limit >= 0 else limit
    return f"{use}/{limit if limit >= 0 else '-'}", tone


def _used(resource: str) -> Any:
    return lambda row, now: used(row, resource)


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    from core.identity import quotas

    lines = facts([("enabled", "yes" if row["enabled"] else "no"), ("about", row["description"]), ("id", row["id"])])
    lines += [[("", "")], [(f"{'QUOTA':<30} {'USED':>8} {'LIMIT':>14}", "head")]]
    for usage in quotas.show(session, ctx, row["id"]):
        limit = "unlimited" if usage.limit == quotas.UNLIMITED else str(usage.limit)
        full = usage.used is not None and 0 <= usage.limit <= usage.used
        used = "-" if usage.used is None else str(usage.used)
        lines.append([(f"{usage.resource:<30} {used:>8} {limit:>14}", "warn" if full else "")])
    return lines


VIEW = View(
    kind="project",
    title="Projects",
    aliases=("p", "project"),
    columns=(
        Column(title="NAME", key="name", width=16, grow=18),
        Column(title="INST", key="instances", width=8, cell=_used("instances"), right=True),
        Column(title="VCPU", width=8, cell=_used("cores"), right=True),
        Column(title="RAM", width=8, cell=_used("ram"), right=True),
        Column(title="VOL G", width=9, cell=_used("gigabytes"), right=True),
        Column(title="USERS", width=5, cell=plain("users"), right=True),
        Column(title="ENABLED", key="enabled", width=7, cell=yes_no("enabled")),
        Column(title="DESCRIPTION", key="description", width=24, grow=40, cell=plain("description"), wide=True),
        Column(title="ID", key="id", width=32, wide=True),
    ),
    verbs=(
        Verb(**{**OPEN.__dict__, "label": "switch", "help": "Work in this project"}),
        DESCRIBE,
        NEW,
        *editing(
            EDIT, help="Change name, description, whether it is enabled", disabled_reason=needs_role("project:set")
        ),
        Verb(
            name="quotas",
            key="f",
            label="quotas",
            help="Change what it may have",
            needs=Needs.OBJECT,
            form=QUOTAS,
            disabled_reason=needs_role("quota:set"),
        ),
        deletion(
            _delete,
            help="Delete the project and all it owns: a plan first",
            disabled_reason=_deletable,
            confirm=Confirm.TYPE,
            plan=lambda row: "project.delete",
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=Form(
        title="New project",
        fields=(Field(name="name", label="name"), Field(name="description", label="about")),
        load=lambda session, ctx, row: Loaded(values={"name": "", "description": ""}),
        submit=_submit,
        command=_command,
    ),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [[(f"{row['instances']} instances   {row['description']}", "")], [(row["id"], "dim")]],
    enter_action="enter_project",
)
