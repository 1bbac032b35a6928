"""Images: what instances are made from."""

from __future__ import annotations

from typing import Any

from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Reason, Row, deletion
from tui.view import Cell, Column, Lines, Tab, View
from tui.views.cells import aged, compact, facts, plain, short, yes_no

STATUS = {
    "active": ("+", "ok"),
    "queued": ("~", "busy"),
    "saving": ("~", "busy"),
    "importing": ("~", "busy"),
    "killed": ("!", "bad"),
    "deactivated": ("o", "off"),
}

BRING = ("an image is brought by a command", "skydeck image create --file FILE --disk-format qcow2 NAME")


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
        NEW,
        deletion(_delete, help="Delete the image", disabled_reason=_deletable),
        EVENTS,
        YAML,
        COPY,
    ),
    cannot_new=BRING,
    tabs=(Tab(title="Overview", read=overview),),
    preview=preview,
    empty=lambda session, ctx: [("No images yet.", "head"), (f"Bring one: {BRING[1]}", "")],
    headline=lambda row, now: [(row["id"][:8], "dim"), status(row, now), (compact(row["size"]), "")],
)
