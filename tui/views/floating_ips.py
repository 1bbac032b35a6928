"""Floating IPs: a project's addresses in the world, put on servers and taken off."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Command, command
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Needs, Option, Pick, Row, Verb, deletion
from tui.view import Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, plain, short
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.wires import handle, listed, note, reached, status, waiting

OFF = "off"

NO_POOL = (
    "There is no external network to have an address of.",
    "An admin makes one: skydeck network auto --help",
)


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import floating_ips

    return floating_ips.delete(session, ctx, id)


def _targets(session: Any, ctx: Any, row: Row) -> list[Option]:
    """IPv4 addresses of servers' ports that a router joins to the floating IP's network, and where it is not already;
    those without any floating IP first. Values: port and IP."""
    free, taken = [], []
    floats = {(one["port_id"], one["fixed_ip"]): one for one in listed(session, ctx, "floating_ip")}
    inside = reached(session, ctx)[row["network_id"]]
    for port in listed(session, ctx, "port", sort="device,ip"):
        if port["device_owner"].startswith("network:"):
            continue
        for address in port["fixed_ips"]:
            ip = address["ip_address"]
            there = floats.get((port["id"], ip))
            if address["subnet_id"] not in inside or ":" in ip or (there is not None and there["id"] == row["id"]):
                continue
            label = f"{port['device'] or port['label']}  {ip}"
            note_ = f"has {there['address']}" if there else f"on {port['network']}"
            (taken if there else free).append(Option(value=f"{port['id']} {ip}", label=label, note=note_))
    return free + taken


def _load_targets(session: Any, ctx: Any, row: Row) -> list[Option]:
    found = _targets(session, ctx, row)
    off = Option(value=OFF, label="nowhere", note=f"take it off {row['fixed_ip']}", tone="warn")
    return [*found, off] if row["port_id"] else found


def _move(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import floating_ips

    if value == OFF:
        return floating_ips.disassociate(session, ctx, id)
    port, ip = value.split()
    return floating_ips.associate(session, ctx, id, port, fixed_ip=ip)


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    pools = listed(session, ctx, "network", where={"external": "true"}, sort="-is_default,name")
    if not pools:
        return Loaded(values={}, problem=NO_POOL)
    return Loaded(
        values={"network": pools[0]["id"], "address": "", "description": ""},
        choices={"network": [(pool["id"], f"{pool['name']}  {pool['cidr']}") for pool in pools]},
        facts={"networks": {pool["id"]: handle(session, ctx, "network", pool) for pool in pools}},
    )


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("floating", "ip", "create").option("--floating-ip-address", values["address"].strip())
    line.option("--description", values["description"])
    return [line.end(loaded.facts["networks"][values["network"]])]


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import floating_ips

    with store.write() as session:
        made = floating_ips.create(
            session,
            ctx,
            network=values["network"],
            address=values["address"].strip() or None,
            description=values["description"],
        )
        address = made.address
    return f"{address} is yours; F puts it on a server"


FORM = Form(
    title="New floating IP",
    fields=(
        Field(name="network", label="of network", choices=True, kept=True),
        Field(name="address", label="address", hint="empty: the next free one"),
        Field(name="description", label="about"),
    ),
    load=_load,
    submit=_submit,
    command=_command,
)


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = waiting(session, row["id"])
    lines += facts(
        [
            ("status", row["status"]),
            ("of network", row["network"]),
            ("server", row["server"]),
            ("fixed IP", row["fixed_ip"]),
            ("by router", row["router"]),
            ("project", row["project"]),
        ],
        columns=2,
    )
    lines += facts([("port", row["port_id"]), ("about", row["description"])])
    if row["port_id"] is None:
        lines += [[("", "")], [("It is on nothing: F puts it on a server.", "dim")]]
    return lines + recent(session, ctx, row, now)


VIEW = View(
    kind="floating_ip",
    title="Floating IPs",
    aliases=("fip", "floating"),
    columns=(
        Column(title="IP", key="address", width=15),
        Column(title="STATUS", key="status", width=8, cell=status),
        Column(title="FIXED", key="fixed_ip", width=13, cell=plain("fixed_ip"), grow=2),
        Column(title="SERVER", key="server", width=10, cell=plain("server"), grow=12),
        Column(title="POOL", key="network", width=9, grow=10, wide=True),
        Column(title="ROUTER", key="router", width=12, cell=plain("router"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True, cell=plain("project")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="NOTE", width=17, grow=30, cell=note),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        Verb(
            name="put",
            key="F",
            label="put on",
            help="Put it on a server, move it, or take it off",
            needs=Needs.OBJECT,
            pick=Pick(
                title="Where to put",
                load=_load_targets,
                none=("no server is behind a router to its network", "A on a router joins a network to it."),
            ),
            disabled_reason=needs_role("floating_ip:set"),
            run=_move,
            done="changed",
        ),
        deletion(_delete, help="Give the address back", disabled_reason=needs_role("floating_ip:delete")),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [(f"{row['fixed_ip'] or 'on nothing'}   {row['server']}   by router {row['router'] or '-'}", "")],
        [(row["id"], "dim"), ("   ", ""), note(row, now)],
    ],
    empty=lambda session, ctx: [
        ("No floating IPs yet.", "head"),
        ("n gets one of an external network; F puts it on a server.", ""),
    ],
    headline=lambda row, now: [(row["id"][:8], "dim"), status(row, now), (row["fixed_ip"] or "on nothing", "")],
    name="address",
    sort="address",
    copies=("id", "address"),
    faults="status=ERROR",
)
