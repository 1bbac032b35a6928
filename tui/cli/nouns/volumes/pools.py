"""`skydeck volume backend pool list`: the places volumes are put in, as the scheduler sees them."""

from __future__ import annotations

from typing import Any

from tui.cli.commands import add_list, group
from tui.cli.noun import Noun, Row, column, listed, long
from tui.storage import GIB


def _find(session: Any, ctx: Any, id: str) -> Row:
    return listed(session, ctx, "backend_host", id)


def _capabilities(row: Row) -> dict[str, Any]:
    """Under cinder's names."""
    return {
        "volume_backend_name": row["backend"],
        "driver": row["driver"],
        "total_capacity_gb": row["total_bytes"] // GIB,
        "free_capacity_gb": row["free_bytes"] // GIB,
        "max_over_subscription_ratio": row["max_over_subscription"],
        "reserved_percentage": row["reserved_percent"],
        "reachable": row["reachable"],
        **dict.fromkeys(row["capabilities"], True),
    }


POOL = Noun(
    kind="backend_host",
    word="volume backend pool",
    columns=(
        column("Name", lambda row: f"{row['host']}@{row['backend']}#{row['backend']}"),
        long("Capabilities", _capabilities),
    ),
    fields=(),
    find=_find,
)

app = group("The places volumes are put in.")
pool = group("The places volumes are put in, host by host.")
app.add_typer(pool, name="pool")
add_list(pool, POOL, help="List pools (admin).")
