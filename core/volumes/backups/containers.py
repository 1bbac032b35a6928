"""The repositories of the configuration, by name: cinder's containers."""

from __future__ import annotations

from core.config import Config, Tables
from core.errors import Invalid
from core.objects import open_store
from core.volumes.backups.repository import Repository

DEFAULT = "default"
"""The one there is when none is configured."""


def tables(config: Config) -> Tables:
    """Every repository's table, the one used when none is named first."""
    return config.backups or {DEFAULT: {"driver": "file", "path": str(config.backups_dir)}}


def named(config: Config, wanted: str | None) -> str:
    """The name of the repository that is meant. Raises Invalid for one that is not configured."""
    known = tables(config)
    if not wanted:
        return next(iter(known))
    if wanted not in known:
        raise Invalid(
            f"no container {wanted!r} is configured", hint=f"There is {', '.join(known)}; a new one is [backups.NAME]."
        )
    return wanted


def opened(config: Config, name: str) -> Repository:
    """Blocking. Raises Invalid for one that is not, or wrongly, configured; nothing is reached for yet."""
    named(config, name)
    return Repository(open_store(tables(config)[name], named=f"backups.{name}"))
