"""A guest driver on a lab host, with the daemon's part played by hand: where tests of guests and their disks sit."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from hostd.cache import ImageCache
from hostd.compute.driver import GuestDriver
from hostd.crash import NEVER
from hostd.drivers import Happened, Storage
from hostd.spec import Accel, DiskFormat, ImageRef, InstanceSpec, PowerState, Want
from tests.hostd.specs import instance
from tests.lab.guest import GuestImage
from tests.lab.hosts import LabHost

PATIENCE = 60.0


@attrs.define
class Desk:
    """A driver, its host and everything it told, with the daemon's part played by hand."""

    driver: GuestDriver
    host: LabHost
    cache: ImageCache
    state: Path
    spec: InstanceSpec
    told: list[Happened]
    news: threading.Condition

    def progress(self, percent: int) -> None: ...

    def apply(self, **changes: Any) -> list[str]:
        """Converge, see that nothing is left to do, and answer the steps."""
        spec = attrs.evolve(self.spec, **changes)
        steps = self.driver.plan(spec, self.driver.seen(spec.uuid))
        for step in steps:
            self.driver.execute(step, spec, self)
        assert self.driver.plan(spec, self.driver.seen(spec.uuid)) == ()
        return [step.name for step in steps]

    def power(self) -> PowerState | None:
        return self.driver.result(self.spec)[0]

    def until_told(self, test: Callable[[Happened], bool], *, since: int = 0, within: float = PATIENCE) -> None:
        with self.news:
            assert self.news.wait_for(lambda: any(map(test, self.told[since:])), timeout=within), self.told[since:]

    def log(self) -> str:
        text: str = self.driver.act("console_log", self.spec.uuid, {})["text"]
        return text

    def until_ready(self, *, boots: int = 1) -> None:
        """Wait for the prompt of the n-th boot. The log is a file that virtlogd writes: one can only look again."""
        end = time.monotonic() + PATIENCE
        while len(parts := self.log().split("SKYDECK ready")) <= boots or "# " not in parts[-1]:
            assert time.monotonic() < end, self.log()
            time.sleep(0.1)

    def type(self, line: str, *, answer: str = "") -> None:
        """Type into the console, and read until the answer came, or at least the echo.

        QEMU drops what a client sent just before it went.
        """
        with socket.socket(socket.AF_UNIX) as console:
            console.settimeout(PATIENCE)
            console.connect(str(self.driver.console(self.spec.uuid).socket))
            console.sendall(line.encode() + b"\n")
            read = b""
            while (answer or line).encode() not in read:
                part = console.recv(4096)
                assert part, read
                read += part


@contextmanager
def seated(host: LabHost, guest_image: GuestImage, *, storage: Storage | None = None, **fields: Any) -> Iterator[Desk]:
    """A desk whose guest is the lab's, with `fields` of its spec besides. The guest is gone afterwards."""
    # A place that the host sees under the same name, and short: a UNIX socket's path holds 107 characters.
    with tempfile.TemporaryDirectory(prefix="g", dir=host.lab.directory.parent) as directory:
        state, run = Path(directory, "state"), Path(directory, "run")
        state.mkdir()
        cache = ImageCache(state / "images", clock=time.time, crash=NEVER)
        told: list[Happened] = []
        news = threading.Condition()

        def tell(event: Happened) -> None:
            with news:
                told.append(event)
                news.notify_all()

        driver = GuestDriver(state=state, run=run, storage=storage, uri=host.libvirt_uri)
        driver.start(tell)
        driver.use(Accel(mode="tcg", reason="tcg (kvm present, probe failed)"))
        spec = instance(
            image=_carried(state, guest_image, "disk", DiskFormat.QCOW2, virtual_size=32 << 20),
            kernel=_carried(state, guest_image, "kernel", DiskFormat.AKI),
            ramdisk=_carried(state, guest_image, "ramdisk", DiskFormat.ARI),
            cmdline=guest_image.cmdline,
            **fields,
        )
        desk = Desk(driver=driver, host=host, cache=cache, state=state, spec=spec, told=told, news=news)
        try:
            yield desk
        finally:
            desk.apply(want=Want.ABSENT)
            driver.stop()


def _carried(state: Path, guest: GuestImage, part: str, kind: DiskFormat, *, virtual_size: int = 0) -> ImageRef:
    source: Path = getattr(guest, part)
    digest = guest.sha256(part)
    shutil.copyfile(source, state / "images" / digest)
    size = source.stat().st_size
    return ImageRef(digest=digest, format=kind, size=size, virtual_size=virtual_size or size)
