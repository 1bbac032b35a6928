"""A host's storage page: its pools as bars, what they promised, what nobody knows of, and its image cache; and what is
done about that cache."""

from __future__ import annotations

from typing import Any

from tui.storage import stored
from tui.text import duration
from tui.verbs import Needs, Option, Pick, Row, Verb
from tui.view import Cell, Lines
from tui.views.cells import compact
from tui.views.policy import needs_role
from tui.views.wires import listed, table
from tui.widgets.lines import fit

BAR = 12
"""Cells of a pool's bar."""

TIGHT = 0.8
FULL = 0.95
"""Of a pool that is in use, or of what it may promise: where it is warned of, and where it is bad."""

PRUNE = "prune"


def tone(share: float) -> str:
    return "bad" if share >= FULL else "warn" if share >= TIGHT else "ok"


def bar(share: float, cells: int = BAR) -> str:
    """`[#####-----]`."""
    filled = min(cells, max(0, round(cells * share)))
    return f"[{'#' * filled}{'-' * (cells - filled)}]"


def pool_line(name: str, row: Row) -> list[Cell]:
    """One pool, of the listing `backend_host`: `local  [####----] 120G/500G  free 380G`."""
    if not row["reachable"]:
        return [(f"  {name:<12} ", ""), ("! ", "bad"), (row["detail"] or "not reached", "bad")]
    used = max(0, row["total_bytes"] - row["free_bytes"])
    share = used / row["total_bytes"] if row["total_bytes"] else 0.0
    return [
        (f"  {name:<12} ", ""),
        (bar(share), tone(share)),
        (f" {compact(used):>5} of {compact(row['total_bytes'])} used", ""),
    ]


def page(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """All of it, of a row of the listing `host`."""
    found = stored(session, ctx, row)
    lines: Lines = [[(f"{'POOL':<11} {'USED':<26}{'PROMISED':<18}VOLS  DRIVER", "head")]]
    for pool in found.pools:
        if not pool.reachable:
            lines.append([(fit(pool.backend, 12), ""), ("! ", "bad"), (pool.detail or "not reached", "bad")])
            lines.append([(f"{'':<14}{pool.hint}", "dim")])
            continue
        used = pool.used / pool.total if pool.total else 0.0
        lines.append(
            [
                (fit(pool.backend, 12), ""),
                (bar(used), tone(used)),
                (f" {compact(pool.used)}/{compact(pool.total)}".ljust(12), ""),
                (f"{compact(pool.promised)} {pool.over:.1f}x of {pool.most:g}x".ljust(17), tone(pool.over / pool.most)),
                (f"{pool.volumes:>5}  {pool.driver}{', shared' if pool.shared else ''}", ""),
            ]
        )
    if not found.pools:
        lines.append([("it has not been looked at yet", "dim")])
    if found.orphans:
        total = sum(orphan.allocated for orphan in found.orphans)
        lines += [
            [("", "")],
            [(f"{_counted(len(found.orphans), 'volume')} that nobody knows of, {compact(total)}", "warn")],
        ]
        rows: list[list[str | Cell]] = [
            [orphan.id, orphan.backend, compact(orphan.allocated), orphan.why] for orphan in found.orphans
        ]
        lines += table([("ID", 36), ("POOL", 12), ("TAKES", 6), ("WHY", 30)], rows, none="")
        lines.append([("They are shown, and never deleted by themselves.", "dim")])
    return [*lines, [("", "")], *_cache(found.images, now)]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _cache(images: tuple[Row, ...], now: int) -> Lines:
    rows: list[list[str | Cell]] = [
        [
            each["image"] or (each["digest"][:12], "dim"),
            compact(each["size"]),
            ("+ there", "ok") if each["present"] else ("~ coming", "busy"),
            ("pinned", "key") if each["pinned"] else "",
            _counted(each["refs"], "disk") if each["refs"] else "",
            (duration(now - each["seen_at"]), "dim"),
        ]
        for each in images
    ]
    held = sum(each["size"] for each in images if each["present"])
    loose = sum(each["size"] for each in images if each["present"] and not each["refs"] and not each["pinned"])
    heads = [("CACHED IMAGE", 26), ("SIZE", 6), ("STATE", 9), ("KEPT", 6), ("USED BY", 9), ("SEEN", 4)]
    lines = table(heads, rows, none="its image cache is empty: i brings images ahead of time")
    if rows:
        lines.append([(f"{compact(held)} in all; {compact(loose)} would go with a prune (i)", "dim")])
    return lines


# ---------------------------------------------------------------------------- the cache, seen to


def _offers(session: Any, ctx: Any, row: Row) -> list[Option]:
    """Prune; keep or let go what is there; bring what is not."""
    held = {each["digest"]: each for each in listed(session, ctx, "cached_image", where={"host_id": row["id"]})}
    loose = [each for each in held.values() if each["present"] and not each["refs"] and not each["pinned"]]
    options = []
    if loose:
        freed = compact(sum(each["size"] for each in loose))
        options.append(
            Option(
                value=PRUNE,
                label="prune what nobody uses",
                note=f"{_counted(len(loose), 'image')}, {freed}",
                tone="bad",
            )
        )
    bring, keep = [], []
    for image in listed(session, ctx, "image", where={"status": "active"}, sort="name"):
        known = held.get(image["digest"])
        name, note = image["name"], compact(image["size"])
        if known is None or not known["present"]:
            bring.append(Option(value=f"prefetch {image['id']}", label=f"bring {name}", note=note))
        if known is not None and known["pinned"]:
            keep.append(Option(value=f"unpin {image['id']}", label=f"let {name} go", note="it is pinned"))
        else:
            keep.append(Option(value=f"pin {image['id']}", label=f"keep {name}", note="never pruned"))
    return [*options, *bring, *keep]


def _run(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.images import caching

    if value == PRUNE:
        return caching.prune(session, ctx, id)
    what, image = value.split()
    return getattr(caching, what)(session, ctx, image, hosts=(id,))


IMAGES = Verb(
    name="images",
    key="i",
    label="images",
    help="Bring images ahead of time, keep them, or prune",
    needs=Needs.OBJECT,
    pick=Pick(
        title="Image cache of",
        load=_offers,
        none=("there is no image to bring", "skydeck image create --help"),
    ),
    disabled_reason=needs_role("image:cache"),
    run=_run,
    done="changing the image cache of",
)
