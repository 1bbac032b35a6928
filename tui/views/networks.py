"""Networks: a project's own segments, shared ones, and the ways out."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.verbs import CLONE, COPY, DESCRIBE, EVENTS, NEW, OPEN, TOPOLOGY, YAML, Needs, Row, Verb, deletion, editing
from tui.view import Cell, Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views import subnets
from tui.views.cells import aged, facts, plain, short, yes_no
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.wires import fresh, handle, listed, status, table, within, words

NO_ROUTER = ""
NEW_ROUTER = "new"


def kind(row: Row, now: int) -> Cell:
    """Whose it is, in one word; the star is the way out that projects get by themselves."""
    if row["external"]:
        return ("external*" if row["is_default"] else "external"), "key"
    return ("shared", "") if row["shared"] else ("private", "dim")


def segment(row: Row, now: int) -> Cell:
    """`vxlan 1001`, `vlan 100 physnet1`, `flat physnet1`."""
    parts = (row["network_type"], row["segmentation_id"], row["physical_network"])
    return " ".join(str(part) for part in parts if part), ""


# ---------------------------------------------------------------------------- making and changing


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import networks

    return networks.delete(session, ctx, id)


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    routers = listed(session, ctx, "router")
    ways = listed(session, ctx, "network", where={"external": "true"}, sort="-is_default,name")
    choices = [
        *((router["id"], f"{router['name']}  {_way(router)}") for router in routers),
        *((f"{NEW_ROUTER} {way['id']}", f"a new one, out by {way['name']}") for way in ways),
        (NO_ROUTER, "none: it stays alone"),
    ]
    return Loaded(
        values={
            "name": fresh(session, ctx, "network", "net-1"),
            "cidr": subnets.free_block(session, ctx),
            "dns": "",
            "router": choices[0][0],
        },
        choices={"router": choices},
        facts={
            "routers": {router["id"]: handle(session, ctx, "router", router) for router in routers},
            "ways": {way["id"]: handle(session, ctx, "network", way) for way in ways},
        },
    )


def _load_like(session: Any, ctx: Any, row: Row) -> Loaded:
    """Another with as large a block, the same name servers, and joined by the same router."""
    loaded = _load(session, ctx, None)
    block = next(iter(listed(session, ctx, "subnet", where={"network_id": row["id"]}, sort="cidr")), None)
    loaded.values["name"] = fresh(session, ctx, "network", f"{row['name']}-1")
    if block is None:
        loaded.values["cidr"] = ""
        return loaded
    loaded.values["cidr"] = subnets.free_block(session, ctx, like=block["cidr"])
    loaded.values["dns"] = ", ".join(block["dns_nameservers"])
    joined = (
        router["id"]
        for router in listed(session, ctx, "router")
        if any(leg["subnet_id"] == block["id"] for leg in router["legs"])
    )
    loaded.values["router"] = next(joined, NO_ROUTER)
    return loaded


def _way(router: Row) -> str:
    return f"out by {router['external_network']}" if router["external_network"] else "no way out"


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import networks, routers
    from core.network import subnets as blocks

    name = values["name"].strip()
    with store.write() as session:
        made = networks.create(session, ctx, config, name=name)
        block = None
        if cidr := values["cidr"].strip():
            block = blocks.create(
                session,
                ctx,
                name=name,
                network=made.id,
                project_id=made.project_id,
                cidr=cidr,
                dns=words(values["dns"]),
            )
        router = values["router"]
        if block is not None and router.startswith(f"{NEW_ROUTER} "):
            way = router.partition(" ")[2]
            router = routers.create(session, ctx, name=name, external_gateway=way).id
        if block is not None and router != NO_ROUTER:
            routers.add_subnet(session, ctx, router, block.id)
    return f"network {name} made"


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    name, cidr, router = values["name"].strip(), values["cidr"].strip(), values["router"]
    lines = [command("network", "create").end(name)]
    if not cidr:
        return lines
    block = command("subnet", "create").option("--network", name).option("--subnet-range", cidr)
    lines.append(block.each("--dns-nameserver", words(values["dns"])).end(name))
    new, _, way = router.partition(" ")
    if new == NEW_ROUTER:
        lines.append(command("router", "create").option("--external-gateway", loaded.facts["ways"][way]).end(name))
    if router != NO_ROUTER:
        lines.append(command("router", "add", "subnet").end(loaded.facts["routers"].get(router, name), name))
    return lines


FORM = Form(
    title="New network",
    fields=(
        Field(name="name", label="name"),
        Field(name="cidr", label="subnet", hint="a block, e.g. 10.0.1.0/24; empty: none yet"),
        Field(name="dns", label="DNS", hint="addresses, by comma; empty: the cloud's"),
        Field(name="router", label="router", choices=True),
    ),
    load=_load,
    submit=_submit,
    command=_command,
    like=_load_like,
)


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={
            "id": row["id"],
            "name": row["name"],
            "description": row["description"],
            "domain": row["dns_domain"],
            "mtu": str(row["mtu"]),
            "security": str(row["port_security_enabled"]),
            "up": str(row["admin_state_up"]),
        },
        choices={
            "security": [("True", "new ports have anti-spoofing and groups"), ("False", "new ports have neither")],
            "up": [("True", "enabled"), ("False", "disabled: it carries nothing")],
        },
        facts={"handle": handle(session, ctx, "network", row)},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("network", "set"), Changes(loaded.values, values)
    for field, option in (("name", "--name"), ("domain", "--dns-domain"), ("mtu", "--mtu")):
        changes.option(line, option, field)
    changes.option(line, "--description", "description")
    changes.either(line, "security", "--enable-port-security", "--disable-port-security")
    changes.either(line, "up", "--enable", "--disable")
    return [line.end(loaded.facts["handle"])]


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.errors import Invalid
    from core.network import networks

    mtu = values["mtu"].strip()
    if not mtu.isdecimal():
        raise Invalid(f"{mtu!r} is not a number of bytes", hint="For example 1450.")
    with store.write() as session:
        networks.set(
            session,
            ctx,
            values["id"],
            name=values["name"].strip(),
            description=values["description"],
            dns_domain=values["domain"].strip(),
            mtu=int(mtu),
            port_security=values["security"] == "True",
            admin_state_up=values["up"] == "True",
            underlay_mtu=config.underlay_mtu,
        )
    return f"network {values['name'].strip()} changed"


EDIT = Form(
    title="Change network",
    fields=(
        Field(name="name", label="name"),
        Field(name="description", label="about"),
        Field(name="domain", label="DNS domain", word="dns_domain", hint="what follows its servers' names"),
        Field(name="mtu", label="MTU", holds=Holds.NUMBER),
        Field(name="security", label="security", word="port_security_enabled", choices=True, holds=Holds.FLAG),
        Field(name="up", label="state", word="admin_state_up", choices=True, holds=Holds.FLAG),
    ),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)

# ---------------------------------------------------------------------------- looking


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts(
        [
            ("status", row["status"] if row["admin_state_up"] else f"{row['status']}, disabled"),
            ("segment", segment(row, now)[0]),
            ("for", {"private": "its own project", "shared": "every project"}.get(kind(row, now)[0], "ways out")),
            ("mtu", row["mtu"]),
            ("project", row["project"]),
            ("ports", row["ports"]),
            ("DNS domain", row["dns_domain"]),
            ("security", "on new ports" if row["port_security_enabled"] else "not on new ports"),
        ],
        columns=2,
    )
    if row["is_default"]:
        lines.append([("New projects' first network gets a router to here by itself.", "dim")])
    if row["flood"]:
        lines.append([("ARP reaches every host: addresses may move between servers.", "dim")])
    if row["description"]:
        lines += facts([("about", row["description"])])
    return [*lines, [("", "")], *blocks(session, ctx, row, now), *recent(session, ctx, row, now)]


def blocks(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    heads = [("SUBNET", 18), ("CIDR", 18), ("GATEWAY", 16), ("DHCP", 4), ("USED", 5), ("DNS", 16)]
    return table(
        heads,
        [
            [
                block["name"],
                block["cidr"],
                block["gateway_ip"] or "",
                "yes" if block["enable_dhcp"] else "no",
                str(block["used"]),
                ", ".join(block["dns_nameservers"]),
            ]
            for block in listed(session, ctx, "subnet", where={"network_id": row["id"]})
        ],
        none="no subnet yet: A adds one",
    )


def ports(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    heads = [("IP", 16), ("STATUS", 9), ("DEVICE", 20), ("MAC", 18), ("HOST", 12)]
    found = listed(session, ctx, "port", where={"network_id": row["id"]}, sort="ip", limit=LISTED)
    lines = table(
        heads,
        [[port["ip"], status(port, now), who(port), port["mac"], port["host"]] for port in found],
        none="nothing is plugged in",
    )
    if row["ports"] > len(found):
        lines.append([(f"{row['ports']} in all; Enter in the list of networks shows those you may see", "dim")])
    return lines


LISTED = 200
"""Ports on a page; the list of ports has them all."""


def who(port: Row) -> str:
    """What is plugged in: the server or router, or the service's name."""
    return str(port["device"] or port["device_owner"].removeprefix("network:"))


