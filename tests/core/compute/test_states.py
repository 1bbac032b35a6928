"""The status a person sees (semantics B), in Python and in SQL."""

from __future__ import annotations

import pytest
import sqlalchemy
from sqlalchemy import literal

from core.compute.instances import states
from core.store import Store

RESIZING = ["resize_prep", "resize_migrating", "resize_migrated", "resize_finish"]
REBUILDING = ["rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"]

TABLE = {
    ("building", None): "BUILD",
    ("building", "spawning"): "BUILD",
    ("active", None): "ACTIVE",
    ("active", "powering-off"): "ACTIVE",
    **{("active", task): "REBOOT" for task in ("rebooting", "reboot_pending", "reboot_started")},
    **{("active", task): "HARD_REBOOT" for task in ("rebooting_hard", "reboot_pending_hard", "reboot_started_hard")},
    ("active", "updating_password"): "PASSWORD",
    ("active", "migrating"): "MIGRATING",
    **{(vm, task): "RESIZE" for vm in ("active", "stopped") for task in RESIZING},
    **{(vm, task): "REBUILD" for vm in ("active", "stopped", "error") for task in REBUILDING},
    ("stopped", None): "SHUTOFF",
    ("stopped", "powering-on"): "SHUTOFF",
    ("resized", None): "VERIFY_RESIZE",
    ("resized", "resize_reverting"): "REVERT_RESIZE",
    ("paused", None): "PAUSED",
    ("paused", "migrating"): "MIGRATING",
    ("suspended", None): "SUSPENDED",
    ("rescued", None): "RESCUE",
    ("error", None): "ERROR",
    ("deleted", None): "DELETED",
    ("soft-delete", None): "SOFT_DELETED",
    ("shelved", None): "SHELVED",
    ("shelved_offloaded", None): "SHELVED_OFFLOADED",
    ("nonsense", None): "UNKNOWN",
}


@pytest.mark.parametrize(("state", "word"), TABLE.items(), ids=str)
def test_status(state: tuple[str, str | None], word: str) -> None:
    assert states.status(*state) == word


def test_sql_says_the_same(store: Store) -> None:
    pairs = list(TABLE)
    columns = [
        states.status_column(literal(vm), literal(task, sqlalchemy.String)).label(f"c{n}")
        for n, (vm, task) in enumerate(pairs)
    ]
    with store.read() as session:
        for start in range(0, len(columns), 8):
            row = session.execute(sqlalchemy.select(*columns[start : start + 8])).one()
            assert list(row) == [TABLE[pair] for pair in pairs[start : start + 8]]


def test_power_states_have_novas_numbers() -> None:
    numbers = {"nostate": 0, "running": 1, "paused": 3, "shutdown": 4, "crashed": 6, "suspended": 7}
    assert {power.value: number for power, number in states.POWER.items()} == numbers
    assert set(states.POWER_WORD) == set(states.POWER.values())
