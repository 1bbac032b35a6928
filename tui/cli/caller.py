"""What one command works with: the configuration, the store, the caller's context, and an engine for its work."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tui.readonly import WHY

if TYPE_CHECKING:
    from core.config import Config
    from core.context import Context
    from core.store import Store


class Caller:
    """One per command; opened when first used, closed with the command."""

    def __init__(self, *, project: str | None = None, debug: bool = False) -> None:
        self.project = project
        self.debug = debug
        self.json_errors = False
        """Errors as JSON: the command was asked for JSON."""
        self._config: Config | None = None
        self._store: Store | None = None
        self._engine_asked = False

    @property
    def config(self) -> Config:
        if self._config is None:
            from core import config

            self._config = config.load()
        return self._config

    @property
    def store(self) -> Store:
        if self._store is None:
            # All tables: a quota is counted by the noun it counts, wherever that lives.
            from core import cloud, tables  # noqa: F401

            store = cloud.open_store(self.config)
            wake = store.on_commit

            def enqueued() -> None:
                if wake is not None:
                    wake()
                self.ensure_engine()

            store.on_commit = enqueued
            if self.read_only:
                store.read_only = WHY
            self._store = store
        return self._store

    @property
    def read_only(self) -> bool:
        """Whether the settings say that this cloud is only looked at."""
        from core import config
        from tui.settings import cloud_name, load

        return load(config.places().file).forbids_writing(cloud_name(self.config.database_url))

    def ensure_engine(self, *, again: bool = False) -> None:
        """See to it that somebody works on what was enqueued. The work is accepted already, so that an engine which
        cannot be started is a warning."""
        if self._store is not None and self._store.read_only:
            return
        if self._engine_asked and not again:
            return
        self._engine_asked = True
        from core import serve
        from core.errors import SkydeckError
        from tui.cli import report

        try:
            serve.ensure(self.config)
        except SkydeckError as bad:
            report.warning(f"accepted, but no engine works on it: {bad.title}", hint=bad.hint)

    def context(self, session: Any, *, project: str | None = None, all_projects: bool = False) -> Context:
        """Who asks, in the named project or the configured one. Raises NotFound, Forbidden."""
        from core import cloud

        ctx = cloud.context(session, self.config, source="cli", project=project or self.project)
        return dataclasses.replace(ctx, all_projects=all_projects)

    @contextlib.contextmanager
    def read(self, *, project: str | None = None, all_projects: bool = False) -> Iterator[tuple[Any, Context]]:
        with self.store.read() as session:
            yield session, self.context(session, project=project, all_projects=all_projects)

    @contextlib.contextmanager
    def write(
        self, *, project: str | None = None, all_projects: bool = False, ticket: bool = False
    ) -> Iterator[tuple[Any, Context]]:
        """One transaction of the caller's. What it enqueues gets an engine after the commit. `ticket`: it only asks
        leave to look, which read-only mode allows too."""
        with self.store.write(ticket=ticket) as session:
            yield session, self.context(session, project=project, all_projects=all_projects)

    def who(self) -> Context:
        """The caller's context, for verbs that open transactions of their own."""
        with self.read() as (_, ctx):
            return ctx

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


_current: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


def caller() -> Caller:
    """The running command's caller."""
    return _current.get()


def open_caller(*, project: str | None, debug: bool) -> Caller:
    """A fresh desk for the command that begins."""
    made = Caller(project=project, debug=debug)
    _current.set(made)
    return made
