"""Quotas: counted live, -1 unlimited, own limit over class over default (semantics I)."""

from __future__ import annotations

import pytest

from core.context import Context
from core.errors import Forbidden, Invalid, QuotaExceeded
from core.identity import quotas
from tests.core.world import World, as_role

DOCUMENT = {
    "instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "injected_files": 5,
    "injected_file_content_bytes": 10240, "injected_file_path_bytes": 255, "key_pairs": 100, "server_groups": 10,
    "server_group_members": 10, "networks": 100, "subnets": 100, "ports": 500,
}  # fmt: skip


def set_quota(world: World, ctx: Context | str, **limits: int) -> None:
    project_id, name = (ctx, ctx) if isinstance(ctx, str) else (ctx.project_id, ctx.project_name)
    with world.store.write() as session:
        quotas.update(session, world.admin, project_id, name, limits)


@pytest.fixture
def me(world: World) -> Context:
    world.host(vcpus=64, ram_mb=1 << 20, disk_gb=10_000)
    world.image()
    return world.someone("member")


def test_the_defaults_are_the_documents() -> None:
    assert {name: quotas.DEFAULTS[name] for name in DOCUMENT} == DOCUMENT


def test_own_over_class_over_default(world: World) -> None:
    def limit() -> int:
        with world.store.read() as session:
            return quotas.limits(session, world.admin.project_id)["cores"]

    assert limit() == 20
    set_quota(world, quotas.DEFAULT_CLASS, cores=30)
    assert limit() == 30
    set_quota(world, world.admin, cores=40)
    assert limit() == 40
    set_quota(world, quotas.DEFAULT_CLASS, cores=50)
    assert limit() == 40


def test_use_is_a_count(world: World, me: Context) -> None:
    def used() -> dict[str, int | None]:
        with world.store.read() as session:
            return {usage.resource: usage.used for usage in quotas.show(session, me, me.project_id)}

    assert (used()["instances"], used()["cores"], used()["ram"], used()["ports"]) == (0, 0, 0, 0)
    world.create(me, flavor="m1.medium", name="a")
    assert (used()["instances"], used()["cores"], used()["ram"]) == (1, 2, 4096)
    assert (used()["networks"], used()["subnets"], used()["ports"]) == (1, 1, 2), "one port is the DHCP server's"
    assert used()["metadata_items"] is None
    world.change(world.instance("a").id, deleted_at=1)
    assert (used()["instances"], used()["cores"], used()["ram"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("limits", "flavor", "says", "hint"),
    [
        ({"instances": 1}, "m1.tiny", "quota exceeded for instances: 1 of 1 used, 1 more wanted", "--instances 2 demo"),
        ({"cores": 4}, "m1.large", "quota exceeded for cores: 1 of 4 used, 4 more wanted", "--cores 5 demo"),
        ({"ram": 8191}, "m1.large", "quota exceeded for ram: 512 of 8191 used, 8192 more wanted", "--ram 8704 demo"),
        ({"ports": 2}, "m1.tiny", "quota exceeded for ports: 2 of 2 used, 1 more wanted", "--ports 3 demo"),
    ],
)
def test_exceeding(world: World, me: Context, limits: dict[str, int], flavor: str, says: str, hint: str) -> None:
    world.create(me)
    set_quota(world, me, **limits)
    with pytest.raises(QuotaExceeded) as refused:
        world.create(me, name="b", flavor=flavor)
    assert refused.value.title == says
    assert hint in refused.value.hint
    assert [row.name for row in world.rows(type(world.instance("web")))] == ["web"]


def test_unlimited(world: World, me: Context) -> None:
    set_quota(world, me, instances=-1, cores=-1, ram=-1)
    assert len(world.create(me, max_count=12).instances) == 12


def test_as_many_as_there_is_room_for(world: World, me: Context) -> None:
    set_quota(world, me, instances=4)
    assert len(world.create(me, min_count=2, max_count=9).instances) == 4
    with pytest.raises(QuotaExceeded, match="quota exceeded for instances: 4 of 4 used, 2 more wanted"):
        world.create(me, min_count=2, max_count=9, name="b")


def test_the_scarcest_resource_decides(world: World, me: Context) -> None:
    set_quota(world, me, cores=7, ram=3 * 4096 + 100)
    assert len(world.create(me, min_count=1, max_count=9, flavor="m1.medium").instances) == 3


def test_a_limit_below_use_is_allowed_and_stops_the_next(world: World, me: Context) -> None:
    world.create(me, max_count=3)
    set_quota(world, me, instances=1)
    with pytest.raises(QuotaExceeded, match="3 of 1 used, 1 more wanted"):
        world.create(me)


def test_other_projects_do_not_count(world: World, me: Context) -> None:
    world.create(world.someone(project="other"), max_count=10)
    assert len(world.create(me, max_count=10).instances) == 10


@pytest.mark.parametrize(
    ("values", "says"),
    [({"wings": 2}, "unknown quota 'wings'"), ({"cores": -2}, "quota cores cannot be -2")],
)
def test_bad_limits(world: World, values: dict[str, int], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        set_quota(world, world.admin, **values)


def test_only_an_admin_sets_them(world: World) -> None:
    manager = as_role(world.admin, "manager")
    with pytest.raises(Forbidden), world.store.write() as session:
        quotas.update(session, manager, manager.project_id, "admin", {"cores": 1})
