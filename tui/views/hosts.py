"""Hosts: hypervisors, what they have and what is claimed of it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from tui import measured
from tui.locator import ALL, Locator
from tui.text import duration
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Confirm, Needs, Row, Verb, editing
from tui.view import Box, Cell, Column, Lines, Source, Tab, View, box
from tui.views import stores
from tui.views.cells import aged, compact, facts, plain
from tui.views.host_forms import ADD as ENROL
from tui.views.host_forms import EDIT
from tui.views.policy import needs_role
from tui.views.wires import listed, table


def state(row: Row, now: int) -> Cell:
    if row["state"] != "up":
        return "! down", "bad"
    return ("+ up", "ok") if row["enabled"] else ("= off", "warn")


def _claimed(resource: str, scale: int = 0) -> Any:
    def cell(row: Row, now: int) -> Cell:
        used, cap = row[f"{resource}_used"], row[f"{resource}_cap"]
        tone = "bad" if cap and used >= cap else "warn" if cap and used >= cap * 0.8 else ""
        return (f"{compact(used << scale)}/{compact(cap << scale)}" if scale else f"{used}/{cap}"), tone

    return cell


def _why(row: Row, now: int) -> Cell:
    if row["state"] != "up":
        return row["state_reason"], "bad"
    return (row["disabled_reason"] or "disabled", "warn") if not row["enabled"] else (row["accel"], "dim")


def _toggle(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.hosts import hosts

    host = hosts.find(session, ctx, id)
    return hosts.update_host(
        session, ctx, id, enabled=not host.enabled, disabled_reason=f"by {ctx.user_name} in the app"
    )


def overview(session: Any, ctx: Any, row: Row, now: int) -> list[Box | Source]:
    """What it is, how it does, what is claimed of it, and which guests use most of it."""
    pairs = [
        ("address", f"{row['ssh_user']}@{row['address']}:{row['port']}" if row["address"] else "this machine"),
        ("zone", row["availability_zone"]),
        ("cpu", f"{row['arch']} {row['cpu_model']}"),
        ("load", f"{row['load1']:.2f}"),
        ("guests", f"{row['running']} run, {row['instances']} are placed here"),
        ("accel", row["accel"]),
    ]
    why: Lines = [[("! ", "bad"), (row["state_reason"], "bad")]]
    return [
        *([box("State", why, headed=True)] if row["state"] != "up" else []),
        Box(title="Host", lines=lambda width: facts(pairs, label=8), small=True),
        Source.LIVE,
        box("Capacity", _capacity(row), headed=True),
        Source.GUESTS,
        Box(
            title="Versions",
            lines=lambda width: facts(
                sorted((row["versions"] or {}).items()), columns=2 if width < 100 else 4, label=8
            ),
            brief=4,
        ),
    ]


def _capacity(row: Row) -> Lines:
    lines: Lines = [[(f"{'':<8} {'HAS':>8} {'CLAIMED':>8} {'MAY BE':>8} {'FREE NOW':>9}", "head")]]
    for label, key, scale, free in (
        ("vCPUs", "vcpus", 0, None),
        ("RAM", "ram_mb", 20, "ram_free_mb"),
        ("disk", "disk_gb", 30, "disk_free_gb"),
    ):
        has, used, cap = (
            compact(row[name] << scale) if scale else str(row[name]) for name in (key, f"{key}_used", f"{key}_cap")
        )
        now_free = compact(row[free] << scale) if free else "-"
        lines.append([(f"{label:<8} {has:>8} {used:>8} {cap:>8} {now_free:>9}", "")])
    return lines


def networking(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """How far it has been told of its networking, what is wrong there, and what it carries."""
    from core.hosts import hosts
    from core.network import fabric

    host = hosts.find(session, ctx, row["id"])
    told = session.get(fabric.HostNetworking, host.id)
    lines: Lines = []
    if told is None:
        lines.append([("- it carries no network yet", "dim")])
    elif told.error:
        lines += [[("! ", "bad"), (told.error["title"], "bad")], [(f"  {told.error.get('hint', '')}", "")]]
    elif told.applied < told.generation:
        since = duration(now - told.changed_at)
        lines.append([("~ ", "busy"), (f"it was told {told.generation} and has {told.applied}, since {since}", "busy")])
    else:
        lines.append([("+ ", "ok"), (f"it has what it was told: {told.applied}", "")])
    shown = listed(session, ctx, "finding", where={"host": row["name"]})
    for finding in shown:
        if finding["kind"].startswith("network") or finding["kind"] == "host_check":
            lines += [[("! ", "warn"), (finding["title"], "warn")], [(f"  {finding['act']}", "")]]
    ways = ", ".join(f"{name} by {interface}" for name, interface in host.physnets.items())
    lines += [[("", "")], *facts([("tunnels", fabric.vtep(host)), ("physical", ways or "no network leads out here")])]
    everywhere = dataclasses.replace(ctx, all_projects=ctx.is_admin)
    plugged = Counter(port["network"] for port in listed(session, everywhere, "port", where={"host": row["name"]}))
    rows = [[name, str(count)] for name, count in sorted(plugged.items())]
    return [*lines, [("", "")], *table([("NETWORK", 24), ("PORTS HERE", 10)], rows, none="nothing is plugged in here")]


def _repair(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.hosts import findings

    return findings.repair_networking(session, ctx, id)


def preview(row: Row, now: int) -> Lines:
    machine = f"{row['address'] or 'this machine'}   {row['arch']} {row['cpu_model']}"
    return [
        [(f"{machine}   load {row['load1']:.2f}   {row['running']} running", "")],
        [(row["accel"], "dim") if row["state"] == "up" else (row["state_reason"], "bad")],
    ]


VIEW = View(
    kind="host",
    title="Hosts",
    aliases=("hv", "host", "hypervisor"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=14),
        Column(title="STATE", key="state", width=7, cell=state),
        Column(title="VMS", key="instances", width=4, right=True),
        Column(title="VCPU", key="vcpus_used", width=7, cell=_claimed("vcpus"), right=True),
        Column(title="RAM", key="ram_mb_used", width=10, cell=_claimed("ram_mb", 20), right=True),
        Column(title="DISK", key="disk_gb_used", width=10, cell=_claimed("disk_gb", 30), right=True),
        Column(title="ZONE", key="availability_zone", width=6, wide=True),
        Column(title="ADDRESS", key="address", width=18, cell=plain("address"), wide=True),
        Column(
            title="LOAD", key="load1", width=5, cell=lambda row, now: (f"{row['load1']:.1f}", ""), wide=True, right=True
        ),
        measured.CPU,
        measured.trend(_why, passing=("warn", "dim")),
        Column(title="SEEN", key="seen_at", width=4, cell=aged("seen_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="cordon",
            key="U",
            label="cordon",
            help="Take no more instances, or take them again",
            confirm=Confirm.BAR,
            disabled_reason=needs_role("host:manage"),
            run=_toggle,
            done="changed",
        ),
        Verb(
            name="maintain",
            key="m",
            label="maint",
            help="Shut its servers down for maintenance, or start them again: a plan first",
            needs=Needs.OBJECT,
            disabled_reason=needs_role("host:manage"),
            plan=lambda row: "host.maintain" if row["enabled"] else "host.resume",
            action="plan",
        ),
        Verb(
            name="repair",
            key="r",
            label="repair",
            help="Have all of its networking looked at, and mended",
            disabled_reason=needs_role("network:repair"),
            run=_repair,
            done="mending networking of",
        ),
        stores.IMAGES,
        NEW,
        *editing(
            EDIT, help="Change ratios, what is kept, zone, physical networks", disabled_reason=needs_role("host:manage")
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=ENROL,
    tabs=(
        Tab(title="Overview", boxes=overview, sources=(Source.LIVE, Source.GUESTS)),
        Tab(title="Networking", read=networking),
        Tab(title="Storage", read=stores.page),
        Tab(title="Metrics", source=Source.METRICS),
    ),
    preview=preview,
    empty=lambda session, ctx: [
        ("No hosts yet.", "head"),
        ("n adds this machine or another.", ""),
        ("The same: skydeck host add local, skydeck host add root@ADDRESS", "dim"),
    ],
    enter=lambda row: Locator(kind="instance", project=ALL, filter=f"host={row['name']}"),
    headline=lambda row, now: [(row["id"][:8], "dim"), state(row, now), (row["address"] or "this machine", "")],
    copies=("id", "name", "address"),
    faults="state=!up",
)
