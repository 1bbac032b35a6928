"""A real Ceph cluster in a directory: a monitor, a manager, an OSD in memory, and a gateway that speaks S3.

    with Ceph(directory) as ceph:
        ceph.options                                        # of a backend `rbd`
        rbd --conf {ceph.conf} --id volumes --keyring {ceph.keyring} ls volumes     # block devices
        s3 = ceph.s3()                                      # an S3 service, started when first asked for
        s3.endpoint, s3.access_key, s3.secret_key           # http://127.0.0.1:<port>, path-style addressing

On loopback, at ports of its own, so that several run side by side; clients authenticate with cephx, as real ones do.
Ready when the block returns: whatever is asked then is answered. All of it is gone with the block, and with this
process. Everything is kept in memory, at most `size` bytes. Needs no root.
"""

from __future__ import annotations

import base64
import http.client
import os
import secrets
import shutil
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.lab import debs
from tests.lab.guest import CACHE
from tests.lab.ports import free_port

COMMANDS: Final = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "rbd", "radosgw", "radosgw-admin")

POOL: Final = "volumes"
"""A pool made ready for block devices."""
USER: Final = "volumes"
"""Who may use that pool, and nothing else."""

_ENTITIES: Final = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *", "mgr": "allow profile osd"},
    "mgr.a": {"mon": "allow profile mgr", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx"},
    f"client.{USER}": {"mon": "profile rbd", "osd": f"profile rbd pool={POOL}", "mgr": f"profile rbd pool={POOL}"},
}
"""Who authenticates, and what each may do."""

_PATIENCE: Final = 60.0
"""Seconds for one command, and for a daemon to answer, on a busy machine."""

_CONF: Final = """\
[global]
fsid = {fsid}
mon host = [v2:{address}:{port}]
public addr = {address}
cluster addr = {address}
ms bind msgr1 = false
auth allow insecure global id reclaim = false
keyring = {directory}/keyring
run dir = {directory}
admin socket =
log file = {directory}/$name.log
pid file =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon allow pool delete = true
osd objectstore = memstore
memstore device bytes = {size}
[mon]
mon data = {directory}/mon
mon data avail crit = 1
paxos propose interval = 0.05
paxos min wait = 0.01
[mgr]
mgr data = {directory}/mgr
mgr module path = {directory}/modules
mgr stats period = 1
[osd]
osd data = {directory}/osd
osd memory target = 939524096
[client.rgw]
rgw frontends = beast endpoint={address}:{s3_port}
rgw thread pool size = 16
rgw enable quota threads = false
rgw enable lc threads = false
rgw run sync thread = false
"""


class CephError(Exception):
    """The cluster did not come up, or a command failed; the message holds the cause."""


@dataclass(frozen=True)
class S3:
    """Where an S3 service is, and as whom."""

    endpoint: str
    access_key: str
    secret_key: str