def routers(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    heads = [("ROUTER", 18), ("STATUS", 9), ("ADDRESS HERE", 16), ("WAY OUT", 24)]
    found: list[list[str | Cell]] = []
    for router in listed(session, ctx, "router"):
        here = [leg["ip_address"] for leg in router["legs"] if leg["network_id"] == row["id"]]
        if router["external_network_id"] == row["id"]:
            here += [address["ip_address"] for address in router["external_fixed_ips"]]
        for address in here:
            found.append([router["name"], status(router, now), address, router["external_network"]])
    return table(heads, found, none="no router joins it: A in the list of routers does")


VIEW = View(
    kind="network",
    title="Networks",
    aliases=("net", "network"),
    columns=(
        Column(title="NAME", key="name", width=16, grow=18),
        Column(title="STATUS", key="status", width=9, cell=status),
        Column(title="CIDR", key="cidr", width=18, cell=plain("cidr"), grow=12),
        Column(title="KIND", width=9, cell=kind),
        Column(title="PORTS", key="ports", width=5, right=True),
        Column(title="MTU", key="mtu", width=5, right=True),
        Column(title="SEGMENT", key="segmentation_id", width=14, cell=segment, wide=True),
        Column(title="UP", key="admin_state_up", width=3, cell=yes_no("admin_state_up"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True, cell=plain("project")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        TOPOLOGY,
        NEW,
        CLONE,
        Verb(
            name="subnet",
            key="A",
            label="subnet",
            help="Add a subnet to it",
            needs=Needs.OBJECT,
            form=subnets.FORM,
            disabled_reason=needs_role("network:create"),
        ),
        *editing(EDIT, help="Change name, MTU, DNS domain, state", disabled_reason=needs_role("network:set")),
        deletion(
            _delete,
            help="Delete the network; what is on it is unplugged first, by a plan",
            disabled_reason=needs_role("network:delete"),
            plan=lambda row: "network.delete" if row.get("ports") else "",
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(
        Tab(title="Overview", read=overview),
        Tab(title="Subnets", read=blocks),
        Tab(title="Ports", read=ports),
        Tab(title="Routers", read=routers),
    ),
    preview=lambda row, now: [
        [
            (f"{', '.join(row['cidrs']) or 'no subnet'}   mtu {row['mtu']}   {row['ports']} ports   ", ""),
            kind(row, now),
        ],
        [(row["id"], "dim"), (f"   {row['description']}", "dim")],
    ],
    empty=lambda session, ctx: [
        ("No networks yet.", "head"),
        ("n makes one; the first launch makes one by itself.", ""),
    ],
    enter=lambda row: within("port", "network", row),
    headline=lambda row, now: [(row["id"][:8], "dim"), status(row, now), kind(row, now), (row["cidr"], "")],
    copies=("id", "name", "cidr"),
    faults="status=ERROR",
)
