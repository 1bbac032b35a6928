"""A cloud in which everything that a tenant, a guest, a host or a foreign service may write is hostile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlmodel import SQLModel

from core.store import Store
from tests.tui import seed

WORDS: dict[str, tuple[str, ...]] = {
    "aggregate": ("name",),
    "backend": ("disabled_reason", "description"),
    "backend_host": ("detail", "hint"),
    "backup": ("name", "description", "volume_name", "container"),
    "event": ("object_name", "user_name"),
    "finding": ("object_name", "title", "act"),
    "flavor": ("name", "description"),
    "floating_ip": ("description",),
    "host": ("disabled_reason", "state_reason", "cpu_model", "accel"),
    "image": ("name", "error", "source"),
    "instance": ("name", "hostname", "flavor_name", "image_name", "key_name", "locked_reason"),
    "keypair": ("public_key",),
    "network": ("name", "description", "dns_domain"),
    "operation": ("object_name", "user_name", "step"),
    "port": ("name", "dns_name", "description"),
    "project": ("description",),
    "router": ("name", "description"),
    "security_group": ("name", "description"),
    "security_group_rule": ("description",),
    "snapshot": ("name", "description"),
    "subnet": ("name", "description"),
    "volume": ("name", "description"),
    "volume_attachment": ("tag",),
    "volume_transfer": ("name",),
    "volume_type": ("description",),
}
"""Table to its columns that hold what people and programs write."""

TREES: dict[str, tuple[str, ...]] = {
    "backup": ("fault", "volume_properties"),
    "event": ("before", "after"),
    "finding": ("evidence",),
    "flavor": ("extra_specs",),
    "host": ("versions",),
    "host_networking": ("error",),
    "image": ("properties",),
    "instance": ("properties", "fault"),
    "operation": ("error",),
    "snapshot": ("properties", "fault"),
    "volume": ("properties", "image_properties", "fault"),
}
"""Table to its columns of JSON whose words are theirs as well."""


def poison(home: Path, texts: Sequence[str], *, instances: int = 12) -> seed.Config:
    """The seeded cloud, poisoned; each place gets another of the texts. Returns its configuration."""
    config, store, ctx = seed.fresh(home)
    seed.populate(store, ctx, instances=instances)
    spoil(store, texts)
    (home / "console.txt").write_bytes("\n".join(texts).encode())
    store.checkpoint()
    store.close()
    return config


def spoil(store: Store, texts: Sequence[str]) -> None:
    """Write into every row."""
    more = itertools.cycle(texts)
    number = itertools.count(1)
    with store.write() as session:
        for name, table in SQLModel.metadata.tables.items():
            words, trees = WORDS.get(name, ()), TREES.get(name, ())
            if not words and not trees:
                continue
            keys = list(table.primary_key.columns)
            for row in session.execute(select(table)).mappings().all():
                # Names stay different from each other, as the database wants some of them to be.
                values: dict[str, Any] = {column: f"{next(more)}{next(number)}" for column in words}
                values |= {column: _spoilt(row[column], more) for column in trees}
                this = [key == row[key.name] for key in keys]
                session.execute(update(table).where(*this).values(values))


def _spoilt(tree: Any, texts: Iterator[str]) -> Any:
    """Every word replaced; the keys of what people name themselves too. Nothing becomes something hostile."""
    if isinstance(tree, dict):
        fixed = {"title", "hint", "funnel", "total", "counts", "rejected", "ranked", "filter", "why", "type"}
        return {(key if key in fixed else f"{next(texts)}{key}"): _spoilt(value, texts) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_spoilt(item, texts) for item in tree]
    if tree is None:
        return {"title": next(texts), "hint": next(texts)}
    return next(texts) if isinstance(tree, str) else tree
