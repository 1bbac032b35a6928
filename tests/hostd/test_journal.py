"""The journal's rules: what is admitted, what is remembered, what is forgotten."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostd import journal as module
from hostd.journal import Journal, State
from hostd.spec import Act, Apply, ErrorCode, EventKind, HostError, ObjectKind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = opened(path)
    yield journal
    journal.close()


def opened(path: Path) -> Journal:
    numbers = itertools.count()
    return Journal(path, clock=lambda: 5.0, new_id=lambda: f"id-{next(numbers)}")


def asked(generation: int) -> Apply:
    return Apply(kind=ObjectKind.INSTANCE, uuid="u", generation=generation, spec={"a": 1})


def test_an_intent_outlives_the_process(path: Path) -> None:
    first = opened(path)
    first.begin(asked(1), "d")
    first.close()
    again = opened(path)
    (entry,) = again.entries()
    assert (entry.generation, entry.state, entry.spec) == (1, State.INTENT, {"a": 1})
    assert again.meta("journal_id") == "id-0"
    again.close()


@pytest.mark.parametrize(
    ("generation", "digest", "code"),
    [(1, "d", ErrorCode.OLD_GENERATION), (2, "other", ErrorCode.CONFLICT)],
)
def test_refusals_change_nothing(journal: Journal, generation: int, digest: str, code: ErrorCode) -> None:
    before = journal.begin(asked(2), "d")
    with pytest.raises(HostError) as refused:
        journal.begin(asked(generation), digest)
    assert refused.value.code is code
    assert journal.entries() == (before,)


def test_done_answers_failed_tries_again(journal: Journal) -> None:
    entry = journal.begin(asked(1), "d")
    journal.finish(entry, State.FAILED, {"code": "network"}, False)
    entry = journal.begin(asked(1), "d")
    assert (entry.state, entry.outcome) == (State.INTENT, None)
    event = journal.finish(entry, State.DONE, {"steps": []}, False)
    assert (event.seq, event.at, event.detail) == (2, 5.0, {"generation": 1, "ok": True})
    assert journal.begin(asked(1), "d").outcome == {"steps": []}


def test_an_outcome_does_not_overwrite_a_newer_intent(journal: Journal) -> None:
    old = journal.begin(asked(1), "d")
    new = journal.begin(asked(2), "e")
    journal.finish(old, State.DONE, {"steps": []}, True)
    assert journal.entry(ObjectKind.INSTANCE, "u") == new


def test_a_tombstone_keeps_the_generation_and_no_spec(journal: Journal) -> None:
    journal.finish(journal.begin(asked(3), "d"), State.DONE, {"steps": []}, True)
    (entry,) = journal.entries()
    assert entry.gone
    with pytest.raises(HostError):
        journal.begin(asked(2), "d")
    assert journal.begin(asked(4), "d").spec == {"a": 1}


def test_event_numbers_are_never_reused(path: Path, journal: Journal) -> None:
    for _ in range(3):
        journal.append(EventKind.HOST, None, {})
    journal.acknowledge(3)
    journal.close()
    again = opened(path)
    assert again.last_seq() == 3
    assert again.append(EventKind.HOST, None, {}).seq == 4
    assert [event.seq for event in again.events(0, 10)] == [4]
    again.close()


def test_unacknowledged_events_are_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENTS_KEPT", 5)
    for _ in range(8):
        journal.append(EventKind.HOST, None, {})
    assert [event.seq for event in journal.events(0, 100)] == [4, 5, 6, 7, 8]
    assert [event.seq for event in journal.events(5, 2)] == [6, 7]


def test_acts_answer_as_they_did(journal: Journal) -> None:
    act = Act(request="r", verb="reboot_hard", uuid="u")
    assert journal.begin_act(act) is None
    assert journal.begin_act(act) is None  # crashed in between: done again
    journal.finish_act(act, State.DONE, {"fell_back": True})
    assert journal.begin_act(act) == {"fell_back": True}


def test_remembered_acts_are_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACTS_KEPT", 2)
    acts = [Act(request=f"r{number}", verb="adopt", uuid="u") for number in range(4)]
    for act in acts:
        journal.begin_act(act)
        journal.finish_act(act, State.DONE, {"n": 1})
    assert [journal.begin_act(act) for act in acts[2:]] == [{"n": 1}, {"n": 1}]
    assert journal.begin_act(acts[0]) is None


def test_one_process_holds_it_and_only_root_reads_it(path: Path, journal: Journal) -> None:
    with pytest.raises(HostError, match="held by another"):
        opened(path)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_full_disk_is_named(journal: Journal) -> None:
    with journal._transaction() as db:
        db.execute("PRAGMA max_page_count=1")
    with pytest.raises(HostError) as full:
        journal.append(EventKind.HOST, None, {"padding": "x" * 100_000})
    assert full.value.code is ErrorCode.DISK_FULL
    assert journal.last_seq() == 0
