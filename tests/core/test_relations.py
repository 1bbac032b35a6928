"""What depends on an object and what it belongs to: from one map, for every noun, and only what one may see."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from core import cloud, finding, listing, relations
from core.config import Config
from core.context import Context
from core.lists import LISTINGS
from core.relations.declared import POINTERS, RELATIONS
from tests.core.conftest import KINDS, fresh_database
from tests.core.world import World
from tests.tui import seed

ALONE = {"flavor", "keypair", "qos", "aggregate", "project", "user", "host", "backend", "volume_type", "cached_image"}
"""Nouns that belong to nothing."""


@pytest.fixture(scope="module", params=KINDS)
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Something of every noun."""
    home = tmp_path_factory.mktemp("related")
    config = Config(home=home, database_url=fresh_database(request, home))
    store = cloud.open_store(config)
    world = World(config, store)
    seed.populate(store, world.admin, instances=24)
    yield world
    store.close()


def named(session: Any, ctx: Context, kind: str, name: str) -> dict[str, Any]:
    rows = listing.page(session, ctx, LISTINGS[kind], text=name)
    return next(row for row in rows if row[LISTINGS[kind].name] == name)


def used(session: Any, ctx: Context, kind: str, name: str) -> dict[str, tuple[int, int]]:
    row = named(session, ctx, kind, name)
    groups = relations.used_by(session, ctx, kind, row[LISTINGS[kind].key])
    return {group.title: (group.count, group.elsewhere) for group in groups}


def test_every_noun_is_in_the_map() -> None:
    ends = {end for one in RELATIONS for end in (one.above, one.below)}
    assert ends <= set(LISTINGS)
    assert set(LISTINGS) - ends - POINTERS - {"attachment"} == set()
    belongs = {one.below for one in RELATIONS if one.owner} | POINTERS
    assert set(LISTINGS) - belongs - {"attachment"} <= ALONE
    titles = [(one.above, one.title) for one in RELATIONS]
    assert len(titles) == len(set(titles))


def test_what_depends_on_what(full: World) -> None:
    ctx = full.admin
    with full.store.read() as session:
        assert used(session, ctx, "network", "app") == {
            "subnets": (1, 0), "ports": (18, 0), "servers": (16, 0), "routers with an interface": (1, 0),
        }  # fmt: skip
        volume = used(session, ctx, "volume", "db-data")
        assert volume == {"attached to": (1, 0), "snapshots": (2, 0), "backups": (2, 0)}
        assert used(session, ctx, "flavor", "m1.small") == {"servers": (8, 0)}
        assert used(session, ctx, "keypair", "alice-ed25519") == {"servers": (24, 0)}
        assert used(session, ctx, "security_group", "web")["servers"] == (1, 0)
        assert used(session, ctx, "host", "kvm01")["servers"] == (12, 0)
        assert used(session, ctx, "host", "kvm01")["volumes"][0] > 0
        for kind, wanted in LISTINGS.items():
            # Every relation's SQL is sound, and every filter is one that the list understands.
            for row in listing.page(session, ctx, wanted, limit=2):
                for group in relations.used_by(session, ctx, kind, row[wanted.key], limit=3):
                    if group.filter:
                        column, _, value = group.filter.partition("=")
                        shown = listing.count(session, ctx, LISTINGS[group.kind], where={column: value})
                        assert shown == group.count, (kind, group)
                relations.owners(session, ctx, kind, row)


def test_the_way_up(full: World) -> None:
    ctx = full.admin
    with full.store.read() as session:
        row = named(session, ctx, "floating_ip", "203.0.113.4")
        assert [(kin.kind, kin.row["name"]) for kin in relations.owners(session, ctx, "floating_ip", row)][1:] == [
            ("instance", "web-00"), ("host", "kvm01"),
        ]  # fmt: skip
        snapshot = named(session, ctx, "snapshot", "db-nightly")
        above = relations.owner(session, ctx, "snapshot", snapshot)
        assert above is not None
        assert (above.kind, above.row["name"]) == ("volume", "db-data")
        [operation] = listing.page(session, ctx, LISTINGS["operation"], limit=1)
        target = relations.owner(session, ctx, "operation", operation)
        assert target is not None
        assert target.row["name"] == operation["object_name"]


def test_only_what_one_may_see_is_there(full: World) -> None:
    admin, guest = full.admin, full.someone("member", project="demo")
    member = dataclasses.replace(admin, roles=frozenset({"member"}))
    with full.store.read() as session:
        row = named(session, admin, "instance", "web-00")
        above = relations.owner(session, member, "instance", row)
        assert above is not None
        assert above.kind == "project", "hosts are the operator's"
        assert relations.used_by(session, guest, "instance", row["id"]) == []
        assert used(session, guest, "flavor", "m1.small") == {}
        from_demo = dataclasses.replace(guest, roles=frozenset({"admin"}))
        assert used(session, from_demo, "flavor", "m1.small") == {"servers": (0, 8)}
        assert finding.search(session, guest, "web-00") == []
        kinds = {hit.kind for hit in finding.search(session, member, "kvm")}
        assert "host" not in kinds


@pytest.mark.parametrize(
    ("text", "first", "by"),
    [
        ("web-00", ("instance", "web-00"), "web-00"),
        ("WEB 00", ("instance", "web-00"), "web-00"),
        ("1a2b3c4d", ("instance", "web-00"), "1a2b3c4d-77aa-4e0e-9d01-000000000000"),
        ("10.0.1.17", ("instance", "web-06"), "10.0.1.17"),
        ("203.0.113.4", ("floating_ip", "203.0.113.4"), "203.0.113.4"),
        ("kvm02", ("host", "kvm02"), "kvm02"),
        ("db-data", ("volume", "db-data"), "db-data"),
        ("nightly", ("snapshot", "db-nightly"), "db-nightly"),
        ("m1.sm", ("flavor", "m1.small"), "m1.small"),
    ],
)
def test_anything_is_found(full: World, text: str, first: tuple[str, str], by: str) -> None:
    with full.store.read() as session:
        hits = finding.search(session, full.admin, text)
        assert (hits[0].kind, hits[0].name, hits[0].by) == (*first, by)
        assert len({(hit.kind, hit.key) for hit in hits}) == len(hits)


def test_what_cannot_be_found(full: World) -> None:
    with full.store.read() as session:
        for text in ("", "  ", "zzz", "%", "_-", "\\", "' or 1=1 --", "x" * 500):
            assert finding.search(session, full.admin, text) == []
        assert {hit.kind for hit in finding.search(session, full.admin, "web", kinds=["volume"])} == {"volume"}
        assert len(finding.search(session, full.admin, "e", limit=5)) == 5
