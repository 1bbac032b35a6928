"""Subnets: the blocks of addresses of networks."""

from __future__ import annotations

import ipaddress
from typing import Any

from tui.forms.command import Changes, Command, command
from tui.locator import Locator
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Row, deletion, editing
from tui.view import Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, plain, short, yes_no
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.wires import handle, listed, status, table, words

YES_NO = [("yes", "yes"), ("no", "no")]
IPV6 = [
    ("", "no: IPv4, or addresses by hand"),
    ("slaac", "slaac: guests make them of what is advertised"),
    ("dhcpv6-stateless", "slaac, and DHCP tells the rest"),
]


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import subnets

    return subnets.delete(session, ctx, id)


def ranges(text: str) -> tuple[tuple[str, str], ...]:
    """`10.0.0.10-10.0.0.99, 10.0.0.200` to first and last of each. Says nothing about what they are."""
    return tuple((part.partition("-")[0], part.partition("-")[2] or part) for part in words(text))


def free_block(session: Any, ctx: Any, *, like: str = "10.0.0.0/24") -> str:
    """A block for a new subnet, as large as another, that no other in sight overlaps: one router can then lead to all
    of them."""
    taken = [ipaddress.ip_network(block["cidr"]) for block in listed(session, ctx, "subnet")]
    size = ipaddress.ip_network(like).prefixlen if ":" not in like else 24
    candidates = [f"10.0.{number}.0/{size}" for number in range(1, 256) if size >= 24]
    candidates += [f"10.{number}.0.0/{size}" for number in range(1, 256) if size >= 16]
    for cidr in candidates:
        block = ipaddress.ip_network(cidr)
        if not any(block.version == other.version and block.overlaps(other) for other in taken):
            return cidr
    return ""


def routes(text: str) -> tuple[tuple[str, str], ...]:
    """`192.0.2.0/24 via 10.0.0.9, …` to (destination, next hop). Raises Invalid."""
    from core.errors import Invalid

    found = []
    for part in text.split(","):
        match part.split():
            case []:
                continue
            case [destination, "via", hop]:
                found.append((destination, hop))
            case _:
                raise Invalid(f"{part.strip()!r} is no route", hint="For example 192.0.2.0/24 via 10.0.0.9.")
    return tuple(found)


def shown_routes(rows: list[dict[str, str]]) -> str:
    """As `routes` reads them."""
    return ", ".join(f"{row['destination']} via {row['nexthop']}" for row in rows)


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """`row` is a network, a subnet of the network that is meant, or nothing."""
    networks = [
        network
        for network in listed(session, ctx, "network")
        if network["project_id"] == ctx.project_id or ctx.is_admin
    ]
    if not networks:
        return Loaded(values={}, problem=("There is no network of yours to divide.", "Make one: :networks, then n"))
    here = (row or {}).get("network_id", (row or {}).get("id", ""))
    return Loaded(
        values={
            "name": "",
            "network": here,
            "cidr": free_block(session, ctx),
            "gateway": "",
            "dhcp": "yes",
            "dns": "",
            "ipv6": "",
        },
        choices={
            "network": [(network["id"], f"{network['name']}  {network['cidr']}") for network in networks],
            "dhcp": YES_NO,
            "ipv6": IPV6,
        },
        facts={
            "names": {network["id"]: network["name"] for network in networks},
            "handles": {network["id"]: handle(session, ctx, "network", network) for network in networks},
        },
    )


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    network = values["network"] or next(iter(loaded.facts["names"]))
    line = command("subnet", "create").option("--network", loaded.facts["handles"][network])
    line.option("--subnet-range", values["cidr"].strip()).option("--gateway", values["gateway"].strip())
    line.flag("--no-dhcp", values["dhcp"] != "yes").each("--dns-nameserver", words(values["dns"]))
    line.option("--ipv6-ra-mode", values["ipv6"])
    return [line.end(values["name"].strip() or loaded.facts["names"][network])]


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import networks, subnets

    gateway = values["gateway"].strip()
    with store.write() as session:
        network = networks.find(session, ctx, values["network"])
        made = subnets.create(
            session,
            ctx,
            name=values["name"].strip() or network.name,
            network=network.id,
            project_id=network.project_id,
            cidr=values["cidr"].strip(),
            gateway=None if gateway == "none" else gateway or None,
            no_gateway=gateway == "none",
            dhcp=values["dhcp"] == "yes",
            dns=words(values["dns"]),
            ipv6_mode=values["ipv6"] or None,
        )
        name = made.name
    return f"subnet {name} made"


