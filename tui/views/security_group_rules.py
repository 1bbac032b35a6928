"""Rules of security groups: each allows something; allowing the usual is a choice, not a form to fill in."""

from __future__ import annotations

import ipaddress
from typing import Any

from tui.forms.command import Command, command
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Row, deletion
from tui.view import Cell, Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, plain, short
from tui.views.policy import needs_role
from tui.views.wires import handle, listed

PRESETS: dict[str, tuple[str, str]] = {
    "ssh": ("tcp 22", "ssh       tcp 22"),
    "http": ("tcp 80", "http      tcp 80"),
    "https": ("tcp 443", "https     tcp 443"),
    "ping": ("icmp", "ping      icmp"),
    "rdp": ("tcp 3389", "rdp       tcp 3389"),
    "all": ("any", "all       any protocol, every port"),
    "other": ("", "other     as written below"),
}
"""Name to what it stands for, and how it is shown."""

FAMILIES = {4: "IPv4", 6: "IPv6"}


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import security_groups

    return security_groups.delete_rule(session, ctx, id)


# ---------------------------------------------------------------------------- allowing something


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """`row` is a group, a rule of the group that is meant, or nothing."""
    groups = listed(session, ctx, "security_group")
    chosen = (row or {}).get("security_group_id", (row or {}).get("id", ""))
    names = [(group["id"], group["name"]) for group in groups] or [("default", "default")]
    handles = {group["id"]: handle(session, ctx, "security_group", group) for group in groups}
    return Loaded(
        values={"group": chosen, "what": "ssh", "other": "", "from": "", "way": "ingress", "description": ""},
        choices={
            "group": names,
            "what": [(name, shown) for name, (_, shown) in PRESETS.items()],
            "way": [("ingress", "in: to the servers"), ("egress", "out: from the servers")],
        },
        facts={"groups": handles},
    )


def meant(values: dict[str, str]) -> list[dict[str, Any]]:
    """What `add_rule` is to be called with, once for each IP version that is meant. Raises Invalid.

    Nobody in particular means both versions; a network, its own; a group, both.
    """
    text = PRESETS[values["what"]][0] or values["other"]
    protocol, first, last = _traffic(text)
    other = values["from"].strip()
    common = {
        "direction": values["way"],
        "protocol": protocol,
        "port_min": first,
        "port_max": last,
        "description": values["description"].strip(),
    }
    if not other:
        return [{**common, "ethertype": ethertype} for ethertype in FAMILIES.values()]
    try:
        block = ipaddress.ip_network(other, strict=False)
    except ValueError:
        return [{**common, "ethertype": ethertype, "remote_group": other} for ethertype in FAMILIES.values()]
    return [{**common, "ethertype": FAMILIES[block.version], "remote_ip": other}]


def _traffic(text: str) -> tuple[str | None, int | None, int | None]:
    """(protocol, first, last) of `tcp 8000-8100`, `udp/53`, `icmp`, `any`. Raises Invalid."""
    from core.errors import Invalid

    parts = text.replace("/", " ").replace(":", "-").split()
    if not 1 <= len(parts) <= 2:
        raise Invalid("say what is allowed", hint="For example tcp 8000-8100, udp 53, icmp, gre.")
    protocol = None if parts[0].lower() == "any" else parts[0].lower()
    if len(parts) == 1:
        return protocol, None, None
    first, dash, last = parts[1].partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise Invalid(f"{parts[1]!r} is no port, nor a range of them", hint="For example 443, or 8000-8100.")
    return protocol, int(first), int(last) if dash else None


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.errors import Conflict
    from core.network import security_groups

    wanted = meant(values)
    made, known = 0, None
    with store.write() as session:
        for rule in wanted:
            try:
                security_groups.add_rule(session, ctx, values["group"], **rule)
                made += 1
            except Conflict as there:
                known = there
        if not made and known is not None:
            raise known
    what = values["other"] if values["what"] == "other" else values["what"]
    return f"{what.strip()} allowed" + (" (one of its rules was there already)" if known else "")


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    group = loaded.facts["groups"].get(values["group"], values["group"])
    return [command_of(rule).end(group) for rule in meant(values)]


