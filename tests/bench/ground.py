"""What benchmarks with hosts stand on: a lab host enrolled by the real `host add`, its cloud, a clock on its QEMUs.

A figure and its baseline are taken in turns in one run, so that what else the machine does meanwhile meets both alike.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import libvirt

from core import cloud as core_cloud
from core.hosts.enroll.keys import ssh_target
from core.hosts.hosts import Host
from core.hosts.transport import SshTarget
from core.identity import quotas
from core.sql import select
from tests.e2e.cloud import Cloud
from tests.lab.hosts import REPOSITORY, Lab, LabHost

SETTINGS = "cpu_allocation_ratio = 64.0\n"
"""Twenty guests on two cores."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ground:
    """One host and the cloud it belongs to. The engine runs."""

    cloud: Cloud
    host: LabHost
    row: Host

    @property
    def target(self) -> SshTarget:
        """The host as the engine reaches it."""
        row = self.row
        return ssh_target(self.cloud.config, address=row.address, port=row.port, host_key=row.host_key)

    @property
    def identity(self) -> str:
        """The cloud's uuid."""
        return self.cloud.row(lambda session, ctx: core_cloud.identity(session))

    def take_over(self) -> int:
        """Stop the engine and be the controller instead; the new term."""
        self.cloud.stop_engine()
        with self.cloud.store.write() as session:
            lease = core_cloud.take_lease(session, owner="bench", lasts=3600_000_000, force=True)
        assert lease is not None
        return lease.term


@contextmanager
def ground() -> Iterator[Ground]:
    """A host and a cloud of their own; nothing of them is left afterwards. Needs root."""
    lab = Lab(REPOSITORY / ".lab" / f"bench-{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="skydeck-bench-") as home:
        Path(home, "config.toml").write_text(SETTINGS)
        cloud = Cloud(Path(home))
        try:
            (host,) = lab.up(["bench"])
            with cloud.store.write() as session:
                project = cloud.ctx.project_id
                unlimited = dict.fromkeys(("instances", "cores", "ram"), quotas.UNLIMITED)
                quotas.update(session, cloud.ctx, project, cloud.ctx.project_name, unlimited)
            cloud.enrol(lab, [host])
            row = cloud.row(lambda session, ctx: session.execute(select(Host)).scalar_one())
            yield Ground(cloud=cloud, host=host, row=row)
        finally:
            cloud.close()
            lab.down()


class Starts:
    """Tells when a host's QEMUs began to run, by libvirt's own events."""

    def __init__(self, uri: str) -> None:
        _register()
        self._at: dict[str, float] = {}
        self._news = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._connection = libvirt.open(uri)
        event = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        self._callback = self._connection.domainEventRegisterAny(None, event, self._happened, None)

    def __enter__(self) -> Starts:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.domainEventDeregisterAny(self._callback)
        self._connection.close()
        self._ending.set()
        libvirt.virEventAddTimeout(0, lambda timer, _: libvirt.virEventRemoveTimeout(timer), None)
        self._thread.join()

    def wait(self, uuids: Sequence[str], *, patience: float = 120.0) -> float:
        """When the last of these domains was running, on `time.perf_counter`'s clock."""
        with self._news:
            if not self._news.wait_for(lambda: all(uuid in self._at for uuid in uuids), patience):
                raise AssertionError(f"not running within {patience:.0f} s")
            return max(self._at.pop(uuid) for uuid in uuids)

    def _listen(self) -> None:
        while not self._ending.is_set():
            libvirt.virEventRunDefaultImpl()

    def _happened(self, _connection: object, domain: libvirt.virDomain, event: int, *_: object) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            with self._news:
                self._at[domain.UUIDString()] = time.perf_counter()
                self._news.notify_all()


@functools.cache
def _register() -> None:
    """libvirt takes its event loop once per process, before the first connection."""
    libvirt.virEventRegisterDefaultImpl()


def took(act: Callable[[], object]) -> float:
    """Seconds one call takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
