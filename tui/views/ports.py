"""Ports: where servers, routers and services are plugged into networks."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, TRACE, YAML, Reason, Row, deletion, editing
from tui.view import Cell, Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, plain, short
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.security_group_rules import rule_line
from tui.views.wires import floating, handle, listed, note, status, table, waiting, words

SECURITY = [("True", "anti-spoofing and security groups"), ("False", "none: everything passes")]


def device(row: Row, now: int) -> Cell:
    """The server or router that has it, else the service."""
    if row["device"]:
        return row["device"], ""
    return row["device_owner"].removeprefix("network:") or "-", "dim"


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.network import ports

    return ports.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("network:delete")(ctx, row)
    if refused is None and row.get("device_id"):
        return f"it belongs to {row['device'] or row['device_owner']}", "It goes, or is free, when that lets it go."
    return refused


# ---------------------------------------------------------------------------- making and changing


def _choices(session: Any, ctx: Any) -> list[tuple[str, str]]:
    return [(group["id"], group["name"]) for group in listed(session, ctx, "security_group")]


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    networks = [network for network in listed(session, ctx, "network") if not network["external"] or ctx.is_admin]
    if not networks:
        return Loaded(values={}, problem=("There is no network to plug into.", "Make one: :networks, then n"))
    groups = _choices(session, ctx)
    default = next((id for id, name in groups if name == "default"), "")
    return Loaded(
        values={
            "name": "",
            "network": (row or {}).get("network_id", networks[0]["id"]),
            "ips": "",
            "groups": default,
            "in": "",
            "out": "",
        },
        choices={
            "network": [(network["id"], f"{network['name']}  {network['cidr']}") for network in networks],
            "groups": groups,
        },
        # The default group comes by itself: with no other there is nothing to decide.
        hidden=frozenset({"groups"}) if len(groups) < 2 else frozenset(),
        facts={
            "networks": {network["id"]: handle(session, ctx, "network", network) for network in networks},
            "groups": dict(groups),
            "default": default,
        },
    )


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("port", "create").option("--network", loaded.facts["networks"][values["network"]])
    line.each("--fixed-ip", (f"ip-address={ip}" for ip in words(values["ips"])))
    chosen = words(values["groups"])
    if chosen != (loaded.facts["default"],):
        line.each("--security-group", (loaded.facts["groups"][group] for group in chosen))
    _limits(line, values)
    return [line.end(values["name"].strip())]


def _limits(line: Command, values: dict[str, str]) -> None:
    for field, option in (("in", "--ingress-limit"), ("out", "--egress-limit")):
        if (limit := kbit(values[field])) is not None:
            line.option(option, str(limit))


def kbit(text: str) -> int | None:
    """kbit/s of what was typed: `10M`, `512k`, `1G`; None for nothing. Raises Invalid."""
    from core.errors import Invalid

    plain_ = text.strip().lower().removesuffix("bit/s").removesuffix("bit")
    scale = {"k": 1, "m": 1000, "g": 1_000_000}.get(plain_[-1:], 0)
    number = plain_[:-1] if scale else plain_
    if not plain_:
        return None
    if not number.isdecimal():
        raise Invalid(f"{text!r} is no speed", hint="For example 10M (Mbit/s), 512k, or kbit/s without a letter.")
    return int(number) * (scale or 1)


def speed(limit: int | None) -> str:
    """kbit/s as `kbit` reads it; empty for no limit."""
    if not limit:
        return ""
    for letter, scale in (("G", 1_000_000), ("M", 1000)):
        if limit % scale == 0:
            return f"{limit // scale}{letter}"
    return f"{limit}k"


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import ports

    with store.write() as session:
        made = ports.add(
            session,
            ctx,
            network=values["network"],
            name=values["name"].strip(),
            fixed_ips=tuple((None, ip) for ip in words(values["ips"])),
            security_groups=words(values["groups"]) or None,
            ingress_kbit=kbit(values["in"]),
            egress_kbit=kbit(values["out"]),
        )
        name = made.name or made.id[:8]
    return f"port {name} made"


FORM = Form(
    title="New port",
    fields=(
        Field(name="name", label="name", hint="may be empty"),
        Field(name="network", label="network", choices=True),
        Field(name="ips", label="addresses", hint="by comma; empty: the next free one"),
        Field(name="groups", label="groups", several=True),
        Field(name="in", label="limit in", hint="to the server, e.g. 10M; empty: none"),
        Field(name="out", label="limit out", hint="from the server; empty: none"),
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
            "ips": ", ".join(address["ip_address"] for address in row["fixed_ips"]),
            "groups": ",".join(row["security_group_ids"]),
            "security": str(row["port_security_enabled"]),
            "pairs": ", ".join(" ".join(_pair(pair)) for pair in row["allowed_address_pairs"]),
            "in": speed(row["ingress_kbit"]),
            "out": speed(row["egress_kbit"]),
            "up": str(row["admin_state_up"]),
        },
        choices={
            "groups": _choices(session, ctx),
            "security": SECURITY,
            "up": [("True", "enabled"), ("False", "disabled: nothing passes")],
        },
        facts={"handle": handle(session, ctx, "port", row), "groups": dict(_choices(session, ctx))},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("port", "set"), Changes(loaded.values, values)
    changes.option(line, "--name", "name")
    if "ips" in changes:
        line.flag("--no-fixed-ip", True).each("--fixed-ip", (f"ip-address={ip}" for ip in words(values["ips"])))
    secured = values["security"] == "True"
    if "groups" in changes or ("security" in changes and not secured):
        line.flag("--no-security-group", True)
        line.each("--security-group", (loaded.facts["groups"][group] for group in words(values["groups"]) if secured))
    changes.either(line, "security", "--enable-port-security", "--disable-port-security")
    if "pairs" in changes:
        line.flag("--no-allowed-address", True)
        for address, mac in _pairs(values["pairs"]):
            line.option("--allowed-address", f"ip-address={address}" + (f",mac-address={mac}" if mac else ""))
    for field, option in (("in", "--ingress-limit"), ("out", "--egress-limit")):
        if field in changes:
            line.option(option, str(kbit(values[field]) or 0))
    changes.either(line, "up", "--enable", "--disable")
    return [line.end(loaded.facts["handle"])]


def _pair(pair: dict[str, str]) -> list[str]:
    return [value for value in (pair["ip_address"], pair.get("mac_address")) if value]


def _pairs(text: str) -> list[tuple[str, str | None]]:
    """`10.0.0.9, 10.0.1.0/24 fa:16:3e:00:00:01` to (address, MAC)."""
    found: list[tuple[str, str | None]] = []
    for part in text.split(","):
        address, _, mac = part.strip().partition(" ")
        if address:
            found.append((address, mac.strip() or None))
    return found


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.network import ports

    secured = values["security"] == "True"
    ips = words(values["ips"])
    with store.write() as session:
        port = ports.set(
            session,
            ctx,
            values["id"],
            name=values["name"].strip(),
            fixed_ips=tuple((None, ip) for ip in ips) if ips else None,
            no_fixed_ip=not ips,
            security_groups=words(values["groups"]) if secured else (),
            port_security=secured,
            allowed_address_pairs=_pairs(values["pairs"]),
            ingress_kbit=kbit(values["in"]) or 0,
            egress_kbit=kbit(values["out"]) or 0,
            admin_state_up=values["up"] == "True",
        )
        name = port.name or port.id[:8]
    return f"port {name} changed"


EDIT = Form(
    title="Change port",
    fields=(
        Field(name="name", label="name"),
        Field(name="ips", label="addresses", word="fixed_ips", hint="by comma; empty: none", holds=Holds.WORDS),
        Field(name="groups", label="groups", word="security_groups", several=True),
        Field(name="security", label="security", word="port_security_enabled", choices=True, holds=Holds.FLAG),
        Field(
            name="pairs",
            label="also has",
            word="allowed_address_pairs",
            hint="addresses or blocks, each with a MAC or not, by comma",
            holds=Holds.WORDS,
        ),
        Field(name="in", label="limit in", word="ingress_limit", hint="to the server, e.g. 10M; empty: none"),
        Field(name="out", label="limit out", word="egress_limit", hint="from the server; empty: none"),
        Field(name="up", label="state", word="admin_state_up", choices=True, holds=Holds.FLAG),
    ),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)


def _changeable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("network:set")(ctx, row)
    if refused is None and str(row.get("device_owner", "")).startswith("network:"):
        return "it is a service's, and follows that", "Change the subnet or the router instead."
    return refused


# ---------------------------------------------------------------------------- looking


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = waiting(session, row["id"])
    lines += facts(
        [
            ("status", row["status"] if row["admin_state_up"] else f"{row['status']}, disabled"),
            ("network", row["network"]),
            ("device", device(row, now)[0]),
            ("host", row["host"]),
            ("MAC", row["mac"]),
            ("security", "on" if row["port_security_enabled"] else "off: everything passes"),
            ("limit in", speed(row["ingress_kbit"]) or "none"),
            ("limit out", speed(row["egress_kbit"]) or "none"),
            ("DNS name", row["dns_name"]),
            ("project", row["project"]),
        ],
        columns=2,
    )
    if row["description"]:
        lines += facts([("about", row["description"])])
    return [*lines, [("", "")], *addresses(session, ctx, row, now), *recent(session, ctx, row, now)]


def addresses(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """What it may send from, and be reached by."""
    blocks = {block["id"]: block for block in listed(session, ctx, "subnet", where={"network_id": row["network_id"]})}
    floats = {
        one["fixed_ip"]: one["address"] for one in listed(session, ctx, "floating_ip", where={"port_id": row["id"]})
    }
    found: list[list[str | Cell]] = []
    for address in row["fixed_ips"]:
        block = blocks.get(address["subnet_id"], {"name": "", "cidr": "", "gateway_ip": ""})
        ip = address["ip_address"]
        found.append([ip, block["name"], block["cidr"], block["gateway_ip"] or "", (floats.get(ip, ""), "key")])
    heads = [("ADDRESS", 26), ("SUBNET", 14), ("CIDR", 18), ("GATEWAY", 15), ("FLOATING", 15)]
    lines = table(heads, found, none="no address")
    for pair in row["allowed_address_pairs"]:
        lines.append([("also ", "dim"), (" ".join(_pair(pair)), "")])
    return lines


def groups(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """What may pass: the rules of its groups."""
    if not row["port_security_enabled"]:
        return [[("! ", "warn"), ("port security is off: everything passes, whoever it claims to be", "warn")]]
    lines: Lines = []
    for id, name in zip(row["security_group_ids"], row["security_groups"], strict=True):
        lines += [[("group ", "dim"), (name, "head")]]
        rules = listed(session, ctx, "security_group_rule", where={"security_group_id": id}, sort="rule")
        lines += [rule_line(rule) for rule in rules]
    return lines or [[("in no group: nothing comes in, nothing goes out", "warn")]]


VIEW = View(
    kind="port",
    title="Ports",
    aliases=("port",),
    columns=(
        Column(title="IP", key="ip", width=15, cell=plain("ip"), grow=12),
        Column(title="STATUS", key="status", width=8, cell=status),
        Column(title="DEVICE", key="device", width=12, cell=device, grow=10),
        Column(title="NETWORK", key="network", width=10, grow=10),
        Column(title="NAME", key="name", width=10, cell=plain("name"), wide=True),
        Column(title="MAC", key="mac", width=17, wide=True),
        Column(title="HOST", key="host", width=8, cell=plain("host"), wide=True),
        Column(
            title="FLOATING", width=15, cell=lambda row, now: (", ".join(row["floating_ips"]) or "-", ""), wide=True
        ),
        Column(
            title="GROUPS", width=14, cell=lambda row, now: (", ".join(row["security_groups"]) or "-", ""), wide=True
        ),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="NOTE", width=17, grow=30, cell=note),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        TRACE,
        floating(lambda session, ctx, row: [row]),
        NEW,
        *editing(EDIT, help="Change addresses, groups, limits, state", disabled_reason=_changeable),
        deletion(_delete, help="Delete the port; nothing may be plugged into it", disabled_reason=_deletable),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(
        Tab(title="Overview", read=overview),
        Tab(title="Addresses", read=addresses),
        Tab(title="Groups", read=groups),
    ),
    preview=lambda row, now: [
        [
            (
                f"{', '.join(address['ip_address'] for address in row['fixed_ips']) or 'no address'}   {row['mac']}   ",
                "",
            ),
            (f"groups {', '.join(row['security_groups']) or 'none'}   ", ""),
            (f"floating {', '.join(row['floating_ips'])}" if row["floating_ips"] else "", "key"),
        ],
        [(row["id"], "dim"), ("   ", ""), note(row, now)],
    ],
    empty=lambda session, ctx: [
        ("No ports yet.", "head"),
        ("Launching plugs in by itself; n makes one to launch with later.", ""),
    ],
    headline=lambda row, now: [(row["id"][:8], "dim"), status(row, now), (row["network"], ""), device(row, now)],
    name="label",
    sort="ip",
    copies=("id", "label", "mac", "ip"),
    faults="status=ERROR",
)
