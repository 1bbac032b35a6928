"""A whole cloud for a test: a store of its own, its engine, and lab hosts enrolled by the real `host add`."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlmodel import col

from core import cloud, config, door, serve
from core.compute import flavors
from core.compute.instances import create, reads, verbs
from core.compute.instances import volumes as server_volumes
from core.compute.instances.create import Created, CreateSpec
from core.compute.instances.table import Instance
from core.context import Context
from core.crash import FILE as CRASH_FILE
from core.errors import NotFound
from core.hosts import enroll, hosts
from core.hosts.drift import Finding
from core.hosts.hosts import Host
from core.identity import projects
from core.images import images
from core.images.stores import ImageStore
from core.network import ports, security_groups
from core.network.fabric import HostNetworking
from core.network.tables import DHCP, HOST_GATEWAY, FixedIP, Network, Port
from core.operations import operations
from core.operations.operations import OPEN, Operation, State
from core.sql import select
from core.verify import Violation, verify
from core.volumes import attachments, backends, placement, snapshots, volumes
from core.volumes.tables import Snapshot, Volume, VolumeAttachment
from hostd.compute.domain_xml import PREFIX
from hostd.relay import RUN, STATE
from hostd.spec import DomainSeen, Observation, load
from tests.lab.guest import DISK_MIB, GuestImage
from tests.lab.hosts import Lab, LabHost

T = TypeVar("T")

READY = "SKYDECK ready"
"""What the guest prints when it has booted."""

NANO = "nano"
"""A flavor just large enough for the guest: 128 MB, and a root disk of its image's size."""

PATIENCE = 60.0
"""Seconds within which whatever was disturbed must have come right."""


QUESTIONS = itertools.count(1000)


