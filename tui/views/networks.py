"""Networks: a project's own segments."""

from __future__ import annotations

from typing import Any

from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Row, deletion
from tui.view import Cell, Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, plain, short, yes_no
from tui.views.policy import needs_role

STATUS = {"ACTIVE": ("+", "ok"), "DOWN": ("o", "off"), "BUILD": ("~", "busy"), "ERROR": ("!", "bad")}


def status(row: Row, now: int) -> Cell:
    glyph, tone = STATUS.get(row["status"], ("?", ""))
    return f"{glyph} {row['status']}", tone


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import networks

    return networks.delete(session, ctx, id)


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    return Loaded(values={"name": "", "cidr": "10.0.1.0/24", "dns": ""})


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import networks, subnets

    name = values["name"].strip()
    with store.write() as session:
        made = networks.create(session, ctx, config, name=name)
        subnets.create(
            session,
            ctx,
            name=name,
            network=made.id,
            project_id=made.project_id,
            cidr=values["cidr"].strip(),
            dns=tuple(values["dns"].replace(",", " ").split()),
        )
    return f"network {name} made"


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    from core import listing as lists
    from core.lists import LISTINGS

    lines = facts(
        [
            ("status", row["status"]),
            ("cidr", row["cidr"]),
            ("mtu", row["mtu"]),
            ("shared", "yes" if row["shared"] else "no"),
            ("project", row["project"]),
            ("ports", row["ports"]),
        ],
        columns=2,
    )
    for subnet in lists.page(session, ctx, LISTINGS["subnet"], where={"network_id": row["id"]}):
        pools = ", ".join("-".join(pool) for pool in subnet["allocation_pools"])
        lines += [[("", "")], [("subnet ", "dim"), (f"{subnet['name']}  {subnet['cidr']}", "head")]]
        lines += facts(
            [("gateway", subnet["gateway_ip"]), ("dhcp", "yes" if subnet["enable_dhcp"] else "no")], columns=2
        )
        lines += facts([("pools", pools), ("dns", ", ".join(subnet["dns_nameservers"]))])
    lines += [[("", "")], [(f"{'IP':<16} {'MAC':<18} {'STATUS':<8} OWNER", "head")]]
    for port in lists.page(session, ctx, LISTINGS["port"], where={"network_id": row["id"]}, limit=200):
        owner = f"{port['device_owner']} {port['device_id'][:8]}"
        lines.append([(f"{port['ip']:<16} {port['mac']:<18} {port['status']:<8} {owner}", "")])
    return lines


VIEW = View(
    kind="network",
    title="Networks",
    aliases=("net", "network"),
    columns=(
        Column(title="NAME", key="name", width=18, grow=18),
        Column(title="STATUS", key="status", width=9, cell=status),
        Column(title="CIDR", key="cidr", width=18, cell=plain("cidr")),
        Column(title="PORTS", key="ports", width=5, right=True),
        Column(title="SHARED", key="shared", width=6, cell=yes_no("shared")),
        Column(title="MTU", key="mtu", width=5, right=True, wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True, cell=plain("project")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        deletion(
            _delete, help="Delete the network; it must have no instances", disabled_reason=needs_role("network:delete")
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=Form(
        title="New network",
        fields=(
            Field(name="name", label="name"),
            Field(name="cidr", label="subnet", hint="IPv4 block"),
            Field(name="dns", label="DNS", hint="addresses, by comma; empty: none"),
        ),
        load=_load,
        submit=_submit,
    ),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [(f"{row['cidr'] or 'no subnet'}   mtu {row['mtu']}   {row['ports']} ports", "")],
        [(row["id"], "dim")],
    ],
    empty=lambda session, ctx: [
        ("No networks yet.", "head"),
        ("n makes one; the first launch makes one by itself.", ""),
    ],
    headline=lambda row, now: [(row["id"][:8], "dim"), status(row, now), (row["cidr"], "")],
    copies=("id", "name", "cidr"),
)
