"""Routers: what joins networks to each other and to the world."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.verbs import (
    COPY,
    DESCRIBE,
    EVENTS,
    NEW,
    OPEN,
    TOPOLOGY,
    YAML,
    Needs,
    Option,
    Pick,
    Reason,
    Row,
    Verb,
    deletion,
    editing,
)
from tui.view import Cell, Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, plain, short, yes_no
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.subnets import routes, shown_routes
from tui.views.wires import fresh, handle, listed, note, status, table, waiting

SNAT = [("True", "guests without a floating IP go out as their host"), ("False", "only floating IPs go out")]


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import routers

    return routers.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("router:delete")(ctx, row)
    if refused is None and row.get("interfaces"):
        return "it still joins networks", "R takes them off it."
    return refused


# ---------------------------------------------------------------------------- making and changing


def _ways(session: Any, ctx: Any) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The choices, and what commands call each."""
    found = listed(session, ctx, "network", where={"external": "true"}, sort="-is_default,name")
    choices = [*((way["id"], f"{way['name']}  {way['cidr']}") for way in found), ("", "none")]
    return choices, {way["id"]: handle(session, ctx, "network", way) for way in found}


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    ways, names = _ways(session, ctx)
    name = fresh(session, ctx, "router", "router-1")
    return Loaded(
        values={"name": name, "description": "", "gateway": ways[0][0], "snat": "True"},
        choices={"gateway": ways, "snat": SNAT},
        facts={"ways": names},
    )


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("router", "create")
    if way := values["gateway"]:
        line.option("--external-gateway", loaded.facts["ways"][way])
    line.flag("--disable-snat", values["snat"] != "True").option("--description", values["description"])
    return [line.end(values["name"].strip())]


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import routers

    with store.write() as session:
        made = routers.create(
            session,
            ctx,
            name=values["name"].strip(),
            description=values["description"],
            external_gateway=values["gateway"] or None,
            enable_snat=values["snat"] == "True",
        )
        name = made.name
    return f"router {name} made; A joins networks to it"


