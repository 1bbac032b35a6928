"""A whole cloud for a test: a store of its own, its engine, and lab hosts enrolled by the real `host add`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from core import cloud, config, door, serve
from core.compute.instances import create, reads, verbs
from core.compute.instances.create import CreateSpec
from core.compute.instances.table import Instance
from core.context import Context
from core.hosts import enroll
from core.images import images
from core.images.stores import ImageStore
from core.operations.operations import OPEN, Operation
from core.verify import Violation, verify
from hostd.spec import Observation, load
from tests.lab.guest import GuestImage
from tests.lab.hosts import Lab, LabHost

T = TypeVar("T")

READY = "SKYDECK ready"
"""What the guest prints when it has booted."""

PATIENCE = 120.0


class Cloud:
    """skydeck with a home in `home`. `close` leaves nothing behind."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.environ = {**os.environ, "SKYDECK_HOME": str(home), **settings}
        self.config = config.load(self.environ)
        self.store = cloud.open_store(self.config)
        with self.store.read() as session:
            self.ctx: Context = cloud.context(session, self.config, source="cli")

    def close(self) -> None:
        self.stop_engine()
        self.store.close()

    # ------------------------------------------------------------------ the engine

    def start_engine(self) -> None:
        serve.ensure(self.config, wait=True)

    @property
    def engine_pid(self) -> int:
        return int((self.config.run_dir / serve.LOCK).read_text().split()[0])

    def kill_engine(self) -> None:
        os.kill(self.engine_pid, signal.SIGKILL)
        self.until(lambda: not serve.running(self.config), "the engine is gone")

    def stop_engine(self) -> None:
        if serve.running(self.config):
            os.kill(self.engine_pid, signal.SIGTERM)
            self.until(lambda: not serve.running(self.config), "the engine has ended")

    # ------------------------------------------------------------------ hosts and images

    def enrol(self, lab: Lab, hosts: Iterable[LabHost]) -> None:
        for host in hosts:
            enroll.add(
                self.store,
                self.config,
                self.ctx,
                address=f"root@{host.address}",
                name=host.name,
                host_key=host.fingerprint,
                identity=lab.ssh_key,
                assume_yes=True,
                ask=lambda question: True,
                tell=lambda text: None,
            )
        self.start_engine()
        for host in hosts:
            self.until_up(host.name)

    def until_up(self, name: str) -> None:
        self.until(lambda: self.row(_host, name).state == "up", f"host {name} is up")

    def add_guest(self, image: GuestImage) -> None:
        """The lab's guest as image `tiny`, booted with its kernel and ramdisk."""
        store = ImageStore(self.config.images_dir)
        ids: dict[str, str] = {}
        for name, file, kind in (
            ("tiny-kernel", image.kernel, "aki"),
            ("tiny-ramdisk", image.ramdisk, "ari"),
            ("tiny", image.disk, "qcow2"),
        ):
            properties = {} if kind != "qcow2" else {
                "kernel_id": "tiny-kernel", "ramdisk_id": "tiny-ramdisk", "os_command_line": image.cmdline,
            }  # fmt: skip
            stored = store.put_file(file)
            virtual = 32 << 20 if kind == "qcow2" else stored.size
            with self.store.write() as session:
                made = images.create(session, self.ctx, name=name, disk_format=kind, properties=properties)
                images.begin(session, self.ctx, made.id)
                images.activate(
                    session, self.ctx, made.id, digest=stored.digest, size=stored.size, virtual_size=virtual
                )
                ids[name] = made.id

    # ------------------------------------------------------------------ verbs

    def launch(self, name: str, *, host: str | None = None, wait: bool = True, **more: Any) -> str:
        """A guest; the id. Waits until it is ACTIVE unless told not to."""
        zone = f"nova:{host}" if host else None
        spec = CreateSpec(name=name, flavor="m1.tiny", image="tiny", availability_zone=zone, **more)
        made = create.create(self.store, self.config, self.ctx, spec)
        if wait:
            self.ended(made.operations[0].id)
            assert self.status(name) == "ACTIVE", self.operation(made.operations[0].id).error
        return made.instances[0].id

    def power(self, name: str, verb: str) -> Operation:
        with self.store.write() as session:
            operation = verbs.power(session, self.ctx, name, verb)
        return self.ended(operation.id)

    def delete(self, name: str) -> Operation:
        with self.store.write() as session:
            operation = verbs.delete(session, self.ctx, name)
        return self.ended(operation.id)

    # ------------------------------------------------------------------ looking

    def row(self, query: Callable[..., T], *arguments: Any) -> T:
        with self.store.read() as session:
            return query(session, self.ctx, *arguments)

    def instance(self, name: str) -> Instance:
        return self.row(verbs.find, name)

    def status(self, name: str) -> str:
        return self.instance(name).status

    def address(self, name: str) -> str:
        with self.store.read() as session:
            return str(reads.show(session, verbs.find(session, self.ctx, name))["addresses"][0][1])

    def operation(self, id: str) -> Operation:
        from core.operations import operations

        return self.row(operations.find, id)

    def ended(self, id: str, *, patience: float = PATIENCE) -> Operation:
        """Wait for an operation to end or be blocked."""
        self.until(
            lambda: self.operation(id).state not in OPEN or self.operation(id).state == "blocked",
            f"operation {id} has ended",
            patience=patience,
        )
        return self.operation(id)

    def until(self, true: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
        """Wait for something that other processes bring about."""
        deadline = time.monotonic() + patience
        while not true():
            if time.monotonic() > deadline:
                log = self.config.log_file.read_text()[-3000:] if self.config.log_file.exists() else ""
                raise AssertionError(f"not within {patience:.0f} s: {what}\n{log}")
            time.sleep(0.05)

    def console_log(self, name: str, lines: int = 200) -> str:
        with self.store.write() as session:
            ticket = door.ticket(session, self.ctx, purpose="console_log", instance=name)
        return asyncio.run(door.console_log(self.config, ticket, lines))

    def booted(self, name: str) -> None:
        self.until(lambda: READY in self.console_log(name), f"{name} has booted")

    def type(self, name: str, text: str, expect: str) -> str:
        """Attach to a guest's console, type, and return what it wrote until `expect`."""

        async def talk() -> str:
            with self.store.write() as session:
                ticket = door.ticket(session, self.ctx, purpose="console", instance=name)
            console = await door.console(self.config, ticket)
            heard = ""
            try:
                async with asyncio.timeout(30):
                    await console.write(text.encode())
                    while expect not in heard:
                        data = await console.read()
                        assert data, f"the console ended after {heard!r}"
                        heard += data.decode(errors="replace")
            finally:
                await console.close()
            return heard

        return asyncio.run(talk())

    def observe(self) -> dict[str, Observation]:
        with self.store.write() as session:
            ticket = door.ticket(session, self.ctx, purpose="observe")
        answers = asyncio.run(door.observe(self.config, ticket))
        return {host: load(Observation, answer) for host, answer in answers.items()}

    def verify(self) -> list[Violation]:
        return verify(self.store, self.config)

    def skydeck(
        self, *arguments: str, check: bool = True, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The command line, as a user runs it."""
        return subprocess.run(
            [sys.executable, "-m", "tui", *arguments],
            env=self.environ, capture_output=True, text=True, check=check, input=input, timeout=PATIENCE,
        )  # fmt: skip

    def clear(self) -> None:
        """No instance is left."""
        with self.store.read() as session:
            left = [row["id"] for row in _instances(session, self.ctx)]
        for uuid in left:
            with contextlib.suppress(AssertionError):
                self.delete(uuid)


def _host(session: Any, ctx: Context, name: str) -> Any:
    from core.hosts import hosts

    return hosts.find(session, ctx, name)


def _instances(session: Any, ctx: Context) -> list[dict[str, Any]]:
    from core import listing, lists

    return listing.page(session, ctx, lists.INSTANCES)
