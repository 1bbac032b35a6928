"""Security groups: named sets of what may pass a port."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.locator import Locator
from tui.verbs import CLONE, COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Needs, Reason, Row, Verb, deletion, editing
from tui.view import Column, Field, Form, Lines, Loaded, Tab, View
from tui.views import security_group_rules
from tui.views.cells import aged, plain, short
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.security_group_rules import rule_line
from tui.views.wires import fresh, handle, listed, status, table, within

DEFAULT = "default"


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import security_groups

    return security_groups.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("security_group:delete")(ctx, row)
    if refused is None and row.get("ports"):
        return f"{row['ports']} ports are in it", "Take it off them first: e on a port."
    if refused is None and row.get("name") == DEFAULT and not ctx.is_admin:
        return "every project keeps its default group", "An admin may delete it."
    return refused


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import security_groups

    with store.write() as session:
        made = security_groups.create(
            session, ctx, name=values["name"].strip(), description=values["description"].strip()
        )
        name = made.name
        rules = _rules_like(session, ctx, values["like"]) if values["like"] else []
        for rule in rules:
            # What its own members may, the new one's may among themselves.
            itself = {"remote_group": made.id} if rule.get("remote_group") == values["like"] else {}
            security_groups.add_rule(session, ctx, made.id, **(rule | itself))
    if values["like"]:
        return f"group {name} made, with {len(rules)} rules besides everything out"
    return f"group {name} made: everything out, nothing in; A allows more"


def _rules_like(session: Any, ctx: Any, id: str) -> list[dict[str, Any]]:
    """A group's rules as `add_rule` takes them, without those that every group begins with."""
    found = []
    for row in listed(session, ctx, "security_group_rule", where={"security_group_id": id}, sort="rule"):
        rule = {
            "direction": row["direction"],
            "ethertype": row["ethertype"],
            "protocol": row["protocol"],
            "port_min": row["port_range_min"],
            "port_max": row["port_range_max"],
            "description": row["description"],
        }
        rule |= {"remote_ip": row["remote_ip_prefix"]} if row["remote_ip_prefix"] else {}
        rule |= {"remote_group": row["remote_group_id"]} if row["remote_group_id"] else {}
        everything = row["protocol"] is None and not {"remote_ip", "remote_group"} & rule.keys()
        if not (everything and row["direction"] == "egress"):
            found.append(rule)
    return found


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    name = values["name"].strip()
    lines = [command("security", "group", "create").option("--description", values["description"].strip()).end(name)]
    for rule in loaded.facts.get("rules", ()):
        other = rule.get("remote_group")
        named = {"remote_group": name if other == values["like"] else loaded.facts["groups"][other]} if other else {}
        lines.append(security_group_rules.command_of(rule | named).end(name))
    return lines


def _load_like(session: Any, ctx: Any, row: Row) -> Loaded:
    groups = listed(session, ctx, "security_group")
    return Loaded(
        values={
            "name": fresh(session, ctx, "security_group", f"{row['name']}-1"),
            "description": row["description"],
            "like": row["id"],
        },
        facts={
            "rules": _rules_like(session, ctx, row["id"]),
            "groups": {each["id"]: handle(session, ctx, "security_group", each) for each in groups},
        },
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("security", "group", "set"), Changes(loaded.values, values)
    changes.option(line, "--name", "name")
    changes.option(line, "--description", "description")
    return [line.end(loaded.facts["handle"])]


FIELDS = (Field(name="name", label="name"), Field(name="description", label="about"))

FORM = Form(
    title="New security group",
    fields=FIELDS,
    load=lambda session, ctx, row: Loaded(
        values={"name": fresh(session, ctx, "security_group", "group-1"), "description": "", "like": ""}
    ),
    submit=_submit,
    command=_command,
    like=_load_like,
)


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={key: row[key] for key in ("id", "name", "description")},
        hidden=frozenset({"name"}) if row["name"] == DEFAULT else frozenset(),
        facts={"handle": handle(session, ctx, "security_group", row)},
    )


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import security_groups

    name = values["name"].strip()
    with store.write() as session:
        security_groups.set(session, ctx, values["id"], name=name, description=values["description"].strip())
    return f"group {name} changed"


EDIT = Form(title="Change security group", fields=FIELDS, load=_load_edit, submit=_submit_edit, command=_command_edit)


def rules(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    found = listed(session, ctx, "security_group_rule", where={"security_group_id": row["id"]}, sort="rule")
    lines: Lines = [rule_line(rule) for rule in found]
    if not any(rule["direction"] == "ingress" for rule in found):
        lines.append([("  nothing comes in but replies: A allows something", "dim")])
    return lines


def members(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    heads = [("IP", 16), ("STATUS", 9), ("DEVICE", 20), ("NETWORK", 16), ("HOST", 12)]
    found = [port for port in listed(session, ctx, "port", sort="ip") if row["id"] in port["security_group_ids"]]
    return table(
        heads,
        [
            [port["ip"] or port["label"], status(port, now), port["device"], port["network"], port["host"]]
            for port in found
        ],
        none="no port is in it",
    )


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    return [[(row["description"], "dim")], [("", "")], *rules(session, ctx, row, now), *recent(session, ctx, row, now)]


VIEW = View(
    kind="security_group",
    title="Security groups",
    aliases=("sg", "group"),
    columns=(
        Column(title="NAME", key="name", width=18, grow=18),
        Column(title="RULES", key="rules", width=5, right=True),
        Column(title="PORTS", key="ports", width=5, right=True),
        Column(title="DESCRIPTION", key="description", width=30, grow=40, cell=plain("description")),
        Column(title="PROJECT", key="project", width=10, wide=True, cell=plain("project")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        Verb(**{**OPEN.__dict__, "label": "rules", "help": "Its rules"}),
        DESCRIBE,
        NEW,
        CLONE,
        Verb(
            name="rule",
            key="A",
            label="allow",
            help="Allow something more: ssh, http, ping, …",
            needs=Needs.OBJECT,
            form=security_group_rules.FORM,
            disabled_reason=needs_role("security_group:set"),
        ),
        *editing(EDIT, help="Change name and description", disabled_reason=needs_role("security_group:set")),
        deletion(_delete, help="Delete the group; no port may be in it", disabled_reason=_deletable),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(
        Tab(title="Overview", read=overview),
        Tab(title="Rules", read=rules),
        Tab(title="Members", read=members),
    ),
    preview=lambda row, now: [
        [(f"rules {row['rules']}   ports {row['ports']}   {row['description']}", "")],
        [(row["id"], "dim")],
    ],
    empty=lambda session, ctx: [
        ("No security groups yet.", "head"),
        ("n makes one. The first launch makes `default`: everything out,", ""),
        ("in only from its own members.", ""),
    ],
    enter=lambda row: _rules_of(row),
    headline=lambda row, now: [(row["id"][:8], "dim"), (f"rules {row['rules']}", ""), (f"ports {row['ports']}", "")],
    copies=("id", "name"),
)


def _rules_of(row: Row) -> Locator:
    return within("security_group_rule", "security_group", row)
