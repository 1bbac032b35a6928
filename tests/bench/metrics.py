"""`metrics_*`: what it costs to know what guests use, on a host, on the wire, in the engine, and to read it again."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import libvirt

from core import metrics
from core.config import Config
from core.metrics import files
from core.metrics.collect import Collector
from hostd.compute.domain_xml import PREFIX
from hostd.compute.driver import GuestDriver
from hostd.metrics import Counting, Sampler
from hostd.spec import Measured, dump, load
from hostd.spec.metrics import pack_guests, pack_host
from tests.bench.common import quantile, record
from tests.bench.ground import median, took
from tests.hostd.metrics.samples import NOW, guest, host
from tests.lab.hosts import REPOSITORY, Lab, LabHost

GUESTS = 20
PASSES = 40
HOSTS = 50
EACH = 1000
"""Guests of each host."""
ROUNDS = 6

DOMAIN = """
<domain type='qemu'>
  <name>{prefix}{uuid}</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    {disks}
    <interface type='ethernet'><model type='virtio'/></interface>
    <serial type='pty'/><memballoon model='virtio'/>
  </devices>
</domain>"""
DISK = "<disk type='file'><driver name='qemu' type='raw'/><source file='{file}'/><target dev='vd{letter}'/></disk>"


def run() -> None:
    lab = Lab(REPOSITORY / ".lab" / f"bench-{os.getpid()}")
    try:
        (station,) = lab.up(["bench"])
        with _guests(station) as connection:
            _pass(station, connection)
    finally:
        lab.down()
    with tempfile.TemporaryDirectory(prefix="skydeck-bench-") as home:
        asyncio.run(_collect(Config(home=Path(home), database_url="")))


@contextmanager
def _guests(station: LabHost) -> Iterator[Any]:
    """Twenty guests with two disks and an interface, and nothing to boot: to count them costs the same."""
    connection = libvirt.open(station.libvirt_uri)
    directory = Path(f"/proc/{station.pid}/root/var/tmp")
    try:
        for number in range(GUESTS):
            uuid = str(UUID(int=(0xFEED << 112) + number, version=4))
            disks = [f"{number}{letter}" for letter in "ab"]
            for name in disks:
                (directory / name).touch()
                os.truncate(directory / name, 1 << 20)
            shown = "".join(DISK.format(file=f"/var/tmp/{name}", letter=name[-1]) for name in disks)
            connection.createXML(DOMAIN.format(prefix=PREFIX, uuid=uuid, disks=shown))
        yield connection
    finally:
        for domain in connection.listAllDomains():
            domain.destroy()
        connection.close()


def _pass(station: LabHost, connection: Any) -> None:
    """One pass of the sampler over twenty guests; against asking guest by guest."""
    with tempfile.TemporaryDirectory(prefix="skydeck-bench-") as directory:
        driver = GuestDriver(state=Path(directory), run=Path(directory), uri=station.libvirt_uri)
        driver.start(lambda event: None)
        sampler = Sampler(
            directory=Path(directory) / "metrics",
            uuid=lambda: "",
            guests=lambda: driver.measure(time.time),
            host=lambda: Counting(disk=Path(directory)).sample(time.time_ns() // 1000),
            clock=time.time,
        )
        domains = connection.listAllDomains()
        walls, singles = [], []
        hostd = libvirtd = 0.0
        try:
            sampler.sample()
            for _ in range(PASSES):
                before, own = _libvirtd(station), time.thread_time()
                walls.append(took(sampler.sample))
                hostd += time.thread_time() - own
                libvirtd += _libvirtd(station) - before
                singles.append(took(lambda: [connection.domainListGetStats([each]) for each in domains]))
        finally:
            driver.stop()
    record("metrics_pass", 1000 * median(walls), "ms", 1000 * median(singles), PASSES)
    record("metrics_pass_hostd", 1000 * hostd / PASSES, "ms", None, PASSES)
    record("metrics_pass_libvirtd", 1000 * libvirtd / PASSES, "ms", None, PASSES)


def _libvirtd(station: LabHost) -> float:
    """Seconds of CPU that the host's libvirtd has had."""
    root = Path(f"/proc/{station.pid}/root")
    tasks = root / "proc" / (root / "run/libvirtd.pid").read_text().strip() / "task"
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


class _Told:
    """A host of a thousand guests, whose answers were made before."""

    up = True

    def __init__(self, number: int) -> None:
        self.id = str(UUID(int=number, version=4))
        self.name = f"h{number}"
        self.uuids = [str(UUID(int=(number << 32) + each + 1, version=4)) for each in range(EACH)]
        self.wire = ""

    def measure(self, at: float) -> None:
        """Make the next answer."""
        busy = int((at - NOW) * 1e9)
        guests = [guest(uuid, at, cpu_ns=busy // 2, net_rx_bytes=busy) for uuid in self.uuids]
        figures = [host(at, cpu_busy_ns=busy)]
        self.wire = json.dumps(dump(Measured(at=int(at * 1e6), guests=pack_guests(guests), host=pack_host(figures))))

    async def call(self, call: str, body: Any, *, deadline: float) -> Any:
        return load(Measured, json.loads(self.wire))


async def _collect(config: Config) -> None:
    """One round over fifty hosts of a thousand guests: what the engine spends on it, and what reading costs after."""
    hosts = [_Told(number + 1) for number in range(HOSTS)]
    now = [float(NOW)]

    async def living() -> set[str]:
        return set()

    collector = Collector(config, lambda: hosts, living=living, clock=lambda: now[0])
    spent: list[float] = []
    blocked: list[float] = []
    idle: list[float] = []
    for turn in range(ROUNDS):
        now[0] = NOW + 10.0 * turn
        for each in hosts:
            each.measure(now[0])
        watching = asyncio.create_task(_stalls(blocked))
        cpu = time.process_time()
        for each in hosts:
            await collector.collect(each)
        cpu = time.process_time() - cpu
        watching.cancel()
        watching = asyncio.create_task(_stalls(idle))
        await asyncio.sleep(0.5)
        watching.cancel()
        if turn > 1:  # the first has nothing to compare with, the second makes the files
            spent.append(cpu)
    record("metrics_round", 1000 * median(spent), "ms", None, len(spent))
    record("metrics_host_bytes", len(hosts[0].wire) / 1024, "KiB", None, 1)
    record("metrics_stall_p99", 1000 * quantile(blocked, 0.99), "ms", 1000 * quantile(idle, 0.99), len(blocked))
    used = sum(path.stat().st_blocks * 512 for path in files.directory(config).rglob("*.ring"))
    whole = sum(path.stat().st_size for path in files.directory(config).rglob("*.ring"))
    record("metrics_disk", whole / 2**20, "MiB", used / 2**20, HOSTS * EACH)
    shown = [uuid for each in hosts[:1] for uuid in each.uuids[:100]]
    reads = [took(lambda: metrics.latest(config, shown, now=int(now[0] * 1e6))) for _ in range(20)]
    record("metrics_latest_100", 1000 * median(reads), "ms", None, 20)


async def _stalls(into: list[float]) -> None:
    """How late the event loop is."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        into.append(time.perf_counter() - began - 0.001)
