"""Volume types and QoS specs."""

from __future__ import annotations

from typing import Any

import pytest

from core.compute.instances.table import Instance
from core.errors import Conflict, Forbidden, Invalid, NotFound, SkydeckError
from core.volumes import qos, types
from core.volumes.tables import QosSpec, VolumeType
from hostd.spec import DiskLimits
from tests.core.volumes.stock import Stock
from tests.core.world import World


def do(world: World, verb: Any, *args: Any, **asked: Any) -> Any:
    with world.store.write() as session:
        return verb(session, asked.pop("ctx", world.admin), *args, **asked)


def test_a_cloud_begins_with_one(world: World) -> None:
    (only,) = world.rows(VolumeType)
    assert (only.name, only.is_default, only.is_public, only.extra_specs) == (types.DEFAULT, True, True, {})


def test_the_default_moves_and_is_public(world: World) -> None:
    do(world, types.create, name="ssd", default=True)
    assert {row.name: row.is_default for row in world.rows(VolumeType)} == {types.DEFAULT: False, "ssd": True}
    with pytest.raises(Conflict, match="is the default"):
        do(world, types.delete, "ssd")
    with pytest.raises(Conflict, match="which every project uses"):
        do(world, types.set, "ssd", public=False)
    with pytest.raises(Conflict, match="is the default"):
        do(world, types.set, "ssd", default=False)
    do(world, types.set, types.DEFAULT, default=True)
    assert {row.name: row.is_default for row in world.rows(VolumeType)} == {types.DEFAULT: True, "ssd": False}
    assert world.events("volume_type.set")[-1].after == {"is_default": True}
    do(world, types.delete, "ssd")
    with pytest.raises(Conflict, match="private"):
        do(world, types.create, name="own", public=False, default=True)


def test_who_may_use_a_private_type(world: World) -> None:
    me, other = world.someone("member"), world.someone("member", project="other")
    do(world, types.create, name="gold", public=False)
    with pytest.raises(NotFound):
        do(world, types.find, "gold", ctx=me)
    do(world, types.add_access, "gold", "demo")
    assert do(world, types.find, "gold", ctx=me).name == "gold"
    with pytest.raises(NotFound):
        do(world, types.find, "gold", ctx=other)
    with pytest.raises(Conflict, match="already"):
        do(world, types.add_access, "gold", "demo")
    do(world, types.remove_access, "gold", "demo")
    with pytest.raises(NotFound, match="may not use"):
        do(world, types.remove_access, "gold", "demo")
    with pytest.raises(Conflict, match="is public"):
        do(world, types.add_access, types.DEFAULT, "demo")
    with pytest.raises(Forbidden):
        do(world, types.create, name="mine", ctx=me)


def test_extra_specs(world: World, stock: Stock) -> None:
    host = world.host()
    stock.seen("local", host)
    do(world, types.create, name="many", extra_specs={"multiattach": "<is> True"})
    assert stock.made(type="many").multiattach
    with pytest.raises(Conflict, match="there are volumes of type many"):
        do(world, types.unset, "many", extra_specs=("multiattach",))
    with pytest.raises(Conflict, match="there are volumes of type many"):
        do(world, types.delete, "many")
    with pytest.raises(Invalid, match="multiattach cannot be"):
        do(world, types.set, types.DEFAULT, extra_specs={"multiattach": "yes"})
    do(world, types.set, "many", extra_specs={"thin": "<is> True"})
    do(world, types.unset, "many", extra_specs=("thin",))
    with pytest.raises(Invalid, match="there is no extra spec 'thin'"):
        do(world, types.unset, "many", extra_specs=("thin",))


@pytest.mark.parametrize(
    ("specs", "limits"),
    [
        ({}, DiskLimits()),
        ({"total_iops_sec": "100"}, DiskLimits(total_iops=100)),
        ({"read_bytes_sec": "5", "write_bytes_sec": "6"}, DiskLimits(read_bytes=5, write_bytes=6)),
        ({"total_iops_sec_per_gb": "10", "total_bytes_sec_per_gb": "3"}, DiskLimits(total_iops=40, total_bytes=12)),
    ],
)
def test_limits(specs: dict[str, str], limits: DiskLimits) -> None:
    assert qos.limits_of(specs, 4) == limits


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"specs": {"speed": "1"}}, Invalid, "unknown QoS spec 'speed'"),
        ({"specs": {"total_iops_sec": "-1"}}, Invalid, "is a number"),
        ({"specs": {"total_iops_sec": "1", "read_iops_sec": "1"}}, Invalid, "cannot stand beside read_iops_sec"),
        ({"specs": {"total_iops_sec": "1", "total_iops_sec_per_gb": "1"}}, Invalid, "cannot stand beside"),
        ({"consumer": "nobody"}, Invalid, "unknown consumer"),
        ({"name": "slow"}, Conflict, "exists"),
    ],
)
def test_what_qos_refuses(world: World, asked: dict[str, Any], kind: type[SkydeckError], words: str) -> None:
    do(world, qos.create, name="slow")
    with pytest.raises(kind, match=words):
        do(world, qos.create, **{"name": "other", **asked})


def test_a_change_of_limits_is_told_to_guests(world: World, stock: Stock) -> None:
    stock.seen("local", world.host())
    world.image()
    volume = stock.made(size_gb=2)
    instance = world.settled()
    stock.attach(volume, instance.id)
    do(world, qos.create, name="slow", specs={"total_iops_sec_per_gb": "10"})
    told = len(world.operations())
    do(world, qos.associate, "slow", types.DEFAULT)
    assert [(row.kind, row.object_id) for row in world.operations()[told:]] == [("instance.update", instance.id)]
    with world.store.read() as session:
        assert qos.limits(session, volume) == DiskLimits(total_iops=20)
    do(world, qos.set, "slow", specs={"total_iops_sec_per_gb": "20"})
    assert len(world.operations()) == told + 1, "an update that has not begun tells this as well"
    with pytest.raises(Conflict, match="is associated with __DEFAULT__"):
        do(world, qos.delete, "slow")
    do(world, qos.disassociate, "slow")
    do(world, qos.unset, "slow", specs=("total_iops_sec_per_gb",))
    do(world, qos.delete, "slow")
    assert world.rows(QosSpec) == []
    with world.store.read() as session:
        assert session.get_one(Instance, instance.id).vm_state == "active"
        assert qos.limits(session, volume) == DiskLimits()
