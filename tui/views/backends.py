"""Backends: the places volumes are kept in."""

from __future__ import annotations

import shlex
from typing import Any

from tui.forms.command import Changes, Command, command
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Confirm, Reason, Row, Verb, deletion, editing
from tui.view import Cell, Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import aged, compact, facts, plain, short
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.stores import pool_line
from tui.views.wires import handle, listed, table, words

DRIVERS = {
    "file": "files in a directory of each host",
    "nfs": "files in a directory that hosts share",
    "lvm": "thin volumes of a volume group of each host",
    "iscsi": "targets of a portal",
    "rbd": "images of a Ceph pool",
}


def state(row: Row, now: int) -> Cell:
    if not row["enabled"]:
        return "o disabled", "warn"
    return ("+ enabled", "ok") if row["reached"] else ("! unreached", "bad")


def _toggle(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import backends

    found = backends.find(session, ctx, id)
    reason = f"by {ctx.user_name} in the app" if found.enabled else ""
    return backends.set(session, ctx, id, enabled=not found.enabled, disabled_reason=reason)


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import backends

    return backends.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("backend:manage")(ctx, row)
    if refused is None and row["volumes"]:
        return f"it holds {row['volumes']} volumes", "Delete or retype them first."
    return refused


# ---------------------------------------------------------------------------- forms


def options(text: str) -> dict[str, str]:
    """`path=/srv/volumes pool=x` to a dict. Raises Invalid."""
    from core.errors import Invalid

    found: dict[str, str] = {}
    try:
        parts = shlex.split(text)
    except ValueError as bad:
        raise Invalid(f"the options cannot be read: {bad}", hint="KEY=VALUE, by blanks.") from bad
    for part in parts:
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise Invalid(f"option {part!r} is not KEY=VALUE", hint="For example path=/srv/volumes")
        found[key] = value
    return found


def _written(found: dict[str, str]) -> str:
    return shlex.join(f"{key}={value}" for key, value in sorted(found.items()))


def _host_choices(session: Any, ctx: Any) -> list[tuple[str, str]]:
    return [(row["id"], row["name"]) for row in listed(session, ctx, "host", sort="name")]


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    if refused := needs_role("backend:manage")(ctx, row or {}):
        return Loaded(values={}, problem=refused)
    return Loaded(
        values={"name": "", "driver": "file", "options": "", "hosts": "", "over": "10", "zone": "", "description": ""},
        choices={
            "driver": [(key, f"{key}: {what}") for key, what in DRIVERS.items()],
            "hosts": _host_choices(session, ctx),
        },
        facts={"hosts": dict(_host_choices(session, ctx))},
    )


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("storage", "backend", "create").option("--driver", values["driver"])
    line.each("--option", (f"{key}={value}" for key, value in options(values["options"]).items()))
    line.each("--host", (loaded.facts["hosts"][host] for host in words(values["hosts"])))
    line.option("--az", values["zone"].strip())
    line.option("--max-over-subscription-ratio", values["over"].strip(), usual="10")
    line.option("--description", values["description"].strip())
    return [line.end(values["name"].strip())]


def _ratio(text: str) -> float:
    from core.errors import Invalid

    try:
        return float(text)
    except ValueError as bad:
        raise Invalid(f"{text!r} is no ratio", hint="For example 10.") from bad


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import backends

    with store.write() as session:
        made = backends.create(
            session,
            ctx,
            name=values["name"].strip(),
            driver=values["driver"],
            options=options(values["options"]),
            hosts=words(values["hosts"]) or None,
            availability_zone=values["zone"].strip(),
            max_over_subscription=_ratio(values["over"]),
            description=values["description"].strip(),
        )
    return f"backend {made.name} made; hosts look for it now"


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={
            "id": row["id"],
            "name": row["name"],
            "options": _written(row["options"]),
            "hosts": ",".join(row["hosts"] or ()),
            "over": f"{row['max_over_subscription']:g}",
            "zone": row["availability_zone"],
            "description": row["description"],
        },
        choices={"hosts": _host_choices(session, ctx)},
        facts={"hosts": dict(_host_choices(session, ctx)), "handle": handle(session, ctx, "backend", row)},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("storage", "backend", "set"), Changes(loaded.values, values)
    if "options" in changes:
        line.each("--option", (f"{key}={value}" for key, value in options(values["options"]).items()))
    if "hosts" in changes:
        hosts = [loaded.facts["hosts"][host] for host in words(values["hosts"])]
        line.each("--host", hosts).flag("--all-hosts", not hosts)
    for field, option in (("name", "--name"), ("zone", "--az"), ("over", "--max-over-subscription-ratio")):
        changes.option(line, option, field)
    changes.option(line, "--description", "description")
    return [line.end(loaded.facts["handle"])]


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import backends

    hosts = words(values["hosts"])
    with store.write() as session:
        backends.set(
            session,
            ctx,
            values["id"],
            name=values["name"].strip(),
            options=options(values["options"]),
            hosts=hosts or None,
            all_hosts=not hosts,
            availability_zone=values["zone"].strip(),
            max_over_subscription=_ratio(values["over"]),
            description=values["description"].strip(),
        )
    return f"backend {values['name']} changed"


_SHARED_FIELDS = (
    Field(name="options", label="options", hint="KEY=VALUE, by blanks, e.g. path=/srv/volumes"),
    Field(name="hosts", label="hosts", several=True),
    Field(
        name="over", label="promise", word="max_over_subscription_ratio", hint="times its room that volumes may grow to"
    ),
    Field(name="zone", label="zone", word="availability_zone", hint="of a shared one; may be empty"),
    Field(name="description", label="about"),
)


# ---------------------------------------------------------------------------- looking


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts(
        [
            ("driver", row["driver"]),
            ("status", state(row, now)[0]),
            ("volumes", row["volumes"]),
            ("zone", row["availability_zone"]),
            ("promise", f"up to {row['max_over_subscription']:g}x its room"),
            ("kept free", f"{row['reserved_percent']}%"),
        ],
        columns=2,
    )
    lines += facts(
        [("about", row["description"]), ("disabled", row["disabled_reason"]), *sorted(row["options"].items())]
    )
    lines += [[("", "")], [("As hosts reach it", "head")]]
    seen = listed(session, ctx, "backend_host", where={"backend_id": row["id"]}, sort="host")
    for each in seen:
        lines.append(pool_line(each["host"], each))
        if not each["reachable"]:
            lines.append([(f"{'':<15}{each['hint']}", "dim")])
    if not seen:
        lines.append([("  no host has looked yet", "dim")])
    return [*lines, *recent(session, ctx, row, now)]


def volumes(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    rows: list[list[str | Cell]] = [
        [each["name"] or each["id"][:8], f"{each['size_gb']}G", each["status"], each["host"], each["project"]]
        for each in listed(session, ctx, "volume", where={"backend_id": row["id"]}, sort="-size_gb", limit=200)
    ]
    heads = [("VOLUME", 24), ("SIZE", 6), ("STATUS", 16), ("HOST", 12), ("PROJECT", 16)]
    return table(heads, rows, none="it holds no volume of yours; 0 looks at all projects")


VIEW = View(
    kind="backend",
    title="Backends",
    aliases=("be", "backend"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=8),
        Column(title="DRIVER", key="driver", width=6),
        Column(title="STATE", key="enabled", width=11, cell=state),
        Column(title="HOSTS", width=5, cell=lambda row, now: (str(len(row["reached"])), ""), right=True),
        Column(title="VOLUMES", key="volumes", width=7, right=True),
        Column(title="USED", width=10, cell=lambda row, now: _used(row), right=True),
        Column(title="ZONE", key="availability_zone", width=6, cell=plain("availability_zone"), wide=True),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="DESCRIPTION", key="description", width=12, grow=40, cell=plain("description")),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="disable",
            key="U",
            label="disable",
            help="Put no more volumes in it, or put them in again",
            confirm=Confirm.BAR,
            disabled_reason=needs_role("backend:manage"),
            run=_toggle,
            done="changed",
        ),
        NEW,
        *editing(
            Form(
                title="Change backend",
                fields=(Field(name="name", label="name"), *_SHARED_FIELDS),
                load=_load_edit,
                submit=_submit_edit,
                command=_command_edit,
            ),
            help="Change its options, its hosts, how much it promises",
            disabled_reason=needs_role("backend:manage"),
        ),
        deletion(_delete, help="Forget the backend; it must hold no volume", disabled_reason=_deletable),
        EVENTS,
        YAML,
        COPY,
    ),
    form=Form(
        title="New backend",
        fields=(
            Field(name="name", label="name"),
            Field(name="driver", label="driver", choices=True),
            *_SHARED_FIELDS,
        ),
        load=_load,
        submit=_submit,
        command=_command,
    ),
    tabs=(Tab(title="Overview", read=overview), Tab(title="Volumes", read=volumes)),
    preview=lambda row, now: [
        [
            (f"{row['driver']}: {DRIVERS.get(row['driver'], '')}", ""),
            (f"   reached by {', '.join(row['reached']) or 'no host'}", ""),
        ],
        [(row["disabled_reason"] or _written(row["options"]) or row["id"], "dim")],
    ],
    empty=lambda session, ctx: [("No backends.", "head"), ("n makes one (admin).", "")],
    headline=lambda row, now: [(row["id"][:8], "dim"), state(row, now), (row["driver"], "")],
)


def _used(row: Row) -> Cell:
    if not row["total_bytes"]:
        return "-", "dim"
    used = row["total_bytes"] - row["free_bytes"]
    tone = "bad" if row["free_bytes"] * 20 < row["total_bytes"] else ""
    return f"{compact(used)}/{compact(row['total_bytes'])}", tone
