"""Lists: order, pages, filters, and what one may see."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import JSON
from sqlmodel import col

from core import cloud, listing, lists
from core.compute import flavors, keypairs
from core.compute.instances.table import Instance
from core.config import Config
from core.context import Context
from core.errors import Forbidden, Invalid
from core.hosts import aggregates
from core.hosts.drift import Finding
from core.hosts.hosts import Host
from core.images import caching, members
from core.listing import Listing, Row
from core.network import floating_ips, networks, rbac, routers, security_groups, subnets
from core.network import lists as network_lists
from core.operations.operations import Operation
from core.sql import select
from core.volumes import qos, transfers
from core.volumes.tables import Backup
from hostd.spec import CachedImage
from tests.core.compute.test_keypairs import ED
from tests.core.conftest import KINDS, fresh_database
from tests.core.volumes.stock import Stock
from tests.core.world import World

NAMES = ["b", "a", "B", "é", "a", "web-10", "web-2", "z", "a", "_"]


@pytest.fixture(scope="module", params=KINDS)
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Several of every noun, with ties and gaps in the columns that may be empty."""
    home = tmp_path_factory.mktemp("full")
    config = Config(home=home, database_url=fresh_database(request, home))
    store = cloud.open_store(config)
    yield _fill(World(config, store))
    store.close()


def _fill_networking(world: World, friend: Context) -> None:
    """`lan` is shared with the friend's project, `out` is its way out too."""
    ctx = world.admin
    with world.store.write() as session:
        out = networks.create(session, ctx, world.config, name="out", network_type="flat", physical_network="p")
        for network, action in (("lan", rbac.SHARED), ("out", rbac.EXTERNAL)):
            rbac.create(session, ctx, network=network, action=action, target_project=friend.project_id)
        subnets.create(
            session, ctx, name="out", network=out.id, project_id=out.project_id, cidr="192.0.2.0/24", dhcp=False
        )
        routers.create(session, ctx, name="r1", external_gateway=out.id)
        routers.create(session, ctx, name="r2")
        for _ in range(2):
            floating_ips.create(session, ctx, network=out.id)
        group = security_groups.create(session, ctx, name="web")
        security_groups.add_rule(session, ctx, group.id, protocol="tcp", port_min=80)
        security_groups.add_rule(session, ctx, group.id, remote_group="web")


def _fill_images(world: World, friend: Context) -> None:
    """Images beside those of servers: shared with the friend's project, and in the caches of hosts."""
    shared = [world.image(f"shared{number}", data=b"3", visibility="shared") for number in range(2)]
    with world.store.write() as session:
        for image in shared:
            members.add(session, world.admin, image.id, friend.project_id)
        for number, host in enumerate(session.execute(select(Host.id)).scalars()):
            held = [CachedImage(digest=str(shared[0].digest), size=number, verified=number != 2, refs=number % 2)]
            caching.observed(session, host, held)


def _fill_volumes(world: World) -> None:
    """Two backends; volumes that servers have, with snapshots, offered, and backed up."""
    stock = Stock(world)
    with world.store.read() as session:
        hosts = list(session.execute(select(Host.id).order_by(col(Host.name))).scalars())
        servers = list(session.execute(select(Instance.id)).scalars())[:2]
    stock.add("nas", hosts=tuple(hosts[:2]))
    stock.seen("local", hosts[0])
    with world.store.write() as session:
        for name in ("slow", "fast"):
            qos.create(session, world.admin, name=name)
        qos.associate(session, world.admin, "slow", "nas")
    for number in range(6):
        volume = stock.made(name=NAMES[number], type="nas" if number % 2 else None, size_gb=1 + number % 3)
        if number < 2:
            stock.snapshot(volume, name=f"s{number}")
            stock.attach(volume, servers[number])
        elif number < 4:
            with world.store.write() as session:
                transfers.create(session, world.admin, volume=volume.id)
                session.add(
                    Backup(
                        id=f"backup{number}", name="b", project_id=world.admin.project_id, user_id=world.admin.user_id,
                        volume_id=volume.id, size_gb=1, parent_id="backup2" if number == 3 else None,
                        created_at=number, updated_at=number,
                    )
                )  # fmt: skip


