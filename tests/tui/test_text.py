"""What a terminal is shown of a stranger's text."""

from __future__ import annotations

import pytest

from tui import text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("web-1", "web-1"),
        ("caf\u00e9 \u6771\u4eac", "caf\u00e9 \u6771\u4eac"),
        ("a\x1b[31mb\x07\x7f", "a[31mb"),
        ("a\x9b31mb\x85c", "a31mb c"),
        ("exe\u202egpj", "exegpj"),
        ("pay\u200bpal\u2060\ufeff\u00ad\u034f\u3164\ufe0f", "paypal"),
        ("tag\U000e0041\U000e0100", "tag"),
        ("a\tb\r\nc", "a b  c"),
        ("a\u2028b\u00a0c", "a b c"),
        ("half \ud800 pair", "half  pair"),
        (7, "7"),
        (None, "None"),
    ],
)
def test_safe_leaves_nothing_a_terminal_obeys_or_hides(given: object, shown: str) -> None:
    assert text.safe(given) == shown


def test_every_control_and_format_character_is_left_out() -> None:
    unsafe = [*range(0x20), *range(0x7F, 0xA0), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]
    for point in unsafe:
        assert text.safe(f"a{chr(point)}b") in ("ab", "a b")


def test_a_console_log_keeps_its_lines_and_loses_its_commands() -> None:
    log = "\x1b[2J\x1b[1;31mboot\x1b[0m ok\r\n\x1b]0;owned\x07login:\t\x1b(B\x1bcroot\x9b2J"
    assert text.safe_lines(log) == "boot ok\nlogin:  root"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, ""), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1 GiB"), (1 << 60, "1024.0 PiB")],
)
def test_sizes(count: int | None, shown: str) -> None:
    assert text.size(count) == shown


def test_moments_and_ages() -> None:
    assert text.moment(1_700_000_000_123_456) == "2023-11-14T22:13:20Z"
    assert text.moment(None) is None
    assert text.age(0, 90_000_000) == "1m"
    assert text.age(0, 999_999) == "0s"
    assert text.age(5, 0) == "0s"
    assert text.age(0, 86400 * 400 * 1_000_000) == "1y"
    assert text.mib(2048) == "2 GiB"
    assert text.gib(20) == "20 GiB"
