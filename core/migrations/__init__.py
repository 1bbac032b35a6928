"""Schema changes, in order. Alembic runs them; `core.cloud.migrate` decides when.

A new one: `python -m core.migrations "what changes"` writes it from the difference between tables and head.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig

from core.store import Store


def configuration(store: Store) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["store"] = store
    return config


def upgrade(store: Store) -> None:
    """Bring the database to head, in one transaction."""
    command.upgrade(configuration(store), "head")