def _fill(world: World) -> World:
    for name in ("lan", "dmz"):
        with world.store.write() as session:
            made = networks.create(session, world.admin, world.config, name=name)
            subnets.create(
                session, world.admin, name=name, network=made.id, project_id=made.project_id, cidr="10.1.0.0/24"
            )
    for number in range(4):
        world.host(f"h{number}", zone="east" if number % 2 else "nova", up=number != 3)
    world.image()
    world.image("other", data=b"2", disk_format="raw", properties={"os_type": "linux"})
    with world.store.write() as session:
        for name in ("k1", "k2", "k3"):
            keypairs.create(session, world.admin, name=name, public_key=f"ssh-ed25519 {ED}")
        for name in ("g1", "g2", "g3"):
            aggregates.create(session, world.admin, name=name)
        for number in range(3):
            session.add(
                Finding(
                    id=f"f{number}",
                    kind="guest_missing",
                    host_id="gone",
                    title=f"t{number % 2}",
                    first_seen=1,
                    last_seen=number,
                )
            )
    for number, name in enumerate(NAMES):
        instance = world.one(name=name, networks=("lan",), key_name="k1" if number % 3 else None)
        world.change(
            instance.id,
            task_state=None if number % 2 else "spawning",
            launched_at=None if number % 4 else number,
            locked=number % 3 == 0,
            fault={"title": "x"} if number == 5 else None,
        )
    _fill_networking(world, world.someone("member", name="ann"))
    _fill_images(world, world.someone("member", name="ann"))
    _fill_volumes(world)
    with world.store.write() as session:
        session.get(Operation, 3).error = {"title": "no"}  # type: ignore[union-attr]
        session.get(Operation, 4).started_at = 7  # type: ignore[union-attr]
    return world


def pages(world: World, ctx: Context, noun: Listing, *, size: int, **options: Any) -> list[Row]:
    rows: list[Row] = []
    marker = None
    while True:
        with world.store.read() as session:
            page = listing.page(session, ctx, noun, limit=size, marker=marker, **options)
        assert len(page) <= size
        rows += page
        if len(page) < size:
            return rows
        marker = str(page[-1][noun.key])


SORTABLE = [
    (kind, column)
    for kind, noun in lists.LISTINGS.items()
    for column, expression in noun.columns.items()
    if not isinstance(getattr(expression, "type", None), JSON)
]


@pytest.mark.parametrize("kind", lists.LISTINGS)
def test_every_column_sorts_both_ways_and_pages_agree(full: World, kind: str) -> None:
    noun = lists.LISTINGS[kind]
    ctx = dataclasses.replace(full.admin, all_projects=True)
    with full.store.read() as session:
        whole = {row[noun.key] for row in listing.page(session, ctx, noun)}
        assert len(whole) >= 2, "the fixture must hold several of every noun"
    for column in (column for noun_, column in SORTABLE if noun_ == kind):
        for sort in (column, f"-{column}"):
            with full.store.read() as session:
                rows = listing.page(session, ctx, noun, sort=sort)
                keys = [row[noun.key] for row in rows]
                assert set(keys) == whole
                assert len(keys) == len(whole)
                assert listing.keys(session, ctx, noun, sort=sort) == keys
                window = listing.window(session, ctx, noun, sort=sort, offset=1, limit=2)
                assert [row[noun.key] for row in window] == keys[1:3]
                assert listing.count(session, ctx, noun) == len(keys)
                for at in (0, len(keys) - 1):
                    assert listing.position(session, ctx, noun, str(keys[at]), sort=sort) == at
            assert [row[noun.key] for row in pages(full, ctx, noun, size=4, sort=sort)] == keys, sort
            values = [row[column] for row in rows]
            present = [value for value in values if value is not None]
            if full.store.is_sqlite or not isinstance(values[0], str):
                assert present == sorted(present, reverse=sort != column), sort
            gaps = [value is None for value in values]
            assert gaps == sorted(gaps, reverse=sort == column), "what is empty comes first, last when descending"


def test_openstacks_way_to_say_descending(full: World) -> None:
    with full.store.read() as session:
        ours, theirs = (
            listing.keys(session, full.admin, lists.INSTANCES, sort=sort) for sort in ("-name,id", "name:desc,id:asc")
        )
    assert ours == theirs


def test_json_cannot_be_sorted_or_filtered_by(full: World) -> None:
    with full.store.read() as session:
        for options in ({"sort": "fault"}, {"where": {"fault": "x"}}):
            with pytest.raises(Invalid, match="fault"):
                listing.page(session, full.admin, lists.INSTANCES, **options)  # type: ignore[arg-type]


def test_two_columns_in_two_directions(full: World) -> None:
    rows = pages(full, full.admin, lists.INSTANCES, size=3, sort="locked,-name")
    assert rows == sorted(rows, key=lambda row: (row["locked"],)), "by locked"
    assert len(rows) == len(NAMES)
    assert len({row["id"] for row in rows}) == len(NAMES)


