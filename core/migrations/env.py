"""Alembic's entry: runs the migrations on the store it was handed."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection
from sqlmodel.sql.sqltypes import AutoString

import core.cloud  # noqa: F401 - declares the last table
from core.store import Store
from core.tables import METADATA


def render(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """SQLModel's own string type is a plain one."""
    return "sa.String()" if kind == "type" and isinstance(value, AutoString) else False


def nothing(_: Connection) -> None:
    """Writing a new migration changes no database."""


store: Store = context.config.attributes["store"]
with store.engine.connect() as connection:
    store.lock(connection)
    context.configure(
        connection=connection, target_metadata=METADATA, render_as_batch=store.is_sqlite, render_item=render
    )
    with context.begin_transaction():
        context.config.attributes.get("before", nothing)(connection)
        context.run_migrations()
        context.config.attributes.get("after", nothing)(connection)
    connection.commit()
