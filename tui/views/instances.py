"""Instances: guests, their power and their consoles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tui import measured
from tui.text import duration
from tui.verbs import (
    CLONE,
    COPY,
    DESCRIBE,
    EVENTS,
    NEW,
    OPEN,
    TRACE,
    YAML,
    Choice,
    Confirm,
    Needs,
    Reason,
    Row,
    Verb,
    editing,
)
from tui.view import Box, Cell, Column, Lines, Source, Tab, View, box
from tui.views import disks, interfaces
from tui.views.cells import aged, compact, facts, mebibytes, plain, short
from tui.views.funnel import fault
from tui.views.instance_edit import EDIT
from tui.views.launch import FORM
from tui.views.pages import history
from tui.views.policy import needs_role

STATUS: dict[str, tuple[str, str]] = {
    # status to (glyph, tone): never colour alone
    "ACTIVE": ("+", "ok"),
    "BUILD": ("~", "busy"),
    "REBOOT": ("~", "busy"),
    "HARD_REBOOT": ("~", "busy"),
    "REBUILD": ("~", "busy"),
    "RESIZE": ("~", "busy"),
    "MIGRATING": ("~", "busy"),
    "SHUTOFF": ("o", "off"),
    "PAUSED": ("=", "warn"),
    "SUSPENDED": ("z", "warn"),
    "ERROR": ("!", "bad"),
}

_BUSY = {
    "deleting": "DELETING",
    "powering-off": "STOPPING",
    "powering-on": "STARTING",
    "pausing": "PAUSING",
    "unpausing": "UNPAUSING",
    "suspending": "SUSPENDING",
    "resuming": "RESUMING",
}
"""What a task is called while the status still tells the state before it."""


def status(row: Row, now: int) -> Cell:
    """Glyph and word; what is under way with its percentage."""
    word = row["status"]
    glyph, tone = STATUS.get(word, ("?", ""))
    if row["task_state"]:
        word, glyph, tone = _BUSY.get(row["task_state"], word), "~", "busy"
    if row.get("operation_state") == "blocked":
        return f"! {word}", "bad"
    progress = f" {row['progress']}%" if row["task_state"] and row.get("progress") else ""
    return f"{glyph} {word}{progress}", tone


def note(row: Row, now: int) -> Cell:
    """What is being done, or what went wrong."""
    if row.get("operation_state") == "blocked":
        return f"blocked at {row['step']}", "bad"
    if row["task_state"]:
        return row.get("step") or row["task_state"], "busy"
    if row["fault"]:
        return row["fault"].get("title", ""), "bad"
    return ("locked", "warn") if row["locked"] else ("", "")


def guarded(*guards: str) -> Any:
    """A disabled_reason of core's own guards: allowed when any of them allows."""

    def disabled(ctx: Any, row: Row) -> Reason | None:
        from core.compute.instances.guards import reason

        instance: Any = SimpleNamespace(**row)
        reasons = [reason(ctx, instance, guard) for guard in guards]
        return None if None in reasons else reasons[0]

    return disabled


def _power(verb: str) -> Any:
    def run(session: Any, ctx: Any, id: str, value: str) -> object:
        from core.compute.instances import verbs

        return verbs.power(session, ctx, id, verb)

    return run