def test_pages_are_stable_while_rows_come_and_go(world: World) -> None:
    world.host()
    world.image()
    world.create(max_count=8)
    ctx, noun = world.admin, lists.INSTANCES
    with world.store.read() as session:
        before = listing.keys(session, ctx, noun)
        first = listing.page(session, ctx, noun, limit=4)
    world.create(name="!")  # before all others
    world.create(name="zz")  # after them
    world.change(before[2], deleted_at=1)
    with world.store.read() as session:
        rest = listing.page(session, ctx, noun, marker=first[-1]["id"])
    assert [row["id"] for row in rest][: len(before) - 4] == before[4:]
    assert rest[-1]["name"] == "zz"


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"name": "A"}, ["a", "a", "a"]),
        ({"name": "!a"}, ["b", "B", "é", "web-10", "web-2", "z", "_"]),
        ({"locked": "true", "name": "web-2"}, ["web-2"]),
        ({"locked": "no", "name": "web-2"}, []),
        ({"vcpus": "1", "name": "z"}, ["z"]),
        ({"vcpus": "!1"}, []),
        ({"status": "build", "name": "z"}, ["z"]),
        ({"status": "!build"}, []),
        ({"task_state": "!spawning"}, ["a", "é", "web-10", "z", "_"]),
        ({"task_state": ""}, ["a", "é", "web-10", "z", "_"]),
        ({"launched_at": "4", "flavor": "m1.tiny"}, ["a"]),
        ({"name": "web*,_*"}, ["web-10", "web-2", "_"]),
        ({"name": "z,web-2"}, ["z", "web-2"]),
        ({"name": "!z,a,b,_,"}, ["é", "web-10", "web-2"]),
        ({"vcpus": "1,2", "name": "z"}, ["z"]),
    ],
)
def test_where(full: World, where: dict[str, str], names: list[str]) -> None:
    with full.store.read() as session:
        rows = listing.page(session, full.admin, lists.INSTANCES, where=where)
        assert sorted(row["name"] for row in rows) == sorted(names)
        assert listing.count(session, full.admin, lists.INSTANCES, where=where) == len(names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web", ["web-10", "web-2"]),
        ("WEB-1", ["web-10"]),
        ("!web", ["b", "a", "B", "é", "a", "z", "a", "_"]),
        ("%", []),
        ("_", ["_"]),
        ("eb web-2", ["web-2"]),
        ("web !web-1", ["web-2"]),
        ("! web !", ["web-10", "web-2"]),
        ("-f w2", ["web-2"]),
        ("-f w !0", ["web-2"]),
        ("-f _", ["_"]),
    ],
)
def test_text(full: World, text: str, names: list[str]) -> None:
    with full.store.read() as session:
        rows = listing.page(session, full.admin, lists.INSTANCES, text=text)
    assert sorted(row["name"] for row in rows) == sorted(names)


BAD = [
    ({"sort": "colour"}, "instance lists have no column 'colour'"),
    ({"where": {"colour": "red"}}, "instance lists have no column 'colour'"),
    ({"where": {"vcpus": "two"}}, "vcpus is a number, 'two' is not"),
    ({"where": {"vcpus": "9" * 30}}, "vcpus is a number"),
    ({"where": {"locked": "maybe"}}, "locked is true or false, 'maybe' is not"),
    ({"marker": "nobody"}, "marker 'nobody' is not in this list"),
]


@pytest.mark.parametrize(("options", "says"), BAD, ids=str)
def test_bad_questions(full: World, options: dict[str, Any], says: str) -> None:
    with full.store.read() as session, pytest.raises(Invalid) as refused:
        listing.page(session, full.admin, lists.INSTANCES, **options)
    assert says in refused.value.title


def test_a_marker_that_is_no_number_where_keys_are(full: World) -> None:
    with full.store.read() as session:
        with pytest.raises(Invalid, match="marker 'x' is not in this list"):
            listing.page(session, full.admin, lists.EVENTS, marker="x")
        assert listing.one(session, full.admin, lists.EVENTS, "x") is None


def test_a_marker_of_another_project_is_none(full: World) -> None:
    other = full.someone("member", project="other")
    with full.store.read() as session:
        theirs = listing.keys(session, full.admin, lists.INSTANCES)[0]
        assert listing.one(session, full.admin, lists.INSTANCES, theirs)
        assert listing.one(session, other, lists.INSTANCES, theirs) is None
        assert listing.present(session, other, lists.INSTANCES, [theirs]) == set()
        assert listing.position(session, other, lists.INSTANCES, theirs) is None
        assert listing.page(session, other, lists.INSTANCES) == []
        with pytest.raises(Invalid, match="is not in this list"):
            listing.page(session, other, lists.INSTANCES, marker=theirs)


