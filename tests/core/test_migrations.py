"""The schema: what migrations make is what the tables say; newer ones are refused; a copy is made before an upgrade."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, Table, inspect, text

from core import cloud, migrations
from core.compute.flavors import Flavor
from core.config import Config
from core.errors import Unavailable
from core.hosts.hosts import Host
from core.identity.projects import Project
from core.network.fabric import HostNetworking
from core.network.tables import (
    FixedIP,
    Network,
    Port,
    PortSecurityGroup,
    RbacPolicy,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from core.sql import select
from core.store import Store
from core.tables import METADATA
from core.volumes.tables import Backend, VolumeType
from tests.core.postgres import Postgres


def test_upgraded_equals_declared(store: Store) -> None:
    with store.engine.connect() as connection:
        # Defaults differ: a column that came to rows which were there needed one, and the tables fill in their own.
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_the_head_is_the_newest_migration(store: Store) -> None:
    versions = Path(migrations.__file__).parent / "versions"
    assert max(path.name[:4] for path in versions.glob("[0-9]*.py")) == cloud.HEAD
    with store.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == cloud.HEAD


def test_a_fresh_cloud_holds_its_first_objects(store: Store) -> None:
    with store.read() as session:
        assert set(session.execute(select(Project.name)).scalars()) == {"admin", "demo"}
        flavors = {
            row.name: (row.ram_mb, row.disk_gb, row.vcpus, row.ephemeral_gb, row.is_public)
            for row in session.execute(select(Flavor)).scalars()
        }
    assert flavors == {
        "m1.tiny": (512, 1, 1, 0, True),
        "m1.small": (2048, 20, 1, 0, True),
        "m1.medium": (4096, 40, 2, 0, True),
        "m1.large": (8192, 80, 4, 0, True),
        "m1.xlarge": (16384, 160, 8, 0, True),
    }


def at_version(store: Store, version: str) -> None:
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})


def test_a_newer_schema_is_refused(store: Store, config: Config) -> None:
    at_version(store, "9999")
    with pytest.raises(Unavailable) as refused:
        cloud.open_store(config)
    assert refused.value.title == f"the database is newer (9999) than this skydeck ({cloud.HEAD})"


def test_a_copy_is_made_before_an_upgrade(tmp_path: Path) -> None:
    config = Config(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'skydeck.db'}")
    store = cloud.open_store(config)
    at_version(store, "0000")  # still in the WAL: the copy must have it all the same
    with pytest.raises(CommandError, match="0000"):
        cloud.migrate(store)
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / f"skydeck.db.before-{cloud.HEAD}")) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == ("0000",)
        assert copy.execute("SELECT count(*) FROM flavor").fetchone() == (5,)


def test_a_first_opening_that_was_cut_short_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema and the first objects come together or not at all."""
    config = Config(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'skydeck.db'}")

    def cut(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cloud, "fill", cut)
        with pytest.raises(KeyboardInterrupt):
            cloud.open_store(config)
    store = cloud.open_store(config)
    with store.read() as session:
        assert cloud.identity(session)
    store.close()


def _insert(connection: Connection, table: str, **values: Any) -> None:
    """A row as a version that knew no newer columns wrote it: what is not given is empty."""
    known = Table(table, MetaData(), autoload_with=connection)
    row = {
        column.name: None if column.nullable else column.type.python_type()
        for column in known.columns
        if not (column.primary_key and column.autoincrement is True)
    }
    connection.execute(known.insert().values(row | values))


def _first_schema_with_rows(store: Store) -> None:
    """A cloud of the first schema: two networks of two projects, a guest on each, one host."""

    def fill(connection: Connection) -> None:
        _insert(connection, "cloud", id="c", created_at=1)
        _insert(connection, "domain", id="default", name="Default")
        _insert(connection, "host", id="h", name="h1", address="10.1.1.1", state="up", created_at=1)
        for number, project in enumerate(("one", "two")):
            _insert(connection, "project", id=project, name=project, domain_id="default", enabled=True)
            net, sub, at = f"n{number}", f"s{number}", 10 - number
            _insert(connection, "network", id=net, name="default", project_id=project, status="ACTIVE", mtu=1450,
                    shared=project == "two", created_at=at)  # fmt: skip
            _insert(connection, "subnet", id=sub, name="default", network_id=net, project_id=project, ip_version=4,
                    cidr="10.0.0.0/24", gateway_ip="10.0.0.1" if number else "10.0.0.9", enable_dhcp=True,
                    allocation_pools=[["10.0.0.1", "10.0.0.254"]], dns_nameservers=[], created_at=at)  # fmt: skip
            for tail, owner, device, host in ((2, "network:dhcp", "dhcp", None), (3, "compute:nova", "i", "h")):
                port = f"p{number}{tail}"
                _insert(connection, "port", id=port, project_id=project, network_id=net, status="ACTIVE",
                        mac=f"fa:16:3e:00:0{number}:0{tail}", device_id=device, device_owner=owner, host_id=host,
                        created_at=at)  # fmt: skip
                _insert(connection, "fixed_ip", port_id=port, ip=f"10.0.0.{tail}", subnet_id=sub, network_id=net)
            _insert(connection, "networkhost", network_id=net, host_id="h", generation=3)

    config = migrations.configuration(store)
    config.attributes["after"] = fill
    command.upgrade(config, "0001")