def _reboot(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.compute.instances import verbs

    return verbs.power(session, ctx, id, f"reboot_{value}")


def _toggle_pause(session: Any, ctx: Any, id: str, value: str) -> object:
    """ACTIVE is paused, PAUSED unpaused, SUSPENDED resumed."""
    from core.compute.instances import states, verbs

    found = verbs.find(session, ctx, id)
    verb = {states.PAUSED: "unpause", states.SUSPENDED: "resume"}.get(found.vm_state, "pause")
    return verbs.power(session, ctx, id, verb)


def _toggle_lock(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.compute.instances import verbs

    locked = verbs.find(session, ctx, id).locked
    return verbs.unlock(session, ctx, id) if locked else verbs.lock(session, ctx, id)


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.compute.instances import verbs

    return verbs.delete(session, ctx, id)


def _lock_guard(ctx: Any, row: Row) -> Reason | None:
    refused: Reason | None = guarded("unlock" if row.get("locked") else "lock")(ctx, row)
    return refused


VERBS = (
    OPEN,
    DESCRIBE,
    Verb(
        name="ssh",
        key="s",
        label="ssh",
        help="Log in with ssh, by its best address or through its host",
        needs=Needs.OBJECT,
        action="ssh",
        disabled_reason=guarded("ssh"),
    ),
    Verb(
        name="console",
        key="o",
        label="cons",
        help="Attach to the serial console; Ctrl+] leaves",
        needs=Needs.OBJECT,
        action="console",
        disabled_reason=guarded("console"),
    ),
    Verb(
        name="display",
        key="O",
        label="VNC",
        help="Hand out an address for a viewer of its display",
        needs=Needs.OBJECT,
        action="display",
        disabled_reason=guarded("display"),
        footer=False,
    ),
    Verb(
        name="log",
        key="l",
        label="log",
        help="Read the console log",
        needs=Needs.OBJECT,
        action="log",
        disabled_reason=guarded("console_log"),
    ),
    Verb(
        name="start",
        key="b",
        label="start",
        help="Start",
        disabled_reason=guarded("start"),
        run=_power("start"),
        done="starting",
    ),
    Verb(
        name="stop",
        key="S",
        label="stop",
        help="Stop: shut down, then cut the power",
        confirm=Confirm.BAR,
        disabled_reason=guarded("stop"),
        run=_power("stop"),
        done="stopping",
    ),
    Verb(
        name="reboot",
        key="R",
        label="reboot",
        help="Reboot, soft or hard",
        confirm=Confirm.BAR,
        choices=(
            Choice(key="s", label="[s]oft", value="soft"),
            Choice(key="h", label="[h]ard", value="hard"),
        ),
        disabled_reason=guarded("reboot_soft", "reboot_hard"),
        run=_reboot,
        done="rebooting",
    ),
    NEW,
    CLONE,
    *editing(EDIT, help="Change name and metadata", disabled_reason=needs_role("instance:set")),
    Verb(
        name="delete",
        key="X",
        label="del",
        help="Delete, with its disks",
        confirm=Confirm.TYPE,
        dangerous=True,
        disabled_reason=guarded("delete"),
        run=_delete,
        done="deleting",
    ),
    Verb(
        name="pause",
        key="z",
        label="pause",
        help="Pause, or let it go on",
        disabled_reason=guarded("pause", "unpause", "resume"),
        run=_toggle_pause,
        done="pausing or resuming",
    ),
    Verb(
        name="suspend",
        key="H",
        label="suspend",
        help="Suspend: its memory goes to disk; z resumes",
        confirm=Confirm.BAR,
        disabled_reason=guarded("suspend"),
        run=_power("suspend"),
        done="suspending",
        footer=False,
    ),
    Verb(
        name="lock",
        key="L",
        label="lock",
        help="Lock against changes, or unlock",
        disabled_reason=_lock_guard,
        run=_toggle_lock,
        done="lock changed:",
    ),
    interfaces.FLOATING,
    interfaces.attaching(guarded("attach_interface", "detach_interface", "attach_volume", "detach_volume")),
    disks.imaging(guarded("create_image")),
    TRACE,
    EVENTS,
    YAML,
    COPY,
)


def _image(row: Row, now: int) -> Cell:
    from core.compute.instances.create import FROM_VOLUME

    return ("a volume", "dim") if row["image"] == FROM_VOLUME else plain("image")(row, now)


def place(row: Row) -> str:
    """`kvm01/nova`."""
    return f"{row['host']}/{row['availability_zone']}" if row["host"] else "no host"


def preview(row: Row, now: int) -> Lines:
    flavor = f"{row['flavor']} {row['vcpus']}v/{compact(row['ram_mb'] << 20)}/{row['root_gb']}G"
    addresses = "  ".join(f"{network} {ip}" for network, ip in row.get("addresses", ())) or "no address"
    first: list[Cell] = [
        (f"{flavor}   {row['image'] or 'no image'}   key {row['key_name'] or '-'}   {addresses}   ", ""),
        (f"created {duration(now - row['created_at'])} ago   {place(row)}", ""),
    ]
    why = row["fault"] or {}
    second: list[Cell] = [(row["id"], "dim")]
    if why:
        second = [(why.get("title", ""), "bad"), (f"   {why.get('hint', '')}", "")]
    return [first, second]


def headline(row: Row, now: int) -> list[Cell]:
    cells = [(row["id"][:8], "dim"), status(row, now), (row["flavor"], "")]
    cells += [(place(row), ""), (f"{duration(now - row['created_at'])} old", "")]
    return cells


def overview(session: Any, ctx: Any, row: Row, now: int) -> list[Box | Source]:
    """What it is and how it does, what is plugged into it, what happened to it and what it says."""
    from core.compute.instances import reads, verbs

    shown = reads.show(session, verbs.find(session, ctx, row["id"]))
    sizes = f"{shown['root_gb']}G" + (f" +{shown['ephemeral_gb']}G ephemeral" if shown["ephemeral_gb"] else "")
    pairs = [
        ("image", shown["image_name"]),
        ("flavor", f"{shown['flavor_name']} {shown['vcpus']}v/{compact(shown['ram_mb'] << 20)}/{sizes}"),
        ("key", shown["key_name"]),
        ("locked", f"by its {shown['locked_by']}" if shown["locked"] else "no"),
        ("project", shown["project"]),
        ("power", shown["power"]),
        ("host", shown["host"]),
        ("hostname", shown["hostname"]),
        ("created", f"{duration(now - shown['created_at'])} ago"),
        ("tags", " ".join(f"{key}={value}" for key, value in shown["properties"].items())),
    ]

    def spec(width: int) -> Lines:
        # In two columns the first half stands on the left; in one there is room for no more than that.
        half = (len(pairs) + 1) // 2
        if width < 60:
            return facts(pairs[:half], label=8)
        both = [pair for left, right in zip(pairs[:half], pairs[half:], strict=True) for pair in (left, right)]
        return facts(both, columns=2, label=8, width=min(28, width // 2 - 9))

    why = fault(session, ctx, shown["fault"], shown["id"])
    return [
        *([box("Fault", why[:-1], headed=True)] if why else []),
        Box(title="Spec", lines=spec, small=True),
        Source.LIVE,
        box("Ports", interfaces.brief(session, ctx, row), headed=True),
        box("Volumes", disks.brief(session, ctx, row), headed=True, right=True),
        box("Events", history(session, ctx, row, now)),
        Source.CONSOLE,
    ]


def empty(session: Any, ctx: Any) -> list[Cell]:
    """The first thing that is missing, and the key or command that brings it."""
    from tui.views.launch import missing

    absent = missing(session, ctx)
    if absent:
        return [("No instances yet.", "head"), (absent[0], "warn"), (absent[1], "")]
    return [
        ("No instances yet.", "head"),
        ("n opens the launch form; n then Ctrl+S launches with its defaults.", ""),
        ("? shows all keys.", "dim"),
    ]


VIEW = View(
    kind="instance",
    title="Instances",
    aliases=("i", "inst", "server", "servers", "vm"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=18),
        Column(title="STATUS", key="status", width=12, cell=status, grow=4),
        Column(title="IP", width=13, cell=plain("ip"), grow=2),
        Column(title="FLAVOR", key="flavor", width=8, cell=plain("flavor"), grow=6),
        Column(title="HOST", key="host", width=8, cell=plain("host"), grow=4),
        Column(title="IMAGE", key="image", width=16, cell=_image, wide=True),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True),
        Column(title="RAM", key="ram_mb", width=5, cell=mebibytes("ram_mb"), wide=True, right=True),
        Column(title="KEY", key="key_name", width=10, cell=plain("key_name"), wide=True),
        Column(title="AZ", key="availability_zone", width=6, cell=plain("availability_zone"), wide=True),
        measured.CPU,
        measured.trend(note, passing=("warn",)),
        measured.MEMORY,
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=VERBS,
    form=FORM,
    tabs=(
        Tab(title="Overview", boxes=overview, sources=(Source.LIVE, Source.CONSOLE)),
        Tab(title="Network", read=interfaces.page),
        Tab(title="Volumes", read=disks.page),
        Tab(title="Metrics", source=Source.METRICS),
        Tab(title="Log", source=Source.LOG),
    ),
    preview=preview,
    headline=headline,
    empty=empty,
    copies=("id", "name", "ip"),
    faults="status=ERROR",
)