class Ceph:
    """One cluster; `size` is the room it has, in bytes."""

    def __init__(self, directory: Path, *, address: str = "127.0.0.1", size: int = 2 << 30) -> None:
        self.directory = directory.resolve()
        self.address = address
        self.conf = self.directory / "ceph.conf"
        self.keyring = self.directory / "volumes.keyring"
        """Of the user of the pool of volumes. The administrator's and the daemons' own is the conf's."""
        self.port = free_port(address)
        """The monitor's."""
        self._s3_port = free_port(address)
        self._size = size
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._s3: S3 | None = None

    @property
    def options(self) -> dict[str, str]:
        """Of a backend `rbd`."""
        return {"pool": POOL, "user": USER, "conf": str(self.conf), "keyring": str(self.keyring)}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Make the cluster and bring it up. Raises CephError."""
        missing = [command for command in COMMANDS if shutil.which(command) is None]
        if missing:
            raise CephError(f"{', '.join(missing)} missing: install ceph-mon, ceph-osd, ceph-common and radosgw")
        for part in ("mon", "mgr", "osd", "modules"):
            (self.directory / part).mkdir(parents=True)
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        self.conf.write_text(
            _CONF.format(
                fsid=fsid, address=self.address, port=self.port, s3_port=self._s3_port, directory=self.directory,
                size=self._size,
            )
        )  # fmt: skip
        self._write_keys()
        monitors = str(self.directory / "monmap")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:{self.address}:{self.port}]", monitors)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", str(self.directory / "keyring"))
        self._daemon("mon", "ceph-mon", "-i", "a")
        # The OSD is known by the uuid it is made with: another would wait to be let in for ever.
        self.ceph("osd", "new", osd, "0")
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        self._daemon("osd", "ceph-osd", "-i", "0")
        self._daemon("mgr", str(_manager()), "-i", "a")
        self.ceph("osd", "crush", "add", "osd.0", "1", "host=lab", "root=default")
        self.ceph("osd", "pool", "create", POOL)
        # Writes into the pool, and so ends when the OSD takes part.
        self.rbd("pool", "init", POOL)
        self._until(lambda: f'"{POOL}"' in self.ceph("df", "--format", "json"), "the manager counts no pool")

    def stop(self) -> None:
        """End the daemons, all at once: nothing is kept."""
        for name in list(self._daemons):
            self.kill(name)
        self._s3 = None

    def kill(self, name: str) -> None:
        """End one of `mon`, `mgr`, `osd` and `rgw`, as a crash does."""
        daemon = self._daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def s3(self) -> S3:
        """The cluster's S3 service and a user of it, started when first asked for. Raises CephError."""
        if self._s3 is None:
            made = S3(f"http://{self.address}:{self._s3_port}", secrets.token_hex(10), secrets.token_hex(20))
            self._run(
                "radosgw-admin", "user", "create", "--uid", "lab", "--display-name", "lab",
                "--access-key", made.access_key, "--secret-key", made.secret_key,
            )  # fmt: skip
            self._daemon("rgw", "radosgw", "-n", "client.rgw")
            self._until(self._answers, "radosgw does not answer")
            self._s3 = made
        return self._s3

    def ceph(self, *arguments: str) -> str:
        """Run a command of the cluster's as its administrator; its output."""
        return self._run("ceph", *arguments)

    def rbd(self, *arguments: str) -> str:
        return self._run("rbd", *arguments)

    def fill(self) -> None:
        """Leave the pool no room; returns when the OSD knows."""
        self.ceph("osd", "pool", "set-quota", POOL, "max_objects", "1")
        self._until(lambda: "full_quota" in self.ceph("osd", "pool", "ls", "detail"), "the pool does not fill up")

    def _write_keys(self) -> None:
        keyrings = {self.directory / "keyring": _ENTITIES, self.keyring: (f"client.{USER}",)}
        keys = {entity: _key() for entity in _ENTITIES}
        for file, entities in keyrings.items():
            lines = [line for entity in entities for line in _key_lines(entity, keys[entity])]
            file.touch(mode=0o600)
            file.write_text("".join(f"{line}\n" for line in lines))

    def _daemon(self, name: str, *argv: str) -> None:
        # It ends with us, however we end.
        command = ["setpriv", "--pdeathsig", "KILL", argv[0], "-f", "-c", str(self.conf), *argv[1:]]
        with (self.directory / f"{name}.err").open("wb") as errors:
            self._daemons[name] = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=_environment()
            )

    def _run(self, *argv: str) -> str:
        command = [argv[0], "-c", str(self.conf), *argv[1:]]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_PATIENCE, cwd=self.directory,
                env=_environment(), stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise CephError(f"{' '.join(argv)}: no answer within {_PATIENCE:.0f} s\n{self._errors()}") from late
        if done.returncode != 0:
            raise CephError(f"{' '.join(argv)}: {done.stderr.strip()}\n{self._errors()}")
        return done.stdout

    def _errors(self) -> str:
        return "\n".join(f"{file.name}: {file.read_text()[-1000:]}" for file in sorted(self.directory.glob("*.err")))

    def _answers(self) -> bool:
        if (status := self._daemons["rgw"].poll()) is not None:
            raise CephError(f"radosgw ended with {status}\n{self._errors()}")
        connection = http.client.HTTPConnection(self.address, self._s3_port, timeout=_PATIENCE)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def _until(self, reached: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not reached():
            if time.monotonic() > deadline:
                raise CephError(f"{otherwise}\n{self._errors()}")
            time.sleep(0.05)


def _key() -> str:
    """A secret as cephx writes it (src/auth/Crypto.cc): type AES, when it was made, how long it is."""
    return base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)).decode()


def _key_lines(entity: str, key: str) -> Iterator[str]:
    yield f"[{entity}]"
    yield f"key = {key}"
    for service, caps in _ENTITIES[entity].items():
        yield f'caps {service} = "{caps}"'


def _manager() -> Path:
    """The manager's program. Its package wants a web framework installed for modules that nobody here uses."""
    if found := shutil.which("ceph-mgr"):
        return Path(found)
    version = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Version}", "ceph-mon"], capture_output=True, text=True, check=True
    ).stdout
    target = CACHE / f"ceph-mgr-{version}"
    program = target / "tree/usr/bin/ceph-mgr"
    if not program.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            libraries = debs.needs("ceph-mgr", r"libboost-python[\d.]+")
            packages = debs.fetch([f"ceph-mgr={version}", *libraries], Path(scratch, "packages"))
            tree = Path(scratch, "made/tree")
            tree.mkdir(parents=True)
            for package in sorted(packages.glob("*.deb")):
                subprocess.run(["dpkg", "-x", package, tree], check=True)
            try:
                tree.parent.rename(target)
            except OSError:  # somebody else was faster; theirs is the same
                if not program.exists():
                    raise
    return program


def _environment() -> dict[str, str]:
    libraries = _manager().parents[1] / "lib" / f"{os.uname().machine}-linux-gnu"
    return {**os.environ, "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": str(libraries)}