class Cloud:
    """skydeck with a home in `home`. `close` leaves nothing behind."""

    def __init__(self, home: Path, **settings: str) -> None:
        """`settings` are environment variables."""
        self.environ = {**os.environ, "SKYDECK_HOME": str(home), **settings}
        self.config = config.load(self.environ)
        self.hosts: dict[str, LabHost] = {}
        """The enrolled ones, by name."""
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
        self.until_engine_ended()

    def stop_engine(self) -> None:
        if serve.running(self.config):
            os.kill(self.engine_pid, signal.SIGTERM)
            self.until_engine_ended()

    def until_engine_ended(self) -> None:
        self.until(lambda: not serve.running(self.config), "the engine has ended", every=0.01)

    def restart_engine(self) -> None:
        """A new engine, connected to every host."""
        self.stop_engine()
        self.start_engine()
        for name in self.hosts:
            self.until_up(name)

    def configure(self, **settings: int) -> None:
        """Have the next engine started with these settings and no others."""
        self.stop_engine()
        self.config.home.mkdir(parents=True, exist_ok=True)
        (self.config.home / "config.toml").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        self.config = config.load(self.environ)

    def arm(self, label: str) -> Path:
        """Have the engine die at a crash point, once. The file is gone when it has."""
        file = self.config.run_dir / CRASH_FILE
        file.write_text(label)
        return file

    # ------------------------------------------------------------------ hosts and images

    def enrol(self, lab: Lab, machines: Iterable[LabHost]) -> None:
        self.outside = lab.outside
        for host in machines:
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
            self.hosts[host.name] = host
        self.start_engine()
        for name in self.hosts:
            self.until_up(name)

    def host(self, name: str) -> Host:
        return self.row(hosts.find, name)

    def until_up(self, name: str) -> None:
        self.until(lambda: self.host(name).state == "up", f"host {name} is up")

    def until_down(self, name: str) -> None:
        self.until(lambda: self.host(name).state == "down", f"host {name} is down")

    def inside(self, name: str, path: str) -> Path:
        """A path of a host, as this machine reaches it. Changes with the host's power."""
        return Path(f"/proc/{self.hosts[name].pid}/root{path}")

    def hostd_pid(self, name: str) -> int:
        """Of the host's daemon, as the host numbers it."""
        return int(self.inside(name, f"{RUN}/hostd.pid").read_text())

    def kill_hostd(self, name: str) -> None:
        self.hosts[name].run(["kill", "-9", str(self.hostd_pid(name))])

    def arm_host(self, name: str, label: str) -> Path:
        """Have the host's daemon die at a crash point, once. The file is gone when it has."""
        file = self.inside(name, f"{RUN}/crash")
        file.write_text(label)
        return file

    def add_guest(self, image: GuestImage) -> None:
        """The lab's guest as image `tiny`, booted with its kernel and ramdisk."""
        self.add_image("tiny-kernel", image.kernel, disk_format="aki")
        self.add_image("tiny-ramdisk", image.ramdisk, disk_format="ari")
        boot = {"kernel_id": "tiny-kernel", "ramdisk_id": "tiny-ramdisk", "os_command_line": image.cmdline}
        self.add_image("tiny", image.disk, disk_format="qcow2", virtual_size=DISK_MIB << 20, properties=boot)

    def add_image(
        self,
        name: str,
        file: Path,
        *,
        disk_format: str,
        virtual_size: int | None = None,
        properties: dict[str, str] | None = None,
    ) -> str:
        """An active image of the file's bytes, copied; its digest."""
        stored = ImageStore(self.config.images_dir).put_file(file)
        size = stored.size if virtual_size is None else virtual_size
        with self.store.write() as session:
            made = images.create(session, self.ctx, name=name, disk_format=disk_format, properties=properties or {})
            images.begin(session, self.ctx, made.id)
            images.activate(session, self.ctx, made.id, digest=stored.digest, size=stored.size, virtual_size=size)
        return stored.digest

    def delete_image(self, name: str) -> str:
        """Row and bytes; the digest it had."""
        digest = str(self.ask(images.delete, name).digest)
        ImageStore(self.config.images_dir).path(digest).unlink()
        return digest

    # ------------------------------------------------------------------ verbs

    def add_flavor(self, name: str, *, ram_mb: int, disk_gb: int = 0, ephemeral_gb: int = 0) -> None:
        with self.store.write() as session:
            flavors.create(
                session, self.ctx, name=name, ram_mb=ram_mb, disk_gb=disk_gb, ephemeral_gb=ephemeral_gb, vcpus=1
            )

    def allow_ping(self) -> None:
        """Guests of the default group answer pings; nothing else comes in to them."""
        with self.store.write() as session:
            group = security_groups.default_group(session, self.ctx.project_id)
            security_groups.add_rule(session, self.ctx, group.id, protocol="icmp")

    def ask(self, verb: Callable[..., T], *arguments: Any, **more: Any) -> T:
        """One of core's verbs, in a transaction of its own."""
        with self.store.write() as session:
            return verb(session, self.ctx, *arguments, **more)

    def create(self, name: str, *, host: str | None = None, flavor: str = NANO, **more: Any) -> Created:
        """Ask for guests; nothing is waited for."""
        zone = f"nova:{host}" if host else None
        more.setdefault("image", "tiny")
        spec = CreateSpec(name=name, flavor=flavor, availability_zone=zone, **more)
        return create.create(self.store, self.config, self.ctx, spec)

    def launch(self, name: str, *, host: str | None = None, **more: Any) -> str:
        """A guest that is ACTIVE; the id."""
        made = self.create(name, host=host, **more)
        self.succeeded(made.operations[0].id)
        assert self.status(name) == "ACTIVE"
        return made.instances[0].id

    def start_power(self, name: str, verb: str) -> Operation:
        """Ask for a power verb and go on."""
        return self.ask(verbs.power, name, verb)

    def power(self, name: str, verb: str) -> Operation:
        return self.ended(self.start_power(name, verb).id)

    def start_delete(self, name: str) -> Operation:
        return self.ask(verbs.delete, name)

    def delete(self, name: str) -> Operation:
        return self.ended(self.start_delete(name).id)

    # ------------------------------------------------------------------ volumes

    def start_volume(self, name: str, *, size_gb: int | None = 1, **more: Any) -> tuple[Volume, Operation]:
        """Ask for a volume and go on."""
        with self.store.write() as session:
            return volumes.create(session, self.ctx, self.config, name=name, size_gb=size_gb, **more)

    def add_volume(self, name: str, *, size_gb: int | None = 1, **more: Any) -> str:
        """A volume that is available; the id."""
        volume, operation = self.start_volume(name, size_gb=size_gb, **more)
        self.succeeded(operation.id)
        assert self.volume(volume.id).status == "available"
        return volume.id

    def start_attach(self, server: str, volume: str, **more: Any) -> Operation:
        return self.ask(server_volumes.attach, self.config, server, volume=volume, **more)

    def attach(self, server: str, volume: str, **more: Any) -> None:
        self.succeeded(self.start_attach(server, volume, **more).id)

    def start_detach(self, server: str, volume: str) -> Operation:
        return self.ask(server_volumes.detach, server, volume=volume)

    def detach(self, server: str, volume: str) -> None:
        self.succeeded(self.start_detach(server, volume).id)

    def volume(self, id: str) -> Volume:
        """Also one that is deleted."""
        with self.store.read() as session:
            return session.get_one(Volume, id)

    def volumes(self) -> list[str]:
        """The ids of all that are not deleted."""
        with self.store.read() as session:
            return list(session.execute(select(Volume.id).where(col(Volume.deleted_at) == 0)).scalars())

    def attachments(self, volume: str) -> list[VolumeAttachment]:
        with self.store.read() as session:
            return attachments.of_volume(session, volume)

    def snapshot(self, volume: str, name: str, *, force: bool = False) -> str:
        """A snapshot that is available; the id."""
        made: tuple[Snapshot, Operation] = self.ask(snapshots.create, volume=volume, name=name, force=force)
        self.succeeded(made[1].id)
        return made[0].id

    def snapshots(self, volume: str) -> list[Snapshot]:
        """Of a volume, hidden ones too."""
        with self.store.read() as session:
            return snapshots.of_volume(session, volume)

    def reach(self, backend: str) -> set[str]:
        """Names of the hosts that reach a backend."""
        with self.store.read() as session:
            found = placement.reach(session, backends.find(session, self.ctx, backend).id)
        return {name for name in self.hosts if self.host(name).id in found}

    def host_of(self, volume: str) -> str:
        """The name of the host that holds a local volume."""
        held = self.volume(volume).host_id
        return next(name for name in self.hosts if self.host(name).id == held)

    def open_for_writing(self) -> dict[str, list[str]]:
        """Every file that QEMU processes have open to write, with who has: what they say themselves, in /proc."""
        found: dict[str, set[str]] = {}
        for name, host in self.hosts.items():
            for process in self.inside(name, "/proc").iterdir() if host.powered else ():
                if process.name.isdigit() and b"qemu-system" in _read(process / "cmdline").partition(b"\0")[0]:
                    for path in _written_by(process):
                        found.setdefault(f"{name}:{path}", set()).add(process.name)
        return {path: sorted(who) for path, who in found.items()}

    # ------------------------------------------------------------------ looking

    def row(self, query: Callable[..., T], *arguments: Any) -> T:
        with self.store.read() as session:
            return query(session, self.ctx, *arguments)

    def instance(self, name: str) -> Instance:
        return self.row(verbs.find, name)

    def status(self, name: str) -> str:
        return self.instance(name).status

    def ports(self, name: str) -> list[Port]:
        with self.store.read() as session:
            return ports.of_device(session, verbs.find(session, self.ctx, name).id)

    def address(self, name: str) -> str:
        with self.store.read() as session:
            return str(reads.show(session, verbs.find(session, self.ctx, name))["addresses"][0][1])

    def project(self, name: str) -> Context:
        """A project of that name, made when there is none, and its member to act in it."""
        with self.store.write() as session:
            try:
                found = projects.find(session, self.ctx, name)
            except NotFound:
                found = projects.create(session, self.ctx, name=name)
            return dataclasses.replace(
                self.ctx, project_id=found.id, project_name=found.name, roles=frozenset({"member"}), all_projects=False
            )

    def port_address(self, port_id: str) -> str:
        """Its first IPv4 address."""
        with self.store.read() as session:
            return next(ip for ip in ports.addresses(session, port_id) if ":" not in ip)

    def service_address(self, network: str) -> str:
        """Where DHCP and DNS answer on a network with one subnet."""
        return self._address_of(col(Port.network_id) == network, col(Port.device_owner) == DHCP)

    def snat_address(self, host: str) -> str:
        """What a host's guests without floating IPs are seen as outside."""
        return self._address_of(col(Port.device_id) == self.host(host).id, col(Port.device_owner) == HOST_GATEWAY)

    def _address_of(self, *where: Any) -> str:
        with self.store.read() as session:
            query = select(FixedIP.ip).where(col(FixedIP.port_id) == col(Port.id), *where).limit(1)
            return session.execute(query).scalar_one()

    def networks(self) -> list[Network]:
        with self.store.read() as session:
            return list(session.execute(select(Network)).scalars())

    def network_id(self, name: str) -> str:
        return next(row.id for row in self.networks() if row.name == name)

    def addresses(self, port_id: str) -> list[str]:
        with self.store.read() as session:
            return ports.addresses(session, port_id)

    def until_wired(self, port_id: str) -> None:
        """Wait until every host that carries the port's network has confirmed it."""

        def wired() -> bool:
            with self.store.read() as session:
                return session.get_one(Port, port_id).status == "ACTIVE"

        self.until(wired, f"port {port_id} is ACTIVE", every=0.01)

    def until_told(self) -> None:
        """Wait until every living host has confirmed its newest document."""

        def told() -> bool:
            with self.store.read() as session:
                behind = select(HostNetworking.host_id).where(
                    col(HostNetworking.applied) < col(HostNetworking.generation),
                    col(Host.id) == col(HostNetworking.host_id),
                    col(Host.state) == "up",
                )
                return session.execute(behind).first() is None

        self.until(told, "every host has its networking", every=0.005)

    def store_has(self, query: Any) -> bool:
        """Whether the query finds a row."""
        with self.store.read() as session:
            return session.execute(query.limit(1)).first() is not None

    def operation(self, id: str) -> Operation:
        return self.row(operations.find, id)

    def open_operations(self) -> list[Operation]:
        with self.store.read() as session:
            return list(session.execute(select(Operation).where(col(Operation.state).in_(OPEN))).scalars())

    def findings(self) -> list[Finding]:
        """The open ones."""
        with self.store.read() as session:
            return list(session.execute(select(Finding).where(col(Finding.resolved_at).is_(None))).scalars())

    def succeeded(self, id: str, *, patience: float = PATIENCE) -> Operation:
        """Wait for an operation's success."""
        operation = self.ended(id, patience=patience)
        assert operation.state == State.SUCCEEDED, (operation.kind, operation.state, operation.error)
        return operation

    def ended(self, id: str, *, patience: float = PATIENCE) -> Operation:
        """Wait for an operation to end or be blocked."""
        self.until(
            lambda: self.operation(id).state not in OPEN or self.operation(id).state == "blocked",
            f"operation {id} has ended",
            patience=patience,
        )
        return self.operation(id)

    def until(self, true: Callable[[], bool], what: str, *, patience: float = PATIENCE, every: float = 0.05) -> None:
        """Wait for something that other processes bring about."""
        deadline = time.monotonic() + patience
        while not true():
            if time.monotonic() > deadline:
                log = self.config.log_file.read_text()[-3000:] if self.config.log_file.exists() else ""
                raise AssertionError(f"not within {patience:.0f} s: {what}\n{log}")
            time.sleep(every)

    def console_log(self, name: str, lines: int = 200) -> str:
        with self.store.write() as session:
            ticket = door.ticket(session, self.ctx, purpose="console_log", instance=name)
        return asyncio.run(door.console_log(self.config, ticket, lines))

    def boots(self, name: str) -> int:
        """How often the guest has come up so far, by its console log."""
        return self.console_log(name).count(READY)

    def booted(self, name: str, *, boots: int = 1) -> None:
        """Wait until the guest has come up for the n-th time and shows its prompt."""

        def up() -> bool:
            parts = self.console_log(name).split(READY)
            return len(parts) > boots and "# " in parts[-1]

        self.until(up, f"{name} has booted {boots} times")

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

    def sh(self, name: str, command: str) -> str:
        """What a command prints in a guest that shows its prompt."""
        # What the console said before is heard again: the number tells this question from the last.
        asked = next(QUESTIONS)
        line = f"echo begin-$(({asked}+0)); {command}; echo end-$(({asked}+0))\n"
        heard = self.type(name, line, f"end-{asked}\r")
        return heard.rpartition(f"begin-{asked}\r\n")[2].partition(f"end-{asked}\r")[0].replace("\r", "").strip()

    def observe(self) -> dict[str, Observation]:
        with self.store.write() as session:
            ticket = door.ticket(session, self.ctx, purpose="observe")
        answers = asyncio.run(door.observe(self.config, ticket))
        return {host: load(Observation, answer) for host, answer in answers.items()}

    def seen(self, name: str) -> DomainSeen | None:
        """The guest as its host has it now."""
        row = self.instance(name)
        domains = self.observe()[str(row.host_id)].domains
        return next((domain for domain in domains if domain.uuid == row.id), None)

    def qemu(self, host: str, name: str) -> Path:
        """/proc/PID of a running guest's QEMU, there for as long as it lives."""
        uuid = self.instance(name).id
        pid = self.inside(host, f"/run/libvirt/qemu/{PREFIX}{uuid}.pid").read_text().strip()
        return self.inside(host, f"/proc/{pid}")

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

    def instances(self) -> list[str]:
        """The ids of all that are not deleted."""
        with self.store.read() as session:
            return list(session.execute(select(Instance.id).where(col(Instance.deleted_at) == 0)).scalars())

    def clear(self) -> None:
        """No instance is left, no volume and no snapshot, nor one on its way out."""
        for operation in [self.start_delete(uuid) for uuid in self.instances()]:
            self.succeeded(operation.id)
        self.until(lambda: not self.open_operations(), "volumes that go with their instances are gone")
        for operation in [self.ask(volumes.delete, uuid, cascade=True) for uuid in self.volumes()]:
            self.succeeded(operation.id)


def _read(path: Path) -> bytes:
    """Of a process that may have ended."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _written_by(process: Path) -> Iterator[str]:
    """Paths that a process has open to write."""
    for descriptor in (process / "fd").iterdir():
        try:
            target = os.readlink(descriptor)
            flags = re.search(r"^flags:\s*(\d+)", (process / "fdinfo" / descriptor.name).read_text(), re.MULTILINE)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if target.startswith(f"{STATE}/") and flags and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY:
            yield target
