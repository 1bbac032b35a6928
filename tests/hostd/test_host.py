"""Facts about the machine, read from a /proc of our own."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from hostd.host import Machine

FILES = {
    "sys/kernel/random/boot_id": "d5b1b9c5-aaaa-4444-8888-000000000001\n",
    "1/stat": "1 (init (odd) name) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2 3\n",
    "meminfo": "MemTotal:  24683668 kB\nMemFree:   100000 kB\nMemAvailable: 20480000 kB\nHugePages_Total: 0\n",
    "cpuinfo": "processor\t: 0\nmodel name\t: First CPU\n\nprocessor\t: 1\nmodel name\t: Second CPU\n",
    "loadavg": "1.25 0.57 0.35 1/200 4000\n",
    "uptime": "93784.33 180000.00\n",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    proc = tmp_path / "proc"
    for name, text in FILES.items():
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(text)
    numbers = itertools.count()
    return Machine(state=tmp_path, new_id=lambda: f"id-{next(numbers)}", proc=proc)


def test_capacity(machine: Machine) -> None:
    capacity = machine.capacity()
    assert (capacity.ram_mb, capacity.ram_free_mb) == (24105, 20000)
    assert (capacity.cpu_model, capacity.load1, capacity.uptime) == ("First CPU", 1.25, 93784)
    assert 0 < capacity.disk_free_gb <= capacity.disk_gb


def test_the_uuid_is_made_once(machine: Machine) -> None:
    assert (machine.uuid(), machine.uuid()) == ("id-0", "id-0")


@pytest.mark.parametrize(
    ("name", "old", "new"), [("sys/kernel/random/boot_id", "1\n", "2\n"), ("1/stat", "4711", "99")]
)
def test_a_boot_of_the_machine_or_of_its_container_shows(machine: Machine, name: str, old: str, new: str) -> None:
    before = machine.boot_id()
    assert machine.boot_id() == before
    file = machine.proc / name
    file.write_text(file.read_text().replace(old, new))
    assert machine.boot_id() != before


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    machine = Machine(state=tmp_path, new_id=lambda: "x")
    assert machine.capacity().ram_mb > 0
    assert machine.boot_id()
    assert machine.hostname()
    assert set(machine.versions()) == {"kernel", "python", "distribution"}
