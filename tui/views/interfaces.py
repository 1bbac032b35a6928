"""What an instance has of the network: its interfaces, on the overview and on a page, and how they come and go."""

from __future__ import annotations

from typing import Any

from tui.verbs import Needs, Option, Pick, Row, Verb
from tui.view import Cell, Lines
from tui.views import disks, ports
from tui.views.cells import facts
from tui.views.wires import STATES, floating, listed, table, waiting, waits

_HEADS = [("NETWORK", 16), ("MAC", 17), ("ADDRESS", 26), ("FLOATING", 15), ("GROUPS", 20)]


def of(session: Any, ctx: Any, row: Row) -> list[Row]:
    """The ports of an instance, the first plugged in first."""
    return listed(session, ctx, "port", where={"device_id": row["id"]}, sort="created_at")


def brief(session: Any, ctx: Any, row: Row) -> Lines:
    """An interface a line, a further address of it on a line of its own."""
    found: list[list[str | Cell]] = []
    plugged = of(session, ctx, row)
    floats = _floats(session, ctx, plugged)
    for port in plugged:
        glyph, tone = ("~", "busy") if port["pending"] else STATES.get(port["status"], ("?", ""))
        first, *more = [address["ip_address"] for address in port["fixed_ips"]] or [""]
        groups = ", ".join(port["security_groups"]) if port["port_security_enabled"] else "no port security"
        found.append(
            [
                (f"{glyph} {port['network']}", tone),
                port["mac"],
                first,
                (floats.get((port["id"], first), ""), "key"),
                groups,
            ]
        )
        found += [[" ", " ", ip, (floats.get((port["id"], ip), ""), "key"), " "] for ip in more]
    lines = table(_HEADS, found, none="no network: A plugs one in")
    return lines + [
        [("~ ", "busy"), (f"{port['network']}: {waits(port['pending'])}", "busy")]
        for port in plugged
        if port["pending"]
    ]


def _floats(session: Any, ctx: Any, plugged: list[Row]) -> dict[tuple[str, str], str]:
    """(port, fixed IP) to the floating IP on it."""
    with_one = [port["id"] for port in plugged if port["floating_ips"]]
    return {
        (row["port_id"], row["fixed_ip"]): row["address"]
        for id in with_one
        for row in listed(session, ctx, "floating_ip", where={"port_id": id})
    }


def page(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """Everything about each interface: what it may send from, what may pass, what is waited for."""
    lines: Lines = []
    for port in of(session, ctx, row):
        glyph, tone = STATES.get(port["status"], ("?", ""))
        lines.append([(f"{glyph} {port['status']}  ", tone), (port["network"], "head"), (f"  {port['id']}", "dim")])
        lines += waiting(session, port["id"])
        lines += facts(
            [
                ("MAC", port["mac"]),
                ("security", "on" if port["port_security_enabled"] else "off: everything passes"),
                ("limit in", ports.speed(port["ingress_kbit"]) or "none"),
                ("limit out", ports.speed(port["egress_kbit"]) or "none"),
            ],
            columns=2,
            label=9,
            width=28,
        )
        lines += [*ports.addresses(session, ctx, port, now), *ports.groups(session, ctx, port, now), [("", "")]]
    return lines or [[("no network: A plugs one in", "dim")]]


# ---------------------------------------------------------------------------- plugging in and pulling out


def _offers(session: Any, ctx: Any, row: Row) -> list[Option]:
    """Networks that have addresses, those it is not on first; what can be pulled out; free ports, which may be many."""
    here = of(session, ctx, row)
    joined = {port["network_id"] for port in here}
    networks = [
        network for network in listed(session, ctx, "network", where={"external": "false"}) if network["subnets"]
    ]
    options = [
        Option(value=f"network {network['id']}", label=f"plug into {network['name']}", note=network["cidr"])
        for network in sorted(networks, key=lambda network: network["id"] in joined)
    ]
    options += [
        Option(
            value=f"off {port['id']}",
            label=f"pull out {port['ip'] or port['mac']}",
            note=f"it is on {port['network']}",
            tone="bad",
        )
        for port in here
    ]
    return [*options, *disks.offers(session, ctx, row)] + [
        Option(value=f"port {port['id']}", label=f"plug in {port['label']}", note=f"a port on {port['network']}")
        for port in listed(session, ctx, "port", where={"device_id": ""}, sort="label")
        if not port["device_owner"] and port["project_id"] == row["project_id"]
    ]


def _attach(session: Any, ctx: Any, config: Any, id: str, value: str) -> object:
    from core.compute.instances import interfaces
    from core.compute.instances.nics import Nic

    what, key = value.split()
    if what in (disks.ON, disks.OFF):
        return disks.change(session, ctx, config, id, what, key)
    if what == "off":
        return interfaces.detach(session, ctx, id, key)
    return interfaces.attach(session, ctx, id, Nic(port=key) if what == "port" else Nic(network=key))


def attaching(disabled_reason: Any) -> Verb:
    """The `A` of an instance."""
    return Verb(
        name="attach",
        key="A",
        label="attach",
        help="Plug networks and volumes into it, or pull them out",
        needs=Needs.OBJECT,
        pick=Pick(
            title="Interfaces and volumes of",
            load=_offers,
            none=("there is no network or volume to plug in", "Make one: :networks or :volumes, then n"),
        ),
        disabled_reason=disabled_reason,
        run=_attach,
        configured=True,
        done="changing what is plugged into",
    )


FLOATING = floating(of)
