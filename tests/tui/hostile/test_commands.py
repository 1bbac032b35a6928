"""The command line, on a terminal: what a stranger wrote is printed as letters, in every format."""

from __future__ import annotations

import os
from pathlib import Path

import pexpect
import pytest

from tests.tui.hostile.poison import poison
from tests.tui.hostile.strings import ATTACKS
from tests.tui.hostile.wire import complaints

PROGRAM = """
import os, sys
from tui.cli.root import main
for line in sys.stdin.read().splitlines() if False else open(os.environ['COMMANDS']):
    main(line.split())
"""

LISTS = (
    "server", "volume", "volume snapshot", "volume backup", "volume type", "image", "flavor", "network", "subnet",
    "port", "router", "floating ip", "security group", "security group rule", "host", "storage backend", "project",
    "operation", "event", "finding",
)  # fmt: skip

FORMATS = ("table", "value", "csv", "json", "yaml")


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("poisoned")
    poison(home, ATTACKS)
    return home


def _said(home: Path, commands: list[str]) -> bytes:
    """Everything that these commands print on a terminal, one after the other in one process."""
    import sys

    (home / "commands").write_text("\n".join(commands))
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "PYTHONPATH")}
    child = pexpect.spawn(
        sys.executable,
        ["-c", PROGRAM],
        env={
            **kept, "SKYDECK_HOME": str(home), "TERM": "xterm-256color", "LANG": "C.UTF-8",
            "COMMANDS": str(home / "commands"),
        },
        dimensions=(50, 160),
        timeout=120,
    )  # fmt: skip
    child.expect(pexpect.EOF)
    child.close()
    said: bytes = child.before
    assert child.exitstatus == 0, said[-2000:]
    return said


def test_lists_in_every_format(poisoned: Path) -> None:
    said = _said(poisoned, [f"{noun} list --long --all-projects -f {kind}" for noun in LISTS for kind in FORMATS])
    assert complaints(said) == []
    assert len(said) > 50_000


def test_pages_errors_plans_and_reasons(poisoned: Path) -> None:
    ids = [f"{0x1A2B3C4D + index * 7919:08x}-77aa-4e0e-9d01-{index:012x}" for index in range(12)]
    said = _said(
        poisoned,
        [
            *(f"server show {id}" for id in ids),
            *(f"server why {id}" for id in ids),
            *(f"server stop {id}" for id in ids[3:6]),
            *(f"server event list {id}" for id in ids[:4]),
            "undo --list",
            "host maintain kvm01 --plan",
            "project purge admin --plan",
            "project purge demo --plan -f json",
            "operation list --long",
            "--debug server stop \x1b]0;owned\x07",
            "server show \x1b[2J",
            "verify",
        ],
    )
    assert complaints(said) == []