FORM = Form(
    title="New subnet",
    fields=(
        Field(name="name", label="name", hint="empty: as its network is called"),
        Field(name="network", label="network", choices=True),
        Field(name="cidr", label="addresses", hint="a block: 10.0.2.0/24, fd00:1::/64"),
        Field(name="gateway", label="gateway", hint="empty: the first address; `none`: none"),
        Field(name="dhcp", label="DHCP", choices=True),
        Field(name="dns", label="DNS", hint="addresses, by comma; empty: the cloud's"),
        Field(name="ipv6", label="advertised", choices=True),
    ),
    load=_load,
    submit=_submit,
    command=_command,
)


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={
            "id": row["id"],
            "name": row["name"],
            "description": row["description"],
            "gateway": row["gateway_ip"] or "none",
            "pools": ", ".join(f"{first}-{last}" for first, last in row["allocation_pools"]),
            "dhcp": "yes" if row["enable_dhcp"] else "no",
            "dns": ", ".join(row["dns_nameservers"]),
            "routes": shown_routes(row["host_routes"]),
        },
        choices={"dhcp": YES_NO},
        facts={"handle": handle(session, ctx, "subnet", row)},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("subnet", "set"), Changes(loaded.values, values)
    for field in ("name", "description", "gateway"):
        changes.option(line, f"--{field}", field)
    if "pools" in changes:
        line.flag("--no-allocation-pool", True)
        line.each("--allocation-pool", (f"start={first},end={last}" for first, last in ranges(values["pools"])))
    if "dhcp" in changes:
        line.either(values["dhcp"] == "yes", "--dhcp", "--no-dhcp")
    if "dns" in changes:
        line.flag("--no-dns-nameservers", True).each("--dns-nameserver", words(values["dns"]))
    if "routes" in changes:
        line.flag("--no-host-route", True)
        line.each("--host-route", (f"destination={to},gateway={hop}" for to, hop in routes(values["routes"])))
    return [line.end(loaded.facts["handle"])]


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import subnets

    gateway = values["gateway"].strip()
    with store.write() as session:
        subnets.set(
            session,
            ctx,
            values["id"],
            name=values["name"].strip(),
            description=values["description"],
            gateway=None if gateway == "none" else gateway,
            no_gateway=gateway == "none",
            pools=ranges(values["pools"]),
            dhcp=values["dhcp"] == "yes",
            dns=words(values["dns"]),
            host_routes=routes(values["routes"]),
        )
    return f"subnet {values['name'].strip()} changed"


EDIT = Form(
    title="Change subnet",
    fields=(
        Field(name="name", label="name"),
        Field(name="description", label="about"),
        Field(name="gateway", label="gateway", hint="an address, or none"),
        Field(
            name="pools",
            label="pools",
            word="allocation_pools",
            hint="first-last, by comma: what servers get",
            holds=Holds.WORDS,
        ),
        Field(name="dhcp", label="DHCP", choices=True),
        Field(name="dns", label="DNS", word="dns_nameservers", hint="addresses, by comma", holds=Holds.WORDS),
        Field(
            name="routes",
            label="host routes",
            word="host_routes",
            hint="192.0.2.0/24 via 10.0.0.9, …: told to servers",
            holds=Holds.WORDS,
        ),
    ),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts(
        [
            ("network", row["network"]),
            ("cidr", row["cidr"]),
            ("gateway", row["gateway_ip"]),
            ("DHCP", "yes" if row["enable_dhcp"] else "no"),
            ("used", f"{row['used']} addresses"),
            ("advertised", row["ipv6_mode"]),
        ],
        columns=2,
    )
    lines += facts(
        [
            ("pools", ", ".join("-".join(pool) for pool in row["allocation_pools"])),
            ("DNS", ", ".join(row["dns_nameservers"])),
            ("routes", shown_routes(row["host_routes"])),
            ("about", row["description"]),
        ]
    )
    return lines + recent(session, ctx, row, now)


def addresses(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    heads = [("IP", 26), ("STATUS", 9), ("DEVICE", 20), ("PORT", 36)]
    found = listed(session, ctx, "port", where={"network_id": row["network_id"]}, sort="ip")
    return table(
        heads,
        [
            [address["ip_address"], status(port, now), port["device"] or port["device_owner"], port["id"]]
            for port in found
            for address in port["fixed_ips"]
            if address["subnet_id"] == row["id"]
        ],
        none="no address is given out",
    )


VIEW = View(
    kind="subnet",
    title="Subnets",
    aliases=("sub", "subnet"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=16),
        Column(title="CIDR", key="cidr", width=18, grow=12),
        Column(title="NETWORK", key="network", width=12, grow=12),
        Column(title="GATEWAY", key="gateway_ip", width=15, cell=plain("gateway_ip"), grow=8),
        Column(title="DHCP", key="enable_dhcp", width=4, cell=yes_no("enable_dhcp")),
        Column(title="USED", key="used", width=5, right=True),
        Column(title="DNS", width=16, cell=lambda row, now: (", ".join(row["dns_nameservers"]) or "-", ""), wide=True),
        Column(title="IPV6", key="ipv6_mode", width=8, cell=plain("ipv6_mode"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True, cell=plain("project")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        *editing(EDIT, help="Change gateway, pools, DHCP, DNS, routes", disabled_reason=needs_role("network:set")),
        deletion(
            _delete,
            help="Delete the subnet; no port may have an address of it",
            disabled_reason=needs_role("network:delete"),
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(Tab(title="Overview", read=overview), Tab(title="Addresses", read=addresses)),
    preview=lambda row, now: [
        [(f"pools {', '.join('-'.join(pool) for pool in row['allocation_pools'])}   {row['used']} used", "")],
        [(row["id"], "dim")],
    ],
    empty=lambda session, ctx: [("No subnets yet.", "head"), ("n makes one, in a network of yours.", "")],
    enter=lambda row: Locator(kind="port", filter=f"network_id={row['network_id']}"),
    headline=lambda row, now: [(row["id"][:8], "dim"), (row["cidr"], ""), (row["network"], "")],
    copies=("id", "name", "cidr"),
)