FORM = Form(
    title="New router",
    fields=(
        Field(name="name", label="name"),
        Field(name="description", label="about"),
        Field(name="gateway", label="way out", choices=True),
        Field(name="snat", label="SNAT", choices=True, when=lambda values: bool(values["gateway"])),
    ),
    load=_load,
    submit=_submit,
    command=_command,
)


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    ways, names = _ways(session, ctx)
    return Loaded(
        values={
            "id": row["id"],
            "name": row["name"],
            "description": row["description"],
            "gateway": row["external_network_id"] or "",
            "snat": str(row["enable_snat"]),
            "routes": shown_routes(row["routes"]),
            "up": str(row["admin_state_up"]),
        },
        choices={
            "gateway": ways,
            "snat": SNAT,
            "up": [("True", "enabled"), ("False", "disabled: it forwards nothing")],
        },
        facts={"ways": names, "handle": handle(session, ctx, "router", row)},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("router", "set"), Changes(loaded.values, values)
    changes.option(line, "--name", "name")
    changes.option(line, "--description", "description")
    if "gateway" in changes and values["gateway"]:
        line.option("--external-gateway", loaded.facts["ways"][values["gateway"]])
    changes.either(line, "snat", "--enable-snat", "--disable-snat")
    if "routes" in changes:
        line.flag("--no-route", True)
        line.each("--route", (f"destination={to},gateway={hop}" for to, hop in routes(values["routes"])))
    changes.either(line, "up", "--enable", "--disable")
    named = loaded.facts["handle"]
    lines = [line.end(named)] if len(line) > 2 else []
    named = values["name"].strip() if "name" in changes and named == loaded.values["name"] else named
    if "gateway" in changes and not values["gateway"]:
        lines.append(command("router", "unset", "--external-gateway").end(named))
    return lines


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import routers

    wanted = values["gateway"] or None
    with store.write() as session:
        router = routers.set(
            session,
            ctx,
            values["id"],
            name=values["name"].strip(),
            description=values["description"],
            admin_state_up=values["up"] == "True",
            enable_snat=values["snat"] == "True",
            routes=routes(values["routes"]),
        )
        if wanted is None and router.external_network_id is not None:
            routers.unset_gateway(session, ctx, router.id)
        elif wanted is not None:
            routers.set_gateway(session, ctx, router.id, wanted)
        name = router.name
    return f"router {name} changed"


EDIT = Form(
    title="Change router",
    fields=(
        Field(name="name", label="name"),
        Field(name="description", label="about"),
        Field(name="gateway", label="way out", word="external_gateway", choices=True),
        Field(name="snat", label="SNAT", word="enable_snat", choices=True, holds=Holds.FLAG),
        Field(name="routes", label="routes", hint="192.0.2.0/24 via 10.0.0.9, …", holds=Holds.WORDS),
        Field(name="up", label="state", word="admin_state_up", choices=True, holds=Holds.FLAG),
    ),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)


def _joinable(session: Any, ctx: Any, row: Row) -> list[Option]:
    """Subnets with a gateway that are on no router as far as the caller sees, the project's own first."""
    joined = {leg["subnet_id"] for router in listed(session, ctx, "router") for leg in router["legs"]}
    inner = {network["id"] for network in listed(session, ctx, "network", where={"external": "false"})}
    found = [
        block
        for block in listed(session, ctx, "subnet")
        if block["id"] not in joined and block["gateway_ip"] and block["network_id"] in inner
    ]
    found.sort(key=lambda block: block["project_id"] != row["project_id"])
    return [
        Option(value=block["id"], label=f"{block['name']}  {block['cidr']}", note=f"of network {block['network']}")
        for block in found
    ]


def _join(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import routers

    return routers.add_subnet(session, ctx, id, value)


def _joined(session: Any, ctx: Any, row: Row) -> list[Option]:
    return [
        Option(
            value=leg["port_id"],
            label=f"{leg['subnet']}  {leg['cidr']}",
            note=f"{leg['ip_address']} on network {leg['network']}",
            tone="bad",
        )
        for leg in row["legs"]
    ]


def _part(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import routers

    return routers.remove_port(session, ctx, id, value)


# ---------------------------------------------------------------------------- looking


def way_out(row: Row, now: int) -> Cell:
    return (row["external_network"], "key") if row["external_network"] else ("-", "dim")


def _outside(row: Row) -> str:
    return ", ".join(address["ip_address"] for address in row["external_fixed_ips"])


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = waiting(session, row["id"])
    lines += facts(
        [
            ("status", row["status"] if row["admin_state_up"] else f"{row['status']}, disabled"),
            ("way out", row["external_network"] or "none"),
            ("address", _outside(row)),
            ("SNAT", "on" if row["enable_snat"] else "off"),
            ("project", row["project"]),
            ("routes", len(row["routes"])),
        ],
        columns=2,
    )
    if row["description"]:
        lines += facts([("about", row["description"])])
    lines += [[("", "")], *interfaces(session, ctx, row, now)]
    found = listed(session, ctx, "floating_ip", where={"router_id": row["id"]})
    if found:
        lines += [[("", "")], [("Floating IPs by it", "head")]]
        lines += [
            [(f"  {one['address']:<16} ", "key"), (f"{one['fixed_ip']}  {one['server']}", "")] for one in found[:MOST]
        ]
        if len(found) > MOST:
            lines.append([(f"  and {len(found) - MOST} more: :fip router={row['name']}", "dim")])
    return lines + recent(session, ctx, row, now)


MOST = 10
"""Floating IPs on the page."""


def interfaces(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    heads = [("NETWORK", 16), ("SUBNET", 16), ("CIDR", 18), ("ADDRESS", 16), ("STATUS", 9)]
    return table(
        heads,
        [[leg["network"], leg["subnet"], leg["cidr"], leg["ip_address"], status(leg, now)] for leg in row["legs"]],
        none="no network yet: A joins one",
    )


def ways(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """All it routes: what it is on, what it was told, and where the rest goes."""
    found: list[list[str | Cell]] = [[leg["cidr"], "directly", leg["network"]] for leg in row["legs"]]
    found += [[route["destination"], route["nexthop"], "as told"] for route in row["routes"]]
    if row["external_network"]:
        out = "every host by itself" if row["enable_snat"] else "floating IPs only"
        found.append([("everything else", "key"), row["external_network"], out])
    return table([("DESTINATION", 22), ("BY", 22), ("", 10)], found, none="nothing yet")


VIEW = View(
    kind="router",
    title="Routers",
    aliases=("rtr", "router"),
    columns=(
        Column(title="NAME", key="name", width=16, grow=18),
        Column(title="STATUS", key="status", width=9, cell=status),
        Column(title="WAY OUT", key="external_network", width=12, cell=way_out, grow=10),
        Column(title="ADDRESS", width=15, cell=lambda row, now: (_outside(row) or "-", ""), wide=True),
        Column(title="NETS", key="interfaces", width=4, right=True),
        Column(title="SNAT", key="enable_snat", width=4, cell=yes_no("enable_snat"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True, cell=plain("project")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="NOTE", width=17, grow=30, cell=note),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        TOPOLOGY,
        NEW,
        Verb(
            name="join",
            key="A",
            label="join",
            help="Join a network to it",
            needs=Needs.OBJECT,
            pick=Pick(
                title="Join to",
                load=_joinable,
                none=("no subnet waits for a router", "Make a network (:networks, n), with a gateway."),
            ),
            disabled_reason=needs_role("router:set"),
            run=_join,
            done="joined to",
        ),
        Verb(
            name="part",
            key="R",
            label="part",
            help="Take a network off it",
            needs=Needs.OBJECT,
            pick=Pick(title="Take off", load=_joined, none=("it joins no network", "A joins one.")),
            disabled_reason=needs_role("router:set"),
            run=_part,
            done="taken off",
        ),
        *editing(EDIT, help="Change the way out, SNAT, routes, state", disabled_reason=needs_role("router:set")),
        deletion(_delete, help="Delete the router and its way out", disabled_reason=_deletable),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(
        Tab(title="Overview", read=overview),
        Tab(title="Interfaces", read=interfaces),
        Tab(title="Routes", read=ways),
    ),
    preview=lambda row, now: [
        [
            (", ".join(f"{leg['network']} {leg['cidr']}" for leg in row["legs"]) or "no network", ""),
            (f"   out by {row['external_network']} as {_outside(row)}" if row["external_network"] else "", "key"),
        ],
        [(row["id"], "dim"), ("   ", ""), note(row, now)],
    ],
    empty=lambda session, ctx: [
        ("No routers yet.", "head"),
        ("n makes one; A joins networks to it.", ""),
        ("A project's first launch makes one, where there is a default way out.", "dim"),
    ],
    headline=lambda row, now: [(row["id"][:8], "dim"), status(row, now), way_out(row, now), (_outside(row), "")],
    copies=("id", "name"),
    faults="status=ERROR",
)
