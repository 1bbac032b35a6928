"""The cloud as a whole: its identity, its one engine lease, and the opening of its store.

`open_store` is how every program begins: it makes or upgrades the database, fills a fresh one, and refuses one that is
newer than the program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from pathlib import Path

import sqlalchemy
from sqlalchemy import BigInteger, Connection, inspect, text, update
from sqlmodel import Field, Session, SQLModel, col

from core.compute.flavors import DEFAULT_FLAVORS, Flavor
from core.config import Config
from core.context import Context
from core.errors import Unavailable
from core.identity import policy, users
from core.identity.projects import DEFAULT_DOMAIN, Domain, Project
from core.identity.users import Assignment, Role, User
from core.sql import select
from core.store import Clock, Store, clock_of, now
from core.volumes import types
from core.volumes.tables import LOCAL, Backend, VolumeType
from core.wake import wake

LOCAL_IS = "Files on each host's own disk"

HEAD = "0003"
"""The newest migration: what a current database says in alembic_version."""


class Cloud(SQLModel, table=True):
    """One row: which cloud this database is, and who runs its engine."""

    id: str = Field(primary_key=True)
    """UUID; hosts are pinned to it."""
    created_at: int = Field(sa_type=BigInteger)
    engine: str = ""
    """The engine that holds the lease."""
    engine_pid: int = 0
    engine_until: int = Field(default=0, sa_type=BigInteger)
    term: int = 0
    """Grows with every change of engine: hosts refuse an older one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lease:
    owner: str
    term: int


def open_store(config: Config, *, clock: Clock | None = None) -> Store:
    """The cloud's store, ready for use. Raises Unavailable for a database that cannot be opened or is too new."""
    config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store(config.database_url, clock=clock, on_commit=lambda: wake(config.run_dir))
    try:
        policy.load_file(config.policy_file)
        with store.clear_errors():
            migrate(store)
    except BaseException:
        store.close()
        raise
    return store


def migrate(store: Store) -> None:
    """Bring the schema to HEAD; a fresh database gets its first objects. SQLite is copied before an upgrade.

    Raises Unavailable for a database that is too new.
    """
    if store.path is None or store.path.exists():
        with store.engine.connect() as connection:
            version = _version(connection)
        if version == HEAD:
            return
        if version is not None and version > HEAD:
            raise Unavailable(
                f"the database is newer ({version}) than this skydeck ({HEAD})", hint="Use a newer skydeck with it."
            )
    from core.migrations import upgrade  # alembic is needed once in a database's life, not at every command

    def copy(connection: Connection) -> None:
        # Another process may have been first: what it upgraded needs no copy.
        if store.path is not None and _version(connection) not in (None, HEAD):
            _copy(store.path, store.path.with_name(f"{store.path.name}.before-{HEAD}"))

    def first_objects(connection: Connection) -> None:
        with Session(connection) as session:
            session.info["clock"] = store.clock
            fill(session)
            session.flush()

    upgrade(store, before=copy, after=first_objects)


def _copy(source: Path, target: Path) -> None:
    """What is committed, the WAL included, as one file."""
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)
    target.chmod(0o600)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def fill(session: Session) -> None:
    """What every new cloud holds. Does nothing to one that is filled."""
    if session.execute(select(Cloud.id)).first():
        return
    clock = clock_of(session)
    session.add(Cloud(id=clock.uuid(), created_at=now(session)))
    session.add(Domain(id=DEFAULT_DOMAIN, name="Default"))
    for role in policy.ROLES:
        session.add(Role(name=role))
    session.flush()
    admin_project = Project(id=clock.hex(), name="admin", description="The operator's own")
    demo = Project(id=clock.hex(), name="demo", description="For trying things")
    admin = User(id=clock.hex(), name="admin")
    session.add_all([admin_project, demo, admin])
    session.flush()
    for project in (admin_project, demo):
        session.add(Assignment(user_id=admin.id, project_id=project.id, role="admin"))
    for flavor_id, name, ram_mb, disk_gb, vcpus in DEFAULT_FLAVORS:
        session.add(Flavor(id=flavor_id, name=name, ram_mb=ram_mb, disk_gb=disk_gb, vcpus=vcpus))
    session.add(Backend(id=clock.uuid(), name=LOCAL, driver="file", description=LOCAL_IS, created_at=now(session)))
    session.add(VolumeType(id=clock.uuid(), name=types.DEFAULT, is_default=True, created_at=now(session)))


def identity(session: Session) -> str:
    """The cloud's uuid."""
    return session.execute(select(Cloud.id)).scalar_one()


def context(session: Session, config: Config, *, source: str, project: str | None = None) -> Context:
    """Who sits at this terminal: the configured user, in the configured or named project."""
    return users.context_for(session, user=config.user, project=project or config.project, source=source)


def system_context(session: Session) -> Context:
    """The engine itself, for audit events of what it does unasked."""
    admin = session.execute(select(Project).where(col(Project.name) == "admin")).scalar_one()
    return Context(
        user_id="", user_name="skydeck", project_id=admin.id, project_name=admin.name,
        roles=frozenset({"admin"}), source="serve",
    )  # fmt: skip


# ---------------------------------------------------------------------------- the engine's lease


def take_lease(session: Session, *, owner: str, lasts: int, force: bool = False) -> Lease | None:
    """Become the engine for `lasts` microseconds, or None while another is. A new holder begins a new term.

    `force` is for whoever knows otherwise that the last holder is dead.
    """
    at = now(session)
    taken = session.execute(
        update(Cloud)
        .where((col(Cloud.engine_until) <= at) | (col(Cloud.engine) == owner) | sqlalchemy.literal(force))
        .values(engine=owner, engine_pid=os.getpid(), engine_until=at + lasts, term=col(Cloud.term) + 1)
        .returning(col(Cloud.term))
    ).scalar_one_or_none()
    return None if taken is None else Lease(owner=owner, term=taken)


def renew_lease(session: Session, lease: Lease, *, lasts: int) -> bool:
    """Stay the engine. False when another has taken over."""
    renewed = session.execute(
        update(Cloud)
        .where(col(Cloud.engine) == lease.owner, col(Cloud.term) == lease.term)
        .values(engine_until=now(session) + lasts)
    )
    return bool(renewed.rowcount == 1)  # type: ignore[attr-defined]


def give_up_lease(session: Session, lease: Lease) -> None:
    """Let the next engine begin at once."""
    session.execute(
        update(Cloud).where(col(Cloud.engine) == lease.owner, col(Cloud.term) == lease.term).values(engine_until=0)
    )


def engine_alive(session: Session) -> bool:
    """Whether somebody holds the lease."""
    return session.execute(select(Cloud.engine_until)).scalar_one() > now(session)
