"""The end of a log, whatever is being written and rotated."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostd.storage.console_log import tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "console.log"
    path.write_bytes(b"three\nfour\n")
    (tmp_path / "console.log.0").write_bytes(b"one\ntwo\n")
    return path


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (0, ""),
        (1, "four\n"),
        (2, "three\nfour\n"),
        (3, "two\nthree\nfour\n"),
        (99, "one\ntwo\nthree\nfour\n"),
        (None, "one\ntwo\nthree\nfour\n"),
    ],
)
def test_lines_across_a_rotation(log: Path, lines: int | None, text: str) -> None:
    assert tail(log, lines=lines) == text


def test_bytes_are_bounded(log: Path) -> None:
    assert tail(log, longest=7) == "e\nfour\n"
    assert tail(log, longest=13) == "o\nthree\nfour\n"


def test_nothing_written_yet_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == ""


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xffA\n")
    assert tail(tmp_path / "log") == "\N{REPLACEMENT CHARACTER}A\n"