def command_of(rule: dict[str, Any]) -> Command:
    """The command that adds a rule, as `add_rule` takes it, without the group."""
    line = command("security", "group", "rule", "create", f"--{rule['direction']}")
    line.option("--ethertype", rule["ethertype"]).option("--protocol", rule["protocol"] or "")
    if rule["port_min"] is not None:
        last = rule["port_max"]
        line.option("--dst-port", f"{rule['port_min']}" + (f":{last}" if last is not None else ""))
    for name in ("remote_ip", "remote_group"):
        line.option(f"--{name.replace('_', '-')}", rule.get(name, ""))
    return line.option("--description", rule["description"])


FORM = Form(
    title="Allow",
    fields=(
        Field(name="group", label="in group", choices=True),
        Field(name="what", label="allow", choices=True),
        Field(
            name="other",
            label="other",
            hint="tcp 8000-8100, udp 53, gre",
            when=lambda values: values["what"] == "other",
        ),
        Field(name="from", label="from or to", hint="10.0.0.0/8, a group's name; empty: anybody"),
        Field(name="way", label="direction", choices=True),
        Field(name="description", label="about"),
    ),
    load=_load,
    submit=_submit,
    command=_command,
)

# ---------------------------------------------------------------------------- looking


def way(row: Row, now: int) -> Cell:
    return ("in", "ok") if row["direction"] == "ingress" else ("out", "")


def numbers(row: Row, now: int) -> Cell:
    """Ports, or ICMP type and code."""
    first, last = row["port_range_min"], row["port_range_max"]
    if first is None:
        return "any", "dim"
    if row["protocol"] in ("icmp", "ipv6-icmp"):
        return f"type {first}" + ("" if last is None else f" code {last}"), ""
    return (str(first) if last in (first, None) else f"{first}-{last}"), ""


def remote(row: Row, now: int) -> Cell:
    if row["remote_group_id"]:
        return row["remote"], "key"
    return row["remote"], "" if row["remote_ip_prefix"] else "dim"


def rule_line(rule: Row) -> list[Cell]:
    """`IPv4  in tcp 22 from 0.0.0.0/0`."""
    return [(f"  {rule['ethertype']}  ", "dim"), (rule["rule"], ""), (f"   {rule['description']}", "dim")]


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines: Lines = [[(row["rule"], "head")], [("", "")]]
    return lines + facts(
        [
            ("in group", row["security_group"]),
            ("direction", row["direction"]),
            ("ethertype", row["ethertype"]),
            ("protocol", row["protocol"] or "any"),
            ("ports", numbers(row, now)[0]),
            ("other side", row["remote"]),
            ("about", row["description"]),
            ("id", row["id"]),
        ]
    )


VIEW = View(
    kind="security_group_rule",
    title="Rules",
    aliases=("rule", "sgr"),
    columns=(
        Column(title="WAY", key="rule", width=4, cell=way),
        Column(title="PROTOCOL", key="protocol", width=9, cell=lambda row, now: (row["protocol"] or "any", "")),
        Column(title="PORTS", key="port_range_min", width=13, cell=numbers),
        Column(title="OTHER SIDE", key="remote", width=18, cell=remote, grow=14),
        Column(title="TYPE", key="ethertype", width=4),
        Column(title="GROUP", key="security_group", width=12, grow=12),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="ABOUT", key="description", width=5, grow=40, cell=plain("description")),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        deletion(
            _delete,
            help="Allow it no more; flows it let through are cut",
            disabled_reason=needs_role("security_group:set"),
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [(f"{row['rule']}   in group {row['security_group']}", "")],
        [(row["id"], "dim"), (f"   {row['description']}", "dim")],
    ],
    empty=lambda session, ctx: [("No rules here.", "head"), ("n allows something: ssh, http, ping, …", "")],
    headline=lambda row, now: [(row["security_group"], ""), (row["ethertype"], "dim")],
    name="rule",
    sort="rule",
    copies=("id", "rule"),
)
