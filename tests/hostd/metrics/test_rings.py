"""Ring files against a model of them: what wraps around, what is missing, what a crash cut short."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostd.spec.rings import Rings, Shape, read

SECOND = 1_000_000
STEP = 5
SLOTS = 8
SHAPE = Shape(kind=77, payload="qd", step=STEP)
START = 1_700_000_000 * SECOND
HEADER = SHAPE.bytes_of(0)

WRITES = st.lists(
    st.tuples(st.integers(0, 4 * STEP * SECOND), st.integers(-(1 << 62), 1 << 62), st.floats(allow_nan=False)),
    max_size=40,
)
"""Microseconds since the write before, and what is written."""


def written(path: str, writes: list[tuple[int, int, float]]) -> tuple[dict[int, tuple[int, int, float]], int]:
    """What each slot holds by the model, and when it is."""
    rings = Rings(SHAPE)
    slots: dict[int, tuple[int, int, float]] = {}
    at = START
    for later, number, value in writes:
        at += later
        rings.write(path, at, (number, value), slots=SLOTS)
        slots[at // (STEP * SECOND) % SLOTS] = (at, number, value)
    return slots, at


@settings(deadline=None)
@given(WRITES, st.integers(0, 12 * STEP * SECOND))
def test_a_ring_holds_the_newest_of_each_slot_and_nothing_older_than_it_is_long(
    writes: list[tuple[int, int, float]], span: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/one.ring"
        slots, now = written(path, writes)
        shape, entries = read(path, SHAPE, since=now - span, until=now)
        oldest = now - min(span, SLOTS * STEP * SECOND)
        assert entries == sorted(entry for entry in slots.values() if oldest < entry[0] <= now)
        assert (shape is SHAPE) is bool(writes)
        if writes:
            assert os.path.getsize(path) == SHAPE.bytes_of(SLOTS)


@settings(deadline=None)
@given(WRITES.filter(len), st.data())
def test_a_record_cut_short_reads_as_absent_and_the_others_as_they_were(
    writes: list[tuple[int, int, float]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/one.ring"
        slots, now = written(path, writes)
        # Only the first bytes of a newer record got to the file.
        hit = data.draw(st.sampled_from(sorted(slots)))
        torn = SHAPE.pack(slots[hit][0] + 1, (slots[hit][1] ^ 1, slots[hit][2]))
        cut = data.draw(st.integers(1, SHAPE.size - 1))
        before = SHAPE.pack(*slots[hit][:1], slots[hit][1:])
        with open(path, "r+b") as file:
            file.seek(HEADER + hit * SHAPE.size)
            file.write(torn[:cut])
        mixed = torn[:cut] + before[cut:]
        _, entries = read(path, SHAPE, since=0, until=now)
        others = {entry for slot, entry in slots.items() if slot != hit and entry[0] > now - SLOTS * STEP * SECOND}
        assert others <= set(entries)
        assert set(entries) - others <= set(SHAPE.unpack(mixed))
        if mixed not in (before, torn):
            assert SHAPE.unpack(mixed) == []


def test_a_file_cut_short_and_files_of_others_are_no_trouble(tmp_path: Path) -> None:
    path = f"{tmp_path}/deep/one.ring"
    rings = Rings(SHAPE)
    assert rings.write(path, START, (1, 1.0), slots=SLOTS)
    assert not rings.write(path, START + STEP * SECOND, (2, 2.0), slots=SLOTS)
    for length in range(os.path.getsize(path)):
        os.truncate(path, os.path.getsize(path) - 1)
        shape, entries = read(path, SHAPE, since=0, until=START + STEP * SECOND)
        assert len(entries) <= 2, length
    assert shape is None
    # A new process meets no header: it begins anew, and another shape's file as well.
    assert Rings(SHAPE).write(path, START, (3, 3.0), slots=SLOTS)
    assert read(path, SHAPE, since=0, until=START)[1] == [(START, 3, 3.0)]
    other = Shape(kind=78, payload="qd", step=STEP)
    assert read(path, other, since=0, until=START) == (None, [])
    assert Rings(other).write(path, START, (4, 4.0), slots=2 * SLOTS)
    shape, entries = read(path, SHAPE, other, since=0, until=START)
    assert (shape, entries) == (other, [(START, 4, 4.0)])
    # Known to have so many slots, whatever is asked later; and gone when it is to be.
    rings = Rings(other)
    assert not rings.write(path, START + 9 * STEP * SECOND, (5, 5.0), slots=1)
    assert len(read(path, other, since=0, until=START + 9 * STEP * SECOND)[1]) == 2
    rings.forget(path)
    rings.forget(path)
    assert read(path, other, since=0, until=START) == (None, [])
    assert rings.write(path, START, (6, 6.0), slots=SLOTS)
    assert os.listdir(tmp_path / "deep") == ["one.ring"]


def test_a_full_disk_leaves_no_half_made_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(OSError, match="No space left"):
        Rings(SHAPE).write(f"{tmp_path}/one.ring", START, (1, 1.0), slots=SLOTS)
    assert list(tmp_path.iterdir()) == []