def test_all_projects_is_the_admins(full: World) -> None:
    me = full.someone("member", project="other")
    full.create(me, name="mine")
    spanning = dataclasses.replace(me, all_projects=True)
    with full.store.read() as session:
        with pytest.raises(Forbidden, match="all_projects"):
            listing.page(session, spanning, lists.INSTANCES)
        assert [row["name"] for row in listing.page(session, me, lists.INSTANCES)] == ["mine"]
        everything = dataclasses.replace(full.admin, all_projects=True)
        rows = listing.page(session, everything, lists.INSTANCES)
        assert {row["project"] for row in rows} == {"admin", "other"}


@pytest.mark.parametrize("kind", lists.LISTINGS)
def test_a_list_asks_its_policy(full: World, kind: str) -> None:
    nobody = dataclasses.replace(full.admin, roles=frozenset())
    with full.store.read() as session, pytest.raises(Forbidden, match=lists.LISTINGS[kind].rule):
        listing.page(session, nobody, lists.LISTINGS[kind])


_PROJECTS_OWN = ("instance", "image", "operation", "event", "keypair", *(noun.kind for noun in network_lists.LISTINGS))


@pytest.mark.parametrize("kind", _PROJECTS_OWN)
def test_a_stranger_sees_nothing_of_a_project(full: World, kind: str) -> None:
    stranger = full.someone("manager", project="elsewhere")
    with full.store.read() as session:
        rows = listing.page(session, stranger, lists.LISTINGS[kind])
    assert [row for row in rows if row.get("visibility") != "public"] == []


def test_networks_are_listed_where_policies_share_them(full: World) -> None:
    friend = full.someone("reader")
    with full.store.read() as session:
        found = listing.page(session, friend, lists.LISTINGS["network"])
        assert [row["name"] for row in found] == ["lan", "out"]
        assert listing.count(session, friend, lists.LISTINGS["network"]) == 2
        found = listing.page(session, friend, lists.LISTINGS["subnet"])
        assert [row["name"] for row in found] == ["lan", "out"]
        assert listing.count(session, friend, lists.LISTINGS["subnet"]) == 2
        assert listing.page(session, friend, lists.LISTINGS["port"]) == []


def test_what_one_more_query_per_page_tells(full: World) -> None:
    with full.store.read() as session:

        def first(kind: str, **where: str) -> Row:
            return listing.page(session, full.admin, lists.LISTINGS[kind], where=where, limit=1)[0]

        lan = first("network", name="lan")
        assert (lan["cidrs"], len(lan["subnets"])) == (["10.1.0.0/24"], 1)
        port = first("port", ip="10.1.0.3")
        assert port["fixed_ips"] == [{"subnet_id": lan["subnets"][0], "ip_address": "10.1.0.3"}]
        assert port["security_groups"] == ["default"]
        router = first("router", name="r1")
        assert [each["ip_address"] for each in router["external_fixed_ips"]] == ["192.0.2.2"]
        assert (router["interfaces"], router["interfaces_info"]) == (0, [])
        assert first("security_group", name="web")["rules"] == 4
        assert first("security_group_rule", remote_group="web")["security_group"] == "web"


def test_private_flavors(full: World) -> None:
    with full.store.write() as session:
        flavors.create(session, full.admin, name="secret", ram_mb=1, disk_gb=0, vcpus=1, is_public=False)
    stranger = full.someone("member")
    with full.store.read() as session:
        assert "secret" not in {row["name"] for row in listing.page(session, stranger, lists.FLAVORS)}
        assert "secret" in {row["name"] for row in listing.page(session, full.admin, lists.FLAVORS)}


def test_instances_come_with_addresses_and_their_operation(full: World) -> None:
    with full.store.read() as session:
        rows = listing.page(session, full.admin, lists.INSTANCES, sort="created_at", limit=1)
    assert rows[0]["ip"] == "10.1.0.3"
    assert rows[0]["addresses"] == [("lan", "10.1.0.3")]
    assert (rows[0]["operation"], rows[0]["operation_state"]) == ("instance.create", "ready")
    assert rows[0]["host"] in {"h0", "h1", "h2"}


def test_many_keys_at_once(full: World) -> None:
    with full.store.read() as session:
        mine = listing.keys(session, full.admin, lists.INSTANCES)
        asked = [*mine, *(f"x{n}" for n in range(2000))]
        assert listing.present(session, full.admin, lists.INSTANCES, asked) == set(mine)


@pytest.mark.parametrize("kind", lists.LISTINGS)
def test_no_secret_is_a_column(kind: str) -> None:
    assert not {"password_hash", "user_data", "files", "host_key"} & set(lists.LISTINGS[kind].columns)
