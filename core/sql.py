"""SQLAlchemy's select, typed for SQLModel: a table's attribute is `str` to the type checker and a column at run time,
which SQLAlchemy's own signature cannot accept."""

from __future__ import annotations

from typing import Any

import sqlalchemy


def select(*entities: Any) -> sqlalchemy.Select[Any]:
    """SELECT of columns or tables."""
    return sqlalchemy.select(*entities)
