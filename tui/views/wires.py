"""What the views of networking share: how wired something is, tables on a page, floating IPs put on and taken off."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tui.locator import Locator
from tui.verbs import Needs, Option, Pick, Row, Verb
from tui.view import Cell, Lines
from tui.views.policy import needs_role
from tui.widgets.lines import fit

STATES = {"ACTIVE": ("+", "ok"), "DOWN": ("o", "off"), "BUILD": ("~", "busy"), "ERROR": ("!", "bad")}
"""Status to (glyph, tone): never colour alone."""

NO_ADDRESS = ("no floating IP can be put on it", "It needs an IPv4 address behind a router that has a way out.")


def status(row: Row, now: int) -> Cell:
    """Glyph and word; busy while hosts have yet to confirm."""
    glyph, tone = STATES.get(row["status"], ("?", ""))
    if row.get("pending"):
        glyph, tone = "~", "busy"
    return f"{glyph} {row['status']}", tone


def note(row: Row, now: int) -> Cell:
    """Which hosts are waited for; else what somebody wrote."""
    if row.get("pending"):
        return waits(row["pending"]), "busy"
    if row.get("admin_state_up") is False:
        return "disabled", "warn"
    return row.get("description", ""), "dim"


def waits(hosts: Sequence[str]) -> str:
    """`pending on kvm02, kvm03`."""
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    return f"pending on {', '.join(hosts[:3])}{more}"


def within(kind: str, column: str, row: Row) -> Locator:
    """The list of what belongs to a row: by its name, which people read, unless a filter cannot hold that."""
    name = str(row["name"])
    by_name = name.isascii() and not any(letter.isspace() or letter == "!" for letter in name)
    return Locator(kind=kind, filter=f"{column}={name}" if by_name else f"{column}_id={row['id']}")


def table(heads: Sequence[tuple[str, int]], rows: Iterable[Sequence[str | Cell]], *, none: str) -> Lines:
    """Rows below their heads, each (title, width at most); the last column takes what is left. `none`: said instead of
    no rows."""
    shown = [[_cell(value) for value in row] for row in rows]
    if not shown:
        return [[(none, "dim")]]
    widths = [
        min(width, max(len(title), *(len(row[place][0]) for row in shown)))
        for place, (title, width) in enumerate(heads)
    ]
    titles = [fit(title, width) for (title, _), width in zip(heads[:-1], widths, strict=False)]
    lines: Lines = [[(" ".join([*titles, heads[-1][0]]), "head")]]
    for row in shown:
        *first, last = row
        cells = [(fit(text, width) + " ", tone) for (text, tone), width in zip(first, widths, strict=False)]
        lines.append([*cells, last])
    return lines


def _cell(value: str | Cell) -> Cell:
    text, tone = value if isinstance(value, tuple) else (value, "")
    return (text, tone) if text else ("-", "dim")


def listed(session: Any, ctx: Any, kind: str, **options: Any) -> list[Row]:
    """Rows of a listing, as the caller sees them."""
    from core import listing
    from core.lists import LISTINGS

    return listing.page(session, ctx, LISTINGS[kind], **options)


_PLAIN = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")


def handle(session: Any, ctx: Any, kind: str, row: Row) -> str:
    """What a command calls an object: its name while no other in sight has that, else its id."""
    name = str(row["name"] or "")
    if not _PLAIN.fullmatch(name) or len(listed(session, ctx, kind, where={"name": name}, limit=2)) != 1:
        return str(row["id"])
    return name


def fresh(session: Any, ctx: Any, kind: str, last: str) -> str:
    """A name that nobody has: the number at the end of the last one, counted on."""
    from core import listing
    from core.lists import LISTINGS

    stem = last.rstrip("0123456789")
    digits = last[len(stem) :]
    number, width = int(digits or "0"), len(digits) if digits.startswith("0") else 0
    stem = stem if digits or stem.endswith("-") else f"{stem}-"
    for candidate in range(max(1, number), number + 1000):
        name = f"{stem}{candidate:0{width}}"
        if not listing.count(session, ctx, LISTINGS[kind], where={"name": name}):
            return name
    return stem


def properties(text: str) -> dict[str, str]:
    """`KEY=VALUE, KEY=VALUE` to a dict. Raises Invalid."""
    from core.errors import Invalid

    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise Invalid(f"property {part!r} is not KEY=VALUE", hint="For example hw_disk_bus=scsi")
        found[key.strip()] = value.strip()
    return found


def as_properties(found: dict[str, str] | None) -> str:
    """As `properties` reads them."""
    return ", ".join(f"{key}={value}" for key, value in sorted((found or {}).items()))


def changed_properties(before: dict[str, str], after: dict[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """(those that are new or other, the keys of those that are gone)."""
    given = {key: value for key, value in after.items() if before.get(key) != value}
    return given, tuple(key for key in before if key not in after)


def words(text: str) -> tuple[str, ...]:
    """What is typed by comma or blank."""
    return tuple(text.replace(",", " ").split())


def waiting(session: Any, id: str) -> Lines:
    """The hosts that have not confirmed the object yet, why not, and what to do."""
    from core.network import fabric

    lines: Lines = []
    for one in fabric.pending(session, id):
        lines.append([("~ ", "busy"), (f"pending on {one.host}: ", "busy"), (one.reason, ""), (f"  {one.hint}", "dim")])
    return [*lines, [("", "")]] if lines else []


# ---------------------------------------------------------------------------- floating IPs, put on and taken off


def addresses_for(session: Any, ctx: Any, ports: Sequence[Row]) -> list[Option]:
    """What can be done about floating IPs of these ports: take one off, put a free one on, or get a new one.

    The values are what `put_address` takes.
    """
    mine = {port["id"] for port in ports}
    rows = listed(session, ctx, "floating_ip")
    here = [row for row in rows if row["port_id"] in mine]
    taken = {(row["port_id"], row["fixed_ip"]) for row in here}
    inside = reached(session, ctx)
    pools = listed(session, ctx, "network", where={"external": "true"}, sort="-is_default,name")
    free, new, moved = [], [], []
    for port in ports:
        for address in port["fixed_ips"]:
            ip, subnet = address["ip_address"], address["subnet_id"]
            if ":" in ip or (port["id"], ip) in taken:
                continue
            where, to = f"{port['id']} {ip}", f"to {ip} on {port['network']}"
            for row in rows:
                if subnet not in inside[row["network_id"]] or row in here:
                    continue
                value, label = f"put {row['id']} {where}", row["address"]
                if row["port_id"] is None:
                    free.append(Option(value=value, label=label, note=to))
                else:
                    was = f"moved here from {row['server'] or row['fixed_ip']}"
                    moved.append(Option(value=value, label=label, note=was, tone="warn"))
            for pool in pools:
                if subnet in inside[pool["id"]]:
                    label = f"a new one of {pool['name']}"
                    new.append(Option(value=f"new {pool['id']} {where}", label=label, note=to))
    off = [
        Option(value=f"off {row['id']}", label=f"take {row['address']} off", note=f"it is on {row['fixed_ip']}")
        for row in here
    ]
    return [*free, *new, *off, *moved]


def reached(session: Any, ctx: Any) -> dict[str, set[str]]:
    """External network to the subnets that routers join to it: where its floating IPs can be."""
    found: dict[str, set[str]] = defaultdict(set)
    for router in listed(session, ctx, "router"):
        found[router["external_network_id"]] |= {leg["subnet_id"] for leg in router["legs"]}
    return found


def put_address(session: Any, ctx: Any, id: str, value: str) -> object:
    """Do what `addresses_for` offered."""
    from core.network import floating_ips

    act, *what = value.split()
    if act == "off":
        return floating_ips.disassociate(session, ctx, what[0])
    if act == "new":
        return floating_ips.create(session, ctx, network=what[0], port=what[1], fixed_ip=what[2])
    return floating_ips.associate(session, ctx, what[0], what[1], fixed_ip=what[2])


def floating(ports_of: Callable[[Any, Any, Row], list[Row]]) -> Verb:
    """The `F` of what has addresses: a floating IP is put on it, moved to it, or taken off."""
    return Verb(
        name="floating",
        key="F",
        label="fip",
        help="Put a floating IP on it, or take it off",
        needs=Needs.OBJECT,
        pick=Pick(
            title="Floating IP of",
            load=lambda session, ctx, row: addresses_for(session, ctx, ports_of(session, ctx, row)),
            none=NO_ADDRESS,
        ),
        disabled_reason=needs_role("floating_ip:set"),
        run=put_address,
        done="floating IP changed on",
    )
