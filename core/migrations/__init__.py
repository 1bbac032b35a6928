"""Schema changes, in order. Alembic runs them; `core.cloud.migrate` decides when.

A new one: `python -m core.migrations "what changes"` writes it from the difference between tables and head.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection

from core.store import Store


def configuration(store: Store) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["store"] = store
    return config


def upgrade(store: Store, *, before: Callable[[Connection], None], after: Callable[[Connection], None]) -> None:
    """Bring the database to head: `before`, the migrations and `after` in one transaction, in one process at a time."""
    config = configuration(store)
    config.attributes |= {"before": before, "after": after}
    command.upgrade(config, "head")
