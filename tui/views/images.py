"""Images: what instances are made from."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.text import duration
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Confirm, Needs, Reason, Row, Verb, deletion, editing
from tui.view import Cell, Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views import image_members, launch
from tui.views.cells import aged, compact, facts, plain, short, yes_no
from tui.views.image_new import FORM
from tui.views.policy import needs_role
from tui.views.volumes.new import YES_NO, from_source
from tui.views.wires import as_properties, changed_properties, handle, listed, properties, table

STATUS = {
    "active": ("+", "ok"),
    "queued": ("~", "busy"),
    "saving": ("~", "busy"),
    "importing": ("~", "busy"),
    "killed": ("!", "bad"),
    "deactivated": ("o", "off"),
}


def status(row: Row, now: int) -> Cell:
    glyph, tone = STATUS.get(row["status"], ("?", ""))
    return f"{glyph} {row['status']}", tone


def _size(row: Row, now: int) -> Cell:
    return compact(row["size"]), ""


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.images import images

    return images.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    from core.identity.policy import allowed

    if not allowed(ctx, "image:delete"):
        return f"policy image:delete forbids it to {ctx.user_name}", "An admin can give you the role."
    if row.get("project_id") != ctx.project_id and not ctx.is_admin:
        return f"image {row['name']} belongs to another project", ""
    if row["protected"]:
        return f"image {row['name']} is protected", "skydeck image set --unprotected first."
    return None


def _own(rule: str) -> Any:
    def disabled(ctx: Any, row: Row) -> Reason | None:
        refused = needs_role(rule)(ctx, row)
        if refused is None and row.get("project_id") != ctx.project_id and not ctx.is_admin:
            return f"image {row['name']} belongs to another project", ""
        return refused

    return disabled


def _active(rule: str) -> Any:
    def disabled(ctx: Any, row: Row) -> Reason | None:
        refused = needs_role(rule)(ctx, row)
        if refused is None and row["status"] != "active":
            return f"it is {row['status']}", "It must be active."
        if refused is None and row["disk_format"] in ("aki", "ari"):
            return "it is no disk", ""
        return refused

    return disabled


def _shareable(ctx: Any, row: Row) -> Reason | None:
    refused = _own("image:share")(ctx, row)
    if refused is None and row["visibility"] not in ("private", "shared"):
        return f"it is {row['visibility']}: others see it already", "Make it shared with e."
    return refused


def _switchable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("image:deactivate")(ctx, row)
    if refused is None and row["status"] not in ("active", "deactivated"):
        return f"it is {row['status']}", ""
    return refused


def _switch(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.images import images

    found = images.find(session, ctx, id)
    return (images.reactivate if found.status == "deactivated" else images.deactivate)(session, ctx, id)


# ---------------------------------------------------------------------------- changing


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={
            "id": row["id"],
            "name": row["name"],
            "visibility": row["visibility"],
            "protected": str(bool(row["protected"])),
            "hidden": str(bool(row["hidden"])),
            "min_disk": str(row["min_disk_gb"]),
            "min_ram": str(row["min_ram_mb"]),
            "properties": as_properties(row["properties"]),
        },
        choices={
            "visibility": [
                ("private", "this project"),
                ("shared", "this project, and those it is given to"),
                ("community", "whoever knows it; in nobody's list"),
                ("public", "every project (admin)"),
            ],
            "protected": YES_NO,
            "hidden": YES_NO,
        },
        facts={"handle": handle(session, ctx, "image", row)},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("image", "set"), Changes(loaded.values, values)
    for field in ("name", "visibility", "min_disk", "min_ram"):
        changes.option(line, f"--{field.replace('_', '-')}", field)
    changes.either(line, "protected", "--protected", "--unprotected")
    changes.either(line, "hidden", "--hidden", "--unhidden")
    given, gone = changed_properties(properties(loaded.values["properties"]), properties(values["properties"]))
    line.each("--property", (f"{key}={value}" for key, value in given.items()))
    named = loaded.facts["handle"]
    lines = [line.end(named)] if len(line) > 2 else []
    # By the name it has after the first.
    named = values["name"].strip() if "name" in changes and named == loaded.values["name"] else named
    return [*lines, *([command("image", "unset").each("--property", gone).end(named)] if gone else [])]


def _whole(text: str, what: str) -> int:
    from core.errors import Invalid

    if not text.strip().isdecimal():
        raise Invalid(f"{text!r} is no {what}", hint="A whole number; 0: none.")
    return int(text)


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.images import images

    wanted: dict[str, Any] = {
        "name": values["name"].strip(),
        "visibility": values["visibility"],
        "protected": values["protected"] == "True",
        "hidden": values["hidden"] == "True",
        "min_disk_gb": _whole(values["min_disk"], "size"),
        "min_ram_mb": _whole(values["min_ram"], "size"),
    }
    wished = properties(values["properties"])
    with store.write() as session:
        found = images.find(session, ctx, values["id"])
        changes = {key: value for key, value in wanted.items() if value != getattr(found, key)}
        given, gone = changed_properties(found.properties, wished)
        images.update(session, ctx, found.id, unset=gone, properties=given or None, **changes)
    return f"image {wanted['name']} changed"


EDIT = Form(
    title="Change image",
    fields=(
        Field(name="name", label="name"),
        Field(name="visibility", label="seen by", choices=True),
        Field(name="protected", label="protected", choices=True, holds=Holds.FLAG),
        Field(name="hidden", label="hidden", choices=True, holds=Holds.FLAG),
        Field(name="min_disk", label="min disk", hint="GiB", holds=Holds.NUMBER),
        Field(name="min_ram", label="min ram", hint="MiB", holds=Holds.NUMBER),
        Field(name="properties", label="properties", hint="KEY=VALUE, by comma", holds=Holds.PAIRS),
    ),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)


# ---------------------------------------------------------------------------- looking


def reach(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """Whom it is shown to, and which hosts hold it."""
    from core.identity.policy import allowed

    shared: list[list[str | Cell]] = [
        [
            each["member"] or each["member_id"],
            image_members.status(each, now),
            f"{duration(now - each['created_at'])} ago",
        ]
        for each in listed(session, ctx, "image_member", where={"image_id": row["id"]}, sort="member")
    ]
    heads = [("SHARED WITH", 32), ("SAID", 11), ("SINCE", 8)]
    lines = table(heads, shared, none=f"it is {row['visibility']}; A shares it with a project")
    if not allowed(ctx, "image:cache"):
        return lines
    held: list[list[str | Cell]] = [
        [
            each["host"],
            ("+ there", "ok") if each["present"] else ("~ coming", "busy"),
            ("pinned", "key") if each["pinned"] else "",
            f"{each['refs']} disks" if each["refs"] else "none",
        ]
        for each in listed(session, ctx, "cached_image", where={"digest": row["digest"]}, sort="host")
        if row["digest"]
    ]
    heads = [("HELD BY HOST", 20), ("STATE", 9), ("KEPT", 6), ("DISKS ON IT", 11)]
    none = "no host holds it: the first launch brings it, or i on a host does"
    return [*lines, [("", "")], *table(heads, held, none=none)]


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines: Lines = [[("! ", "bad"), (row["error"], "bad")], [("", "")]] if row["error"] else []
    lines += facts(
        [
            ("status", row["status"]),
            ("format", row["disk_format"]),
            ("size", compact(row["size"])),
            ("virtual", compact(row["virtual_size"])),
            ("visibility", row["visibility"]),
            ("protected", "yes" if row["protected"] else "no"),
            ("store", row["store"]),
            ("in lists", "no, it is hidden" if row["hidden"] else "yes"),
            ("min disk", f"{row['min_disk_gb']}G"),
            ("min ram", f"{row['min_ram_mb']}M"),
        ],
        columns=2,
    )
    lines += facts([("project", row["project"]), ("sha256", row["digest"])])
    return lines + facts(sorted((row["properties"] or {}).items()))


def preview(row: Row, now: int) -> Lines:
    sizes = f"{compact(row['size'])}, {compact(row['virtual_size'])} to a guest"
    return [
        [(f"{row['disk_format']}   {sizes}   {row['visibility']}", "")],
        [(row["error"] or f"sha256 {row['digest'] or '-'}", "bad" if row["error"] else "dim")],
    ]


VIEW = View(
    kind="image",
    title="Images",
    aliases=("img", "image"),
    columns=(
        Column(title="NAME", key="name", width=20, grow=20),
        Column(title="STATUS", key="status", width=12, cell=status),
        Column(title="FORMAT", key="disk_format", width=7),
        Column(title="SIZE", key="size", width=6, cell=_size, right=True),
        Column(title="VIS", key="visibility", width=9),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="PROTECTED", key="protected", width=9, cell=yes_no("protected"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True, cell=plain("project")),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="launch",
            key="b",
            label="launch",
            help="Launch an instance of it",
            needs=Needs.OBJECT,
            form=launch.OF_IMAGE,
            disabled_reason=_active("instance:create"),
        ),
        Verb(
            name="volume",
            key="m",
            label="volume",
            help="Make a volume of it",
            needs=Needs.OBJECT,
            form=from_source("image"),
            disabled_reason=_active("volume:create"),
        ),
        Verb(
            name="share",
            key="A",
            label="share",
            help="Share it with a project; :member shows whom",
            needs=Needs.OBJECT,
            form=image_members.FORM,
            disabled_reason=_shareable,
        ),
        NEW,
        *editing(EDIT, help="Change who sees it, what it needs, its properties", disabled_reason=_own("image:set")),
        deletion(
            _delete,
            help="Delete the image; servers made from it go on",
            disabled_reason=_deletable,
            confirm=Confirm.TYPE,
        ),
        Verb(
            name="deactivate",
            key="U",
            label="deactivate",
            help="Let nobody use it, or let them again",
            confirm=Confirm.BAR,
            disabled_reason=_switchable,
            run=_switch,
            done="changed",
            footer=False,
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(Tab(title="Overview", read=overview), Tab(title="Reach", read=reach)),
    preview=preview,
    empty=lambda session, ctx: [("No images yet.", "head"), ("n brings one: of the catalog, a URL or a file.", "")],
    headline=lambda row, now: [(row["id"][:8], "dim"), status(row, now), (compact(row["size"]), "")],
    faults="status=killed,error*",
)