def _schema(store: Store) -> dict[str, Any]:
    """Tables to their columns, indexes, keys, checks and what is unique."""
    with store.engine.connect() as connection:
        seen = inspect(connection)
        return {
            table: {
                "columns": {
                    column["name"]: (str(column["type"]), column["nullable"], column["default"])
                    for column in seen.get_columns(table)
                },
                "indexes": sorted((repr(index["name"]), index["unique"]) for index in seen.get_indexes(table)),
                "unique": sorted(repr(sorted(unique["column_names"])) for unique in seen.get_unique_constraints(table)),
                "keys": sorted(repr(sorted(key["constrained_columns"])) for key in seen.get_foreign_keys(table)),
                "checks": sorted(repr(check["name"]) for check in seen.get_check_constraints(table)),
            }
            for table in seen.get_table_names()
        }


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_project_networking_comes_to_a_cloud_in_use(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def url(name: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        server: Postgres = request.getfixturevalue("postgres")
        return server.url(server.create())

    old = Store(url("old"))
    _first_schema_with_rows(old)
    old.close()
    used = cloud.open_store(Config(home=tmp_path, database_url=old.url))
    fresh = cloud.open_store(Config(home=tmp_path, database_url=url("fresh")))
    assert _schema(used) == _schema(fresh)
    fresh.close()
    with used.read() as session:

        def rows(*what: Any) -> list[Any]:
            return [tuple(row) for row in session.execute(select(*what).order_by(what[0])).all()]

        # The younger network is n0: it was made at 10, n1 at 9.
        assert rows(Network.id, Network.network_type, Network.segmentation_id, Network.port_security_enabled) == [
            ("n0", "vxlan", 1002, True),
            ("n1", "vxlan", 1001, True),
        ]
        assert rows(RbacPolicy.object_id, RbacPolicy.action, RbacPolicy.target_project) == [
            ("n1", "access_as_shared", "*")
        ]
        assert rows(Subnet.id, Subnet.allocation_pools, Subnet.host_routes) == [
            ("s0", [["10.0.0.1", "10.0.0.8"], ["10.0.0.10", "10.0.0.254"]], []),
            ("s1", [["10.0.0.2", "10.0.0.254"]], []),
        ]
        assert rows(Port.id, Port.made_for_device, Port.status, Port.allowed_address_pairs) == [
            ("p02", False, "ACTIVE", []),
            ("p03", True, "ACTIVE", []),
            ("p12", False, "ACTIVE", []),
            ("p13", True, "ACTIVE", []),
        ]
        assert rows(FixedIP.port_id, FixedIP.ip, FixedIP.number) == [
            (f"p{net}{tail}", f"10.0.0.{tail}", (10 << 24) + tail) for net in (0, 1) for tail in (2, 3)
        ]
        groups = dict(rows(SecurityGroup.project_id, SecurityGroup.id))
        assert sorted(groups) == ["one", "two"]
        assert rows(PortSecurityGroup.port_id, PortSecurityGroup.security_group_id) == [
            ("p03", groups["one"]),
            ("p13", groups["two"]),
        ]
        rules = rows(
            SecurityGroupRule.security_group_id, SecurityGroupRule.direction, SecurityGroupRule.ethertype,
            SecurityGroupRule.remote_group_id, SecurityGroupRule.protocol,
        )  # fmt: skip
        assert sorted(rules, key=str) == sorted(
            [
                (group, direction, ethertype, group if direction == "ingress" else None, None)
                for group in groups.values()
                for direction in ("ingress", "egress")
                for ethertype in ("IPv4", "IPv6")
            ],
            key=str,
        )
        assert rows(HostNetworking.host_id, HostNetworking.generation, HostNetworking.applied) == [("h", 1, 0)]
        assert rows(Host.id, Host.vtep, Host.physnets) == [("h", "", {})]
        assert rows(Backend.name, Backend.driver, Backend.options, Backend.description) == [
            ("local", "file", {}, cloud.LOCAL_IS)
        ]
        assert rows(VolumeType.name, VolumeType.is_default, VolumeType.extra_specs) == [("__DEFAULT__", True, {})]
    used.close()


def _open(home: Path, url: str, results: multiprocessing.Queue[str]) -> None:
    try:
        store = cloud.open_store(Config(home=home, database_url=url))
        with store.read() as session:
            results.put(cloud.identity(session))
        store.close()
    except BaseException as bad:
        results.put(f"failed: {bad!r}"[:300])
        raise


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_first_commands_at_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'skydeck.db'}"
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.create())
    forking = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = forking.Queue()
    processes = [forking.Process(target=_open, args=(tmp_path, url, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1, found
    assert "failed" not in found.pop()
