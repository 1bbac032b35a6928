"""The restore drill over hosts in memory: what it proves, and that nothing of it stays."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.compute.instances.table import Instance
from core.errors import Invalid
from core.network.tables import Network
from core.volumes import backups
from core.volumes.tables import Backup, Volume
from tests.core.operations.rig import running
from tests.core.volumes.backups.test_backups import Lab
from tests.core.volumes.stock import Stock
from tests.core.world import World


@pytest.fixture
def database_url(home: Path, request: pytest.FixtureRequest) -> str:
    """SQLite alone: nothing here is new to a database."""
    shutil.copy(request.getfixturevalue("sqlite_template"), home / "skydeck.db")
    return f"sqlite:///{home / 'skydeck.db'}"


@pytest.fixture
async def lab(world: World, stock: Stock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr("core.operations.kinds.drills._LOOK", 0.02)
    monkeypatch.setattr("core.operations.kinds.drills._POLL", 0.02)
    world.config = dataclasses.replace(world.config, drill_timeout=1)
    async with running(world) as rig:
        yield Lab(rig, stock)


async def drill(lab: Lab, made: Backup, *, says: str, state: str) -> Any:
    host = lab.rig.hosts["h1"]
    act = host.fake.guests.act

    def console(verb: str, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        return {"text": says} if verb == "console_log" else act(verb, uuid, args)

    host.fake.guests.act = console  # type: ignore[method-assign]
    return await lab.done(backups.drill, lab.world.config, made.id, state=state)


def nothing_stays(lab: Lab, volume: Volume) -> None:
    assert lab.world.live() == []
    assert [row.id for row in lab.world.rows(Volume) if not row.deleted_at] == [volume.id]
    assert lab.world.rows(Network) == []
    assert list(lab.has()) == [volume.id]


async def test_a_backup_that_boots_is_proven(lab: Lab) -> None:
    volume = await lab.volume(bootable=True)
    made = await lab.backup(volume)
    ended = await drill(lab, made, says="Debian GNU/Linux 12\r\n\r\nweb login: ", state="succeeded")
    (instance,) = lab.world.rows(Instance)
    assert (instance.name, instance.properties) == (f"drill-{made.id[:8]}", {"drill_of": made.id})
    made = lab.get(Backup, made.id)
    assert made.proven_at is not None
    assert (made.status, made.proven_at) == ("available", lab.get(Volume, volume.id).proven_at)
    assert ended.data["proven"] == made.proven_at
    nothing_stays(lab, volume)


async def test_one_that_does_not_is_not(lab: Lab) -> None:
    volume = await lab.volume(bootable=True)
    made = await lab.backup(volume)
    ended = await drill(lab, made, says="GRUB\r\nKernel panic - not syncing\r\n", state="failed")
    assert ended.error["title"] == "it did not come up within 1 s"
    assert "Kernel panic" in ended.error["hint"]
    assert lab.get(Backup, made.id).proven_at is None
    nothing_stays(lab, volume)


async def test_damage_shows_in_a_drill(lab: Lab) -> None:
    volume = await lab.volume(bootable=True)
    lab.write(volume, 0, b"boot sector")
    made = await lab.backup(volume)
    lab.chunks[0].write_bytes(b"")
    ended = await drill(lab, made, says="login: ", state="failed")
    assert f"backup {made.id} cannot be read at byte 0" in ended.error["title"]
    nothing_stays(lab, volume)


async def test_what_does_not_boot_is_not_drilled(lab: Lab) -> None:
    made = await lab.backup(await lab.volume())
    with pytest.raises(Invalid, match="not bootable"):
        lab.ask(backups.drill, lab.world.config, made.id)
