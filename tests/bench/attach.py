"""`attach_visible`: a volume attached to a running guest, from the apply until the guest's kernel has the disk.

A real guest on a host of the lab, and the guest driver in this process. The baseline is `virsh attach-device` on the
host, with the same disk. Each round detaches again, which is `attach_gone`: from the apply until the guest has let go,
the file is closed and the definition follows. Its baseline, `virsh detach-device`, does the first alone.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from hostd.compute import disk_xml
from hostd.spec import VolumeDisk, Want
from tests.bench.common import record
from tests.e2e.desk import Desk, seated
from tests.e2e.files_storage import Files
from tests.lab.guest import build
from tests.lab.hosts import REPOSITORY, Lab

ROUNDS = 20
VOLUME = "aaaaaaaa-1111-4222-8333-444444444444"
LONGEST = 60.0
"""Seconds anything may take."""

HERE = f"echo lo''ok; until grep -qs {VOLUME[:20]} /sys/block/*/serial; do :; done; echo it is he''re"
GONE = f"echo lo''ok; while grep -qs {VOLUME[:20]} /sys/block/*/serial; do :; done; echo it is go''ne"


def run() -> None:
    guest = build()
    lab = Lab(REPOSITORY / ".lab" / "bench-attach")
    try:
        (host,) = lab.up(["bench-a"])
        with tempfile.TemporaryDirectory(prefix="v", dir=lab.directory.parent) as directory:
            files = Files(Path(directory))
            with seated(host, guest, storage=files) as desk:
                desk.apply()
                desk.until_ready()
                _measure(desk, files.make(VOLUME))
    finally:
        lab.down()


def _measure(desk: Desk, volume: VolumeDisk) -> None:
    desk.apply(want=Want.PRESENT, volumes=(volume,))
    xml = disk_xml.device(desk.driver.libvirt.live_xml(desk.spec.uuid), VOLUME)
    desk.apply(want=Want.PRESENT)
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    with tempfile.NamedTemporaryFile("w", dir=desk.state, suffix=".xml") as file, _console(desk) as console:
        file.write(_without_address(xml or ""))
        file.flush()
        for _ in range(ROUNDS):
            ours.append(
                (
                    _until(console, HERE, b"is here", lambda: _apply(desk, volume)),
                    _until(console, GONE, b"is gone", lambda: _apply(desk)),
                )
            )
            bare.append(
                (
                    _until(console, HERE, b"is here", lambda: _virsh(desk, "attach-device", file.name)),
                    _until(console, GONE, b"is gone", lambda: _virsh(desk, "detach-device", file.name)),
                )
            )
    for index, name in enumerate(("attach_visible", "attach_gone")):
        mine, theirs = ([1000 * pair[index] for pair in pairs] for pairs in (ours, bare))
        record(name, statistics.median(mine), "ms", statistics.median(theirs), ROUNDS)


def _apply(desk: Desk, *volumes: VolumeDisk) -> None:
    spec = attrs.evolve(desk.spec, want=Want.PRESENT, volumes=volumes)
    for step in desk.driver.plan(spec, desk.driver.seen(spec.uuid)):
        desk.driver.execute(step, spec, desk)


def _console(desk: Desk) -> socket.socket:
    console = socket.socket(socket.AF_UNIX)
    console.settimeout(LONGEST)
    console.connect(str(desk.driver.console(desk.spec.uuid).socket))
    return console


def _until(console: socket.socket, line: str, answer: bytes, act: Callable[[], object]) -> float:
    """Seconds from `act` until both it has returned and the guest has said `answer`."""
    console.sendall(line.encode() + b"\n")
    _read(console, b"look")  # the guest does from now on
    begun = time.perf_counter()
    act()
    _read(console, answer)
    return time.perf_counter() - begun


def _read(console: socket.socket, what: bytes) -> None:
    read = b""
    while what not in read:
        part = console.recv(4096)
        assert part, read
        read += part


def _virsh(desk: Desk, verb: str, file: str) -> subprocess.CompletedProcess[str]:
    return desk.host.run(["virsh", verb, desk.spec.uuid, file, "--live"])


def _without_address(xml: str) -> str:
    """Where libvirt put it is libvirt's to choose each time."""
    lines = [line for line in xml.splitlines() if "<address" not in line and "<alias" not in line]
    return "\n".join(lines)
