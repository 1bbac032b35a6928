"""Snapshots of volumes, and transfers of volumes between projects."""

from __future__ import annotations

from typing import Any

import pytest

from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded
from core.identity import quotas
from core.volumes import snapshots, still, transfers, types, volumes
from core.volumes.tables import Snapshot, Volume, VolumeTransfer
from tests.core.volumes.stock import Stock
from tests.core.world import World


@pytest.fixture
def me(world: World, stock: Stock) -> Context:
    stock.seen("local", world.host())
    return world.someone("member")


def do(world: World, ctx: Context, verb: Any, *args: Any, **asked: Any) -> Any:
    with world.store.write() as session:
        return verb(session, ctx, *args, **asked)


def test_a_snapshots_life(world: World, stock: Stock, me: Context) -> None:
    volume = stock.made(me, size_gb=2)
    taken, operation = do(world, me, snapshots.create, volume="data", name="first", properties={"a": "1"})
    assert (taken.status, taken.size_gb, taken.number, taken.project_id) == ("creating", 2, 1, me.project_id)
    assert (operation.kind, operation.lane, operation.args) == ("snapshot.create", volume.host_id, {"quiesce": False})
    for verb, asked in ((volumes.extend, {"size_gb": 9}), (volumes.delete, {})):
        with pytest.raises(Conflict):
            do(world, me, verb, volume.id, **asked)
    world.image()
    instance = world.settled(me)
    with pytest.raises(Conflict, match="snapshot first of volume data is creating"):
        stock.attach(volume, instance.id)
    with pytest.raises(Conflict, match="snapshot first is creating"):
        do(world, me, snapshots.delete, "first")
    with world.store.write() as session:
        session.get_one(Snapshot, taken.id).status = "available"
    do(world, me, snapshots.set, "first", name="1st", properties={"b": "2"})
    do(world, me, snapshots.unset, "1st", properties=("a",))
    with world.store.read() as session:
        assert snapshots.find(session, me, "1st").properties == {"b": "2"}
        with pytest.raises(NotFound):
            snapshots.find(session, world.someone("member", project="other"), taken.id)
    first = do(world, me, snapshots.delete, "1st")
    assert do(world, me, snapshots.delete, "1st").id == first.id
    with pytest.raises(Conflict, match="snapshot 1st of volume data is deleting"):
        do(world, me, volumes.extend, volume.id, size_gb=9)


def test_in_use_needs_force(world: World, stock: Stock, me: Context) -> None:
    volume = stock.made(me)
    world.image()
    stock.attach(volume, world.settled(me).id)
    with pytest.raises(Conflict, match="is in-use, by web on host h1") as refused:
        do(world, me, snapshots.create, volume="data")
    assert "--force" in refused.value.hint
    taken, operation = do(world, me, snapshots.create, volume="data", force=True, quiesce=True)
    assert operation.args == {"quiesce": True}
    assert stock.volume(volume.id).status == "in-use", "it stays what it is"
    assert taken.status == "creating"


def test_hidden_ones_count_nowhere(world: World, stock: Stock, me: Context) -> None:
    volume = stock.made(me)
    hidden = do(world, me, snapshots.hidden, volume)
    with world.store.read() as session:
        assert quotas.used(session, me.project_id, "snapshots") == 0
        assert quotas.used(session, me.project_id, "gigabytes") == 1
        with pytest.raises(NotFound):
            snapshots.find(session, me, hidden.id)
        with pytest.raises(Conflict, match="a snapshot for a copy"):
            still.check(session, volume)
    with world.store.write() as session:
        session.get_one(Snapshot, hidden.id).status = "available"
    do(world, me, volumes.delete, volume.id)


def test_a_transfer(world: World, stock: Stock, me: Context) -> None:
    taker = world.someone("member", project="other")
    volume = stock.made(me, size_gb=4)
    offer, key = do(world, me, transfers.create, volume="data", name="gift")
    assert stock.volume(volume.id).status == "awaiting-transfer"
    assert key not in f"{offer.key_hash} {offer.salt} {[event.after for event in world.events()]}"
    with pytest.raises(Conflict, match="awaiting-transfer"):
        do(world, me, volumes.delete, volume.id)
    with pytest.raises(Forbidden, match="not the key"):
        do(world, taker, transfers.accept, offer.id, auth_key=key[:-1])
    with pytest.raises(NotFound):
        do(world, taker, transfers.delete, offer.id)
    with pytest.raises(Invalid, match="already"):
        do(world, me, transfers.accept, offer.id, auth_key=key)
    with world.store.write() as session:
        quotas.update(session, world.admin, taker.project_id, "other", {"gigabytes": 3})
    with pytest.raises(QuotaExceeded, match="gigabytes: 0 of 3 used, 4 more"):
        do(world, taker, transfers.accept, offer.id, auth_key=key)
    with world.store.write() as session:
        quotas.update(session, world.admin, taker.project_id, "other", {"gigabytes": 4})
    do(world, taker, transfers.accept, offer.id, auth_key=key)
    after = stock.volume(volume.id)
    assert (after.status, after.project_id, after.user_id) == ("available", taker.project_id, taker.user_id)
    assert world.rows(VolumeTransfer) == []
    with pytest.raises(NotFound):
        do(world, taker, transfers.accept, offer.id, auth_key=key)
    assert [event.project_id for event in world.events("volume.transfer")] == [taker.project_id]


def test_what_is_not_transferred(world: World, stock: Stock, me: Context) -> None:
    taker = world.someone("member", project="other")
    with world.store.write() as session:
        types.create(session, world.admin, name="gold", public=False)
        types.add_access(session, world.admin, "gold", "demo")
    volume = stock.made(me, type="gold")
    offer, key = do(world, me, transfers.create, volume="data")
    with pytest.raises(Invalid, match="of a type that this project may not use"):
        do(world, taker, transfers.accept, offer.id, auth_key=key)
    do(world, me, transfers.delete, offer.id)
    assert stock.volume(volume.id).status == "available"
    stock.snapshot(volume)
    with pytest.raises(Conflict, match="has snapshots"):
        do(world, me, transfers.create, volume="data")
    assert {row.status for row in world.rows(Volume)} == {"available"}
