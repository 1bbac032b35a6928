"""How a volume's state, size and place look in a column."""

from __future__ import annotations

from tui.progress import pace
from tui.verbs import Row
from tui.view import Cell
from tui.views.cells import plain

STATUS: dict[str, tuple[str, str]] = {
    # status to (glyph, tone): never colour alone
    "available": ("+", "ok"),
    "in-use": ("*", "ok"),
    "awaiting-transfer": ("=", "warn"),
    "maintenance": ("=", "warn"),
    "deleted": ("x", "off"),
}
"""Whatever begins with `error` is bad; anything else is on its way."""

_SHORT = {
    "restoring-backup": "restoring",
    "awaiting-transfer": "offered",
    "error_extending": "error",
    "error_restoring": "error",
    "error_deleting": "error",
    "error_managing": "error",
    "error_backing-up": "error",
}
"""What a narrow column calls some of them: pages have cinder's own word, and the note says what went wrong."""

DEFAULT_TYPE = "__DEFAULT__"
"""cinder's name of the type every cloud begins with."""


def status(row: Row, now: int) -> Cell:
    """Glyph and word; what is under way with its percentage."""
    word = row["status"]
    glyph, tone = STATUS.get(word, ("!", "bad") if word.startswith("error") else ("~", "busy"))
    word = _SHORT.get(word, word)
    if row.get("operation_state") == "blocked":
        return f"! {word}", "bad"
    progress = f" {row['progress']}%" if row.get("progress") else ""
    return f"{glyph} {word}{progress}", tone


def note(row: Row, now: int) -> Cell:
    """What is being done and how long it takes still, what went wrong, or what it is."""
    if row.get("operation_state") == "blocked":
        return f"blocked at {row['step']}", "bad"
    if row.get("operation"):
        left = pace(row | {"state": row["operation_state"]}, now)
        doing = row["step"] or row["operation"].partition(".")[2]
        return f"{left}: {doing}" if left else doing, "busy"
    if row.get("fault"):
        return row["fault"].get("title", ""), "bad"
    return row.get("description", ""), "dim"


def attached(row: Row, now: int) -> Cell:
    """`web-01 vdb`; of several `web-01 +1`."""
    found = row["attachments"]
    if not found:
        return "-", "dim"
    first = found[0]["server"] or found[0]["server_id"][:8]
    if len(found) > 1:
        return f"{first} +{len(found) - 1}", ""
    return f"{first} {found[0]['device'].removeprefix('/dev/')}".strip(), ""


def type_(row: Row, now: int) -> Cell:
    return ("default", "dim") if row["type"] == DEFAULT_TYPE else plain("type")(row, now)


def size(row: Row, now: int) -> Cell:
    return f"{row['size_gb']}G", ""


def holders(row: Row) -> str:
    return ", ".join(each["server"] for each in row["attachments"])
