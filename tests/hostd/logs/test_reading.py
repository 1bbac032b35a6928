"""The end of a log, and what is new in it, whatever is being written and turned over; a search over many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostd.logs import reading, search
from hostd.logs.files import Kept, parts, times_of
from hostd.logs.times import MOST, Mark, Times, append, marks
from hostd.spec import ErrorCode, HostError, SearchLogs


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "console.log"
    path.write_bytes(b"three\nfour\n")
    (tmp_path / "console.log.0").write_bytes(b"one\ntwo\n")
    return path


@pytest.mark.parametrize(
    ("lines", "text"),
    [(0, ""), (1, "four\n"), (2, "three\nfour\n"), (3, "two\nthree\nfour\n"), (99, "one\ntwo\nthree\nfour\n")],
)
def test_lines_across_a_rotation(log: Path, lines: int, text: str) -> None:
    assert reading.read(log, lines=lines).text == text


def test_bytes_are_bounded_and_what_is_no_text_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reading.read(tmp_path / "none", lines=9).text == ""
    monkeypatch.setattr(reading, "LONGEST", 7)
    (tmp_path / "log").write_bytes(b"three\nfou\xff\n")
    assert reading.read(tmp_path / "log", lines=9).text == "e\nfou\N{REPLACEMENT CHARACTER}\n"


def test_only_what_is_new_comes_again(log: Path) -> None:
    first = reading.read(log, lines=10)
    assert first.whole
    with log.open("ab") as file:
        file.write(b"fi")
    again = reading.read(log, lines=10, after=first.cursor)
    assert (again.text, again.whole) == ("fi", False)
    with log.open("ab") as file:
        file.write(b"ve\n")
    assert reading.read(log, lines=10, after=again.cursor).text == "ve\n"
    nothing = reading.read(log, lines=10, after=reading.read(log, lines=1).cursor)
    assert (nothing.text, nothing.whole) == ("", False)
    os.replace(log, log.with_name("console.log.0"))
    log.write_bytes(b"new\n")
    turned = reading.read(log, lines=2, after=again.cursor)
    assert (turned.text, turned.whole) == ("five\nnew\n", True)
    assert reading.read(log, lines=2, after="nonsense:x").whole


def test_lines_know_when_they_were_seen_also_after_a_rotation(log: Path) -> None:
    old, new = log.with_name("console.log.0").stat().st_ino, log.stat().st_ino
    times = times_of(log)
    for mark in (Mark(old, 4, 0.0), Mark(old, 8, 100.0), Mark(new, 2, 200.0), Mark(new, 11, 300.0)):
        append(times, mark)
    assert reading.read(log, lines=99).times == ((1, 100.0), (2, 200.0), (3, 300.0))
    assert reading.read(log, lines=1).times == ((0, 300.0),)
    with times.open("ab") as file:
        file.write(b"cut off by a cra")
    assert Times(times).at(old, 0) is None
    assert Times(times).at(new, 999) is None
    times.unlink()
    for number in range(MOST + 1):
        append(times, Mark(1, number, 1.0))
    assert len(list(marks(times))) == MOST // 2


def test_a_deleted_guests_log_is_kept_for_a_while(tmp_path: Path, log: Path) -> None:
    append(times_of(log), Mark(1, 2, 3.0))
    kept = Kept(tmp_path / "kept", "console.log")
    for _ in range(2):  # the second after a crash
        kept.take("u1", log, now=1000.0)
    assert parts(log) == ()
    assert [path.read_bytes() for path in parts(kept.log("u1"))] == [b"one\ntwo\n", b"three\nfour\n"]
    assert times_of(kept.log("u1")).exists()
    log.write_bytes(b"x")
    kept.take("u2", log, now=1000.0 + 8 * 86400)
    assert (parts(kept.log("u1")), len(parts(kept.log("u2")))) == ((), 1)


def test_a_search_is_over_all_parts_and_bounded(tmp_path: Path, log: Path) -> None:
    other = tmp_path / "other.log"
    other.write_bytes(b"nothing\n" + b"T" * 3000 + b"needle" + b"t" * 3000 + b"\n")
    append(times_of(log), Mark(log.stat().st_ino, 11, 50.0))
    logs = {"a": log, "b": other}

    def asked(text: str, **limits: int) -> SearchLogs:
        return SearchLogs(text=text, uuids=("a", "gone", "b"), **limits)  # type: ignore[arg-type]

    found = search.search(asked("T"), logs.get)
    assert [(line.uuid, line.number, line.at, line.text) for line in found.lines[:2]] == [
        ("a", 2, None, "two"),
        ("a", 3, 50.0, "three"),
    ]
    assert (found.searched, found.more, found.unfinished) == (2, False, False)
    needle = search.search(asked("NEEDLE"), logs.get).lines
    assert [line.number for line in needle] == [2]
    assert "needle" in needle[0].text
    assert len(needle[0].text) == 400
    newest = search.search(asked("o", each=1), logs.get)
    assert ([line.text for line in newest.lines], newest.more) == (["four", "nothing"], True)
    first = search.search(asked("o", most=1), logs.get)
    assert (len(first.lines), first.more) == (1, True)
    late = search.search(asked("o", seconds=-1), logs.get)
    assert (late.lines, late.searched, late.unfinished) == ((), 0, True)
    for text in ("", " ", "a\nb", "x" * 201):
        with pytest.raises(HostError) as refused:
            search.search(asked(text), logs.get)
        assert refused.value.code is ErrorCode.PROTOCOL
