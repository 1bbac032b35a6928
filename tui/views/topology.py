"""How a project's networks hang together, as the lines of a tree: ways out, routers, networks, what is plugged in.

One query tells each level, and what is folded is not asked for: a network of thousands of ports costs a line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from tui.verbs import COPY, DESCRIBE, EVENTS, OPEN, TRACE, YAML, Needs, Reason, Row, Verb
from tui.view import Cell, Column, View
from tui.views.networks import segment
from tui.views.wires import listed, status, waits

MOST_NETWORKS = 1000
MOST_PORTS = 2000
"""Of all open networks together. Who has more looks for one in a list."""

_TONES = {"external": "key", "router": "head", "network": "head", "subnet": "dim"}


def opened_at_first(kind: str) -> bool:
    """What leads somewhere is open, networks are not: there may be many, with much in them."""
    return kind in ("external", "router")


def tree(session: Any, ctx: Any, is_open: Callable[[str, str], bool]) -> list[Row]:
    """The lines from the top. `is_open` is asked (key, kind) of whatever can be folded.

    A line has `key`, its place in the tree; `kind` and `id` of the object; `depth`; `open`, None for what cannot be
    folded; `name`, `status`, `address`, `floating`, `said` and `pending`.
    """
    ways = listed(session, ctx, "network", where={"external": "true"}, sort="-is_default,name", limit=MOST_NETWORKS)
    routers = listed(session, ctx, "router", limit=MOST_NETWORKS)
    inner = listed(session, ctx, "network", where={"external": "false"}, limit=MOST_NETWORKS)
    skeleton = list(_skeleton(ways, routers, inner, is_open))
    inside = _inside(session, ctx, {line["id"] for line in skeleton if line["kind"] == "network" and line["open"]})
    lines = []
    for line in skeleton:
        lines.append(line)
        if line["kind"] == "network" and line["open"]:
            lines += [
                {**one, "key": f"{line['key']}/{one['id']}", "depth": line["depth"] + 1}
                for one in inside.get(line["id"], [])
            ]
    return lines


def _skeleton(
    ways: list[Row], routers: list[Row], inner: list[Row], is_open: Callable[[str, str], bool]
) -> Iterator[Row]:
    """Ways out, the routers behind each, and the networks behind those; then what leads nowhere."""
    by_id = {network["id"]: network for network in inner}

    def network(row: Row, above: str, depth: int) -> Row:
        line = _line(row, "network", above, depth, address=_blocks(row), said=_count(row["ports"], "port"))
        return {**line, "segment": segment(row, 0)[0], "open": is_open(line["key"], "network")}

    def below(router: Row, above: str, depth: int) -> Iterator[Row]:
        outside = ", ".join(address["ip_address"] for address in router["external_fixed_ips"])
        said = "no SNAT" if outside and not router["enable_snat"] else ""
        line = _line(router, "router", above, depth, address=outside or "no way out", said=said)
        joined = list(dict.fromkeys(leg["network_id"] for leg in router["legs"] if leg["network_id"] in by_id))
        line["open"] = is_open(line["key"], "router") if joined else None
        yield line
        if line["open"]:
            yield from (network(by_id[id], line["key"], depth + 1) for id in joined)

    for way in ways:
        behind = [router for router in routers if router["external_network_id"] == way["id"]]
        line = _line(way, "external", "", 0, address=_blocks(way), said=_count(len(behind), "router"))
        line |= {"segment": segment(way, 0)[0], "open": is_open(way["id"], "external") if behind else None}
        yield line
        if line["open"]:
            for router in behind:
                yield from below(router, line["key"], 1)
    known = {way["id"] for way in ways}
    for router in routers:
        if router["external_network_id"] not in known:
            yield from below(router, "", 0)
    joined = {leg["network_id"] for router in routers for leg in router["legs"]}
    for row in inner:
        if row["id"] not in joined:
            yield network(row, "", 0)


def _inside(session: Any, ctx: Any, networks: set[str]) -> dict[str, list[Row]]:
    """Network to its subnets, then what is plugged into it."""
    found: dict[str, list[Row]] = {}
    if not networks:
        return found
    for block in _of(session, ctx, "subnet", networks, lambda columns: True):
        gateway = f"gw {block['gateway_ip']}" if block["gateway_ip"] else "no gateway"
        line = _line(block, "subnet", "", 0, address=block["cidr"], said=gateway)
        found.setdefault(block["network_id"], []).append(line)
    plugged = _of(
        session, ctx, "port", networks, lambda columns: ~columns["device_owner"].startswith("network:"),
        sort="device,ip", limit=MOST_PORTS,
    )  # fmt: skip
    for port in sorted(plugged, key=lambda port: not port["device_id"]):  # what is free comes last
        line = _line(port, "port", "", 0, address=", ".join(one["ip_address"] for one in port["fixed_ips"]))
        line |= {
            "name": port["device"] or port["name"] or port["id"][:8],
            "what": "server" if port["device_owner"].startswith("compute:") else "port",
            "server": port["device_id"] if port["device_owner"].startswith("compute:") else "",
            "floating": ", ".join(port["floating_ips"]),
            "said": "" if port["device_id"] else "free",
        }
        found.setdefault(port["network_id"], []).append(line)
    if len(plugged) == MOST_PORTS:
        more = {"id": "more", "name": f"… {MOST_PORTS} are shown; Enter has them all", "status": ""}
        found[plugged[-1]["network_id"]].append(_line(more, "more", "", 0))
    return found


def _of(
    session: Any, ctx: Any, kind: str, networks: set[str], also: Callable[[dict[str, Any]], Any], **options: Any
) -> list[Row]:
    """Rows of a listing that are of these networks, in one query."""
    from core import listing
    from core.lists import LISTINGS

    usual = LISTINGS[kind]
    here = usual.columns["network_id"].in_(networks) & also(usual.columns)

    def scope(ctx: Any) -> Any:
        seen = usual.scope(ctx)
        return here if seen is True else here & seen

    return listing.page(session, ctx, dataclasses.replace(usual, scope=scope), **options)


def _line(row: Row, kind: str, above: str, depth: int, *, address: str = "", said: str = "") -> Row:
    return {
        "key": f"{above}/{row['id']}" if above else row["id"],
        "id": row["id"],
        "kind": kind,
        "what": kind,
        "depth": depth,
        "open": None,
        "name": row["name"],
        "status": row.get("status", ""),
        "pending": row.get("pending", []),
        "address": address,
        "floating": "",
        "said": said,
        "segment": "",
        "server": "",
    }


def matching(lines: list[Row], text: str) -> list[Row]:
    """The lines that hold all these words, in the name or an address, and what they hang on."""
    words = text.lower().split()
    kept: set[str] = set()
    for line in lines:
        held = f"{line['name']} {line['address']} {line['floating']} {line['id']}".lower()
        if all(word in held for word in words):
            places = line["key"].split("/")
            kept |= {"/".join(places[: at + 1]) for at in range(len(places))}
    return [line for line in lines if line["key"] in kept]


def _blocks(network: Row) -> str:
    """Its first block, and how many more there are."""
    first, *more = network["cidrs"] or ("no subnet",)
    return f"{first} +{len(more)}" if more else first


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


# ---------------------------------------------------------------------------- how it is shown


def name(row: Row, now: int) -> Cell:
    """Indented by its place, with a mark that tells whether it is folded."""
    mark = {True: "▾ ", False: "▸ ", None: "  "}[row["open"]]
    return f"{'  ' * row['depth']}{mark}{row['name']}", _TONES.get(row["kind"], "")


def state(row: Row, now: int) -> Cell:
    return status(row, now) if row["status"] else ("", "")


def note(row: Row, now: int) -> Cell:
    """Which hosts are waited for; else the floating IP; else what there is to say."""
    if row["pending"]:
        return waits(row["pending"]), "busy"
    return (row["floating"], "key") if row["floating"] else (row["said"], "dim")


def object_of(row: Row) -> tuple[str, str]:
    """(kind of the view, id): what a line is about."""
    return {"external": "network"}.get(row["kind"], row["kind"]), row["id"]


def _there(ctx: Any, row: Row) -> Reason | None:
    return ("that is no object", "Enter opens the list.") if row["kind"] == "more" else None


def _traceable(ctx: Any, row: Row) -> Reason | None:
    return None if row["kind"] == "port" else ("packets are followed from a server or a port", "Move to one first.")


VIEW = View(
    kind="topology",
    title="Topology",
    aliases=("topology",),
    columns=(
        Column(title="NAME", width=26, grow=24, cell=name),
        Column(title="KIND", width=8, cell=lambda row, now: (row["what"], "dim")),
        Column(title="ADDRESS", width=17, grow=14, cell=lambda row, now: (row["address"], "")),
        Column(title="STATUS", width=8, cell=state),
        Column(title="SEGMENT", width=15, cell=lambda row, now: (row["segment"], "dim"), wide=True),
        Column(title="ID", width=8, cell=lambda row, now: (row["id"][:8], "dim"), wide=True),
        Column(title="NOTE", width=15, grow=30, cell=note),
    ),
    verbs=(
        dataclasses.replace(OPEN, help="Fold or unfold it, as ← → Space; open what cannot be folded"),
        dataclasses.replace(DESCRIBE, disabled_reason=_there),
        dataclasses.replace(TRACE, disabled_reason=_traceable, footer=True),
        *(
            Verb(name=verb, key=key, shown_key=shown, label=label, help=help, needs=Needs.NOTHING, action=verb)
            for verb, key, shown, label, help in (
                ("unfold_all", "plus", "+", "unfold", "Unfold everything"),
                ("fold_all", "minus", "-", "fold", "Fold everything"),
            )
        ),
        dataclasses.replace(EVENTS, disabled_reason=_there),
        dataclasses.replace(YAML, disabled_reason=_there),
        COPY,
    ),
    key="key",
    sort="",
    copies=("id", "name", "address"),
)
"""Not a list of the registry: it has no listing, and a screen of its own."""
