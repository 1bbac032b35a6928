"""What a volume's detail page says."""

from __future__ import annotations

from typing import Any

from tui.text import duration
from tui.verbs import Row
from tui.view import Cell, Lines
from tui.views.cells import compact, facts
from tui.views.pages import recent
from tui.views.volumes.cells import note, status, type_
from tui.views.wires import listed, table


def _proven(row: Row, now: int) -> str:
    at = row.get("proven_at")
    return f"{duration(now - at)} ago, by a restore drill" if at else "never: D on a backup of it"


def _source(row: Row) -> str:
    """`image debian-13`: what it was made from."""
    kind = row["source_kind"]
    named = row["image_properties"].get("image_name") if kind == "image" else None
    return f"{kind} {named or row['source_id'][:8]}" if kind else "empty"


_OF_THE_FILE = ("checksum", "container_format", "disk_format", "image_id", "image_name", "min_disk", "min_ram", "size")
"""What a volume knows of its image that says nothing about the volume."""


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines: Lines = []
    if row["fault"]:
        lines += [[("! ", "bad"), (row["fault"].get("title", ""), "bad")], [(f"  {row['fault'].get('hint', '')}", "")]]
        lines.append([("", "")])
    lines += facts(
        [
            ("status", row["status"]),
            ("size", f"{row['size_gb']} GiB"),
            ("type", row["type"]),
            ("backend", row["backend"]),
            ("bootable", "yes" if row["bootable"] else "no"),
            ("host", row["host"] or "shared by all"),
            ("read-only", "yes" if row["read_only"] else "no"),
            ("zone", row["availability_zone"]),
            ("made from", _source(row)),
            ("project", row["project"]),
        ],
        columns=2,
    )
    lines += facts([("proven", _proven(row, now)), ("about", row["description"])])
    shown = {key: value for key, value in row["image_properties"].items() if key not in _OF_THE_FILE} | row[
        "properties"
    ]
    lines += facts(sorted(shown.items()), label=max(12, *map(len, shown))) if shown else []
    lines += [[("", "")], *attachments(session, ctx, row, now)]
    return lines + recent(session, ctx, row, now)


def attachments(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    rows: list[list[str | Cell]] = [
        [
            each["server"],
            each["device"],
            each["host"],
            each["status"],
            "read-only" if each["read_only"] else "read, write",
            "goes with it" if each["delete_on_termination"] else "stays",
        ]
        for each in row["attachments"]
    ]
    heads = [("INSTANCE", 20), ("DEVICE", 10), ("HOST", 12), ("STATUS", 12), ("MODE", 11), ("WHEN IT ENDS", 12)]
    return table(heads, rows, none="nobody has it: A gives it to an instance")


def kept(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """Snapshots and backups, the newest first."""
    snaps: list[list[str | Cell]] = [
        [each["name"] or each["id"][:8], status(each, now), duration(now - each["created_at"]), each["description"]]
        for each in listed(session, ctx, "snapshot", where={"volume_id": row["id"]}, sort="-created_at")
    ]
    lines = table([("SNAPSHOT", 24), ("STATUS", 14), ("AGE", 4), ("ABOUT", 30)], snaps, none="no snapshot: I takes one")
    backs: list[list[str | Cell]] = [
        [
            each["name"] or each["id"][:8],
            status(each, now),
            duration(now - each["created_at"]),
            "increment" if each["incremental"] else "full",
            compact(each["stored_bytes"]),
            f"{duration(now - each['proven_at'])} ago" if each["proven_at"] else ("never", "warn"),
        ]
        for each in listed(session, ctx, "backup", where={"volume_id": row["id"]}, sort="-created_at")
    ]
    heads = [("BACKUP", 24), ("STATUS", 14), ("AGE", 4), ("KIND", 9), ("STORED", 6), ("PROVEN", 10)]
    return [*lines, [("", "")], *table(heads, backs, none="no backup: B makes one")]


def preview(row: Row, now: int) -> Lines:
    where = f"{row['backend']} on {row['host']}" if row["host"] else row["backend"]
    proven = f"proven {duration(now - row['proven_at'])} ago" if row["proven_at"] else "never proven"
    first = f"{row['size_gb']}G {type_(row, now)[0]}   {row['status']}   {where}   {_source(row)}   {proven}"
    return [[(first, "")], [(row["id"], "dim"), ("   ", ""), note(row, now)]]
