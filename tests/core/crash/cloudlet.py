"""One controller and one host as real processes, which may be killed at any labelled point and started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlmodel import col

from core import cloud
from core.compute.instances.table import Instance
from core.config import Config
from core.hosts import hosts
from core.hosts.drift import Finding
from core.hosts.hosts import Host
from core.images import images
from core.images.stores import ImageStore
from core.network import auto, fabric
from core.network.fabric import HostNetworking
from core.network.tables import GUEST, Port
from core.operations.operations import OPEN, Operation
from core.sql import select as sql_select
from hostd.spec import PROTOCOL, STATUS, Hello, Observation, Observe, digest, dump
from tests.contract.hosts import SocketPeer
from tests.core.postgres import MEMORY
from tests.core.world import World, check_claims

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds until a test gives up."""

POLL = 0.004
"""Seconds between two looks at the database of another process."""


class Process:
    """One of the two, by pidfd: it is not our child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def ended(self, timeout: float) -> bool:
        return bool(select.select([self._fd], [], [], timeout)[0])

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)
        self.ended(PATIENCE)
        os.close(self._fd)


class Cloudlet:
    """Everything in one temporary directory. `close` ends and removes all of it."""

    def __init__(self, template: Path) -> None:
        # Sockets need short paths. A killed process loses nothing of what it wrote to memory: no disk is needed.
        self.home = Path(tempfile.mkdtemp(prefix="sky-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.config = Config(home=self.home, database_url=f"sqlite:///{self.home / 'skydeck.db'}")
        shutil.copy(template, self.home / "skydeck.db")
        self.store = cloud.open_store(self.config)
        self.world = World(self.config, self.store)
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.core.crash.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._running: dict[str, Process] = {}
        self.images_made = 0
        self.host_id = ""
        self.used = False

    # ------------------------------------------------------------------ processes

    def start(self) -> None:
        """Both, connected."""
        self.restart("hostd")
        self.until(lambda: (self.host_run / "hostd.sock").exists(), "hostd does not listen")
        self.host_id = asyncio.run(self._ask_host_id())
        with self.store.write() as session:
            hosts.enroll(
                session, self.world.admin, self.config,
                id=self.host_id, name="h1", address="", port=0, ssh_user="", host_key="",
                socket=str(self.host_run / "hostd.sock"), availability_zone="nova",
            )  # fmt: skip
        with self.store.write() as session:
            # With a router on their network, guests come by every step of networking.
            hosts.update_host(session, self.world.admin, self.host_id, physnets={"ext": "eth1"})
            auto.auto(session, self.world.admin, self.config, physical_network="ext", cidr="203.0.113.0/24")
        self.restart("serve")
        self.until(self._host_is_ready, "the host does not come up")

    def restart(self, what: str) -> None:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        if what in self._running:
            self._running.pop(what).kill()
        request = {
            "what": what, "log": str(self.home / f"{what}.out"), "home": str(self.home),
            "url": self.config.database_url, "state": str(self.home / "hs"), "run": str(self.host_run),
        }  # fmt: skip
        self._zygote.stdin.write(json.dumps(request) + "\n")
        self._zygote.stdin.flush()
        self._running[what] = Process(int(self._zygote.stdout.readline()))

    def arm(self, what: str, label: str) -> None:
        """Make a process die at a label, once."""
        self._armed(what).parent.mkdir(parents=True, exist_ok=True)
        self._armed(what).write_text(label)

    def died(self, what: str) -> None:
        """Wait until the armed process is dead."""
        if not self._running[what].ended(PATIENCE):
            raise AssertionError(f"{what} never came to {self._armed(what).read_text()}; {self.logs()}")

    def _armed(self, what: str) -> Path:
        return (self.host_run if what == "hostd" else self.config.run_dir) / "crash"

    @property
    def host_run(self) -> Path:
        return self.home / "hr"

    @property
    def guests(self) -> Path:
        """The memory driver's records."""
        return self.home / "hs" / "memory" / "guests"

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait()
        self._zygote.stdout.close()
        self.store.close()
        shutil.rmtree(self.home)

    def logs(self) -> str:
        """The ends of both logs, for a failed test."""
        return "\n".join((self.home / f"{what}.out").read_text()[-3000:] for what in self._running)

    # ------------------------------------------------------------------ what happens

    def image(self) -> str:
        """A new active image, whose bytes no host has; its name."""
        self.images_made += 1
        name = f"image-{self.images_made}"
        (self.home / name).write_bytes(os.urandom(65536))
        stored = ImageStore(self.config.images_dir).put_file(self.home / name)
        with self.store.write() as session:
            made = images.create(session, self.world.admin, name=name, disk_format="raw")
            images.begin(session, self.world.admin, made.id)
            images.activate(
                session, self.world.admin, made.id, digest=stored.digest, size=stored.size, virtual_size=stored.size
            )
        return name

    def create(self, name: str = "web") -> Operation:
        return self.world.create(name=name, image=self.image()).operations[0]

    def ended(self, operation: Operation) -> Operation:
        """The operation, once it has ended or is blocked."""

        def over() -> Operation | None:
            row = self.world.operation(operation.id)
            return None if row.state in ("ready", "running") else row

        return self.until(over, f"operation {operation.kind} does not end")

    def found(self, object_id: str) -> None:
        """Wait until there is a finding about an object."""
        self.until(lambda: [row for row in self.world.rows(Finding) if row.object_id == object_id], "no finding")

    def until(self, happened: Callable[[], T | None], otherwise: str) -> T:
        deadline = time.monotonic() + PATIENCE
        while not (answer := happened()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{otherwise}\n{self.logs()}")
            time.sleep(POLL)
        return answer

    # ------------------------------------------------------------------ what must hold

    def check(self) -> Observation:
        """Invariants 4 to 8 and 11 over database and host, once the host has been looked at; how it was seen."""
        self.until(self._host_is_ready, "the host does not come back")
        self.until(self._networking_is_told, "the host is not told of its networking")
        seen = asyncio.run(self._observe())
        with self.store.read() as session:
            check_claims(session)
            live = session.execute(sql_select(Instance).where(col(Instance.deleted_at) == 0)).scalars().all()
            placed = {row.id: row for row in live if row.host_id is not None}
            assert {domain.uuid: domain.generation for domain in seen.domains} == {
                row.id: row.generation for row in placed.values()
            }, "exactly the guests that should be, each as last told"
            for domain in seen.domains:
                wanted = {"active": "running", "stopped": "shutdown", "paused": "paused", "suspended": "suspended"}
                assert domain.power.value == wanted[placed[domain.uuid].vm_state]
                assert not domain.quarantined
            assert {disk.instance for disk in seen.disks} == set(placed), "no files of nobody"
            told = fabric.document(session, self.config, self.host_id)
            assert {network.uuid for network in seen.networks} == {network.uuid for network in told.networks}
            row = session.get(HostNetworking, self.host_id)
            assert row is not None
            assert seen.networking is not None
            assert row.generation == row.applied == seen.networking.generation
            assert (row.digest, row.error) == (digest(dump(told)), None)
            devices = sql_select(Port.device_id).where(col(Port.device_owner).startswith(GUEST))
            assert set(session.execute(devices).scalars()) <= {row.id for row in live}, "no port of nobody"
            assert not session.execute(sql_select(Operation).where(col(Operation.state).in_(OPEN))).all()
            assert not session.execute(sql_select(Finding).where(col(Finding.resolved_at).is_(None))).all()
            assert all(row.task_state is None for row in live)
        return seen

    def _host_is_ready(self) -> bool:
        with self.store.read() as session:
            row = session.get(Host, self.host_id)
            return row is not None and row.state == "up" and row.vcpus > 0

    def _networking_is_told(self) -> bool:
        with self.store.read() as session:
            row = session.get(HostNetworking, self.host_id)
            return row is not None and row.applied == row.generation

    async def _ask_host_id(self) -> str:
        peer = await self._peer()
        try:
            return str((await peer.call("hello", self._hello())).host)
        finally:
            peer.close()

    async def _observe(self) -> Observation:
        peer = await self._peer()
        try:
            await peer.call("hello", self._hello())
            seen: Observation = await peer.call("observe", Observe(stats=False))
            return seen
        finally:
            peer.close()

    async def _peer(self) -> SocketPeer:
        return await SocketPeer.to(self.host_run / "hostd.sock")

    @staticmethod
    def _hello() -> Hello:
        return Hello(protocol=PROTOCOL, cloud="", term=0, host=None, purpose=STATUS)
