"""A real guest at work, seen from the controller: its processor, its disk, its network; and a daemon that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core import door, metrics
from core.errors import Unavailable
from core.metrics.live import Live
from hostd.network import names
from hostd.relay import RUN
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import EAST

pytestmark = pytest.mark.e2e

LOOK = 60
"""Seconds that are looked at."""


class View:
    """A live view, for tests that wait by themselves."""

    def __init__(self, cloud: Cloud, id: str) -> None:
        self._cloud = cloud
        self._id = id
        self._loop = asyncio.new_event_loop()
        self._live = self._loop.run_until_complete(self._open())

    async def _open(self) -> Live:
        return await door.metrics(self._cloud.config, self._cloud.ask(door.metrics_ticket, self._id))

    def read(self) -> metrics.Series:
        return self._loop.run_until_complete(self._live.read(LOOK))

    def until(self, test: Callable[[metrics.Series], bool], what: str) -> metrics.Series:
        """Also while the host is away in between."""

        def seen() -> metrics.Series | None:
            with contextlib.suppress(Unavailable):
                return found if test(found := self.read()) else None
            return None

        self._cloud.until(lambda: seen() is not None, what, every=0.5)
        return self.read()

    def close(self) -> None:
        self._loop.run_until_complete(self._live.close())
        self._loop.close()


def cpu_seconds(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def total(series: metrics.Series, rates: tuple[float, ...]) -> float:
    """What a rate adds up to."""
    return sum(rate * (later - at) / 1e6 for rate, at, later in zip(rates[1:], series.at, series.at[1:], strict=False))


def test_a_guest_at_work_is_seen_and_a_killed_daemon_forgets_nothing(cloud: Cloud) -> None:
    cloud.launch("one", host=EAST)
    cloud.booted("one")
    uuid = cloud.instance("one").id
    view, host = View(cloud, uuid), View(cloud, cloud.host(EAST).id)
    try:
        cloud.type("one", "(while :; do :; done) & echo spin''ning\n", "spinning")
        process = cloud.qemu(EAST, "one")
        began, used = time.time(), cpu_seconds(process)
        spinning = view.until(lambda seen: bool(seen.at) and seen.at[-1] > (began + 8) * 1e6, "eight seconds went by")
        truth = 100 * (cpu_seconds(process) - used) / (time.time() - began)
        recent = [cpu for at, cpu in zip(spinning.at, spinning.cpu, strict=True) if at > (began + 1) * 1e6]
        seen = sum(recent) / len(recent)
        print(f"\nits processor: {seen:.0f} % seen, {truth:.0f} % in /proc; a sample each {spinning.step:.1f} s")
        assert seen == pytest.approx(min(100, truth), abs=12)
        # All of it, on a machine that has nothing else to do.
        assert seen > 20
        busy = host.read()
        assert busy.cpu[-1] > 20
        assert 0 < busy.memory[-1] < 100
        assert 0 < busy.disk_used[-1] < busy.disk_total[-1]

        written = total(view.read(), view.read().disk_write)
        cloud.type("one", "dd if=/dev/zero of=/big bs=1024 count=6000 && sync; echo writ''ten\n", "written")
        view.until(lambda seen: total(seen, seen.disk_write) - written > 5e6, "its writes are seen")
        namespace = names.namespace(cloud.ports("one")[0].network_id)
        ping = ["ping", "-q", "-c", "40", "-i", "0.02", "-s", "1200", cloud.address("one")]
        before = view.read()
        cloud.hosts[EAST].run(["ip", "netns", "exec", namespace, *ping])
        heard = view.until(
            lambda seen: total(seen, seen.net_rx) - total(before, before.net_rx) > 40 * 1200, "its packets are seen"
        )
        assert total(heard, heard.net_tx) > 40 * 1200
        assert max(heard.disk_write) < 1e9

        told = view.until(lambda seen: seen.memory_guest, "the guest tells how much memory it uses")
        assert 10e6 < told.memory_used[-1] < told.memory_max[-1] == 128 << 20

        kept = view.read()
        cloud.kill_hostd(EAST)
        gone = time.time()
        after = view.until(lambda seen: bool(seen.at) and seen.at[-1] > (gone + 3) * 1e6, "samples come again")
        assert set(kept.at[5:-1]) <= {at for at in after.at if at <= kept.at[-1]} | {
            at for at in kept.at if at < after.at[0]
        }
        ring = cloud.inside(EAST, f"{RUN}/metrics/{uuid}.ring")
        assert ring.stat().st_size < 70_000

        # Started anew it counts from zero: nothing of that is work.
        view.close()
        cloud.power("one", "reboot_hard")
        cloud.booted("one")
        view = View(cloud, uuid)
        again = view.until(
            lambda seen: bool(seen.at) and seen.at[-1] > (time.time() - 3) * 1e6 and len(seen.at) > 5, "it is seen"
        )
        assert max(again.net_rx) < 1e6
        assert max(again.disk_read) < 100e6
    finally:
        view.close()
        host.close()

    # All the while the engine has asked every ten seconds.
    cloud.until(
        lambda: len(metrics.series(cloud.config, uuid, span_s=600).at) >= 3, "the engine has collected some", every=0.5
    )
    latest = metrics.latest(cloud.config, [uuid, cloud.host(EAST).id])
    assert set(latest) == {uuid, cloud.host(EAST).id}
    shown = cloud.skydeck("server", "metrics", "one", "-f", "csv")
    assert len(shown.stdout.splitlines()) > 3, shown.stderr
