"""One network's dnsmasq as a process: its files, started, told of changes, found again, stopped.

The server outlives hostd. What it runs with is read back from its command line and its namespace, and a mark
says that all it was to be told was told: the mark goes before anything is changed and comes back after.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import attrs

from hostd.network import namespaces
from hostd.network.services.configuration import Files
from hostd.spec import ErrorCode, HostError

STOPPING: Final = 5.0
"""Seconds until a server that does not end is killed."""

STARTING: Final = 20.0
"""Seconds until a server that does not say whether it listens is given up."""

_NAMES: Final = "network"
"""The one hosts file, in a directory of its own: dnsmasq watches directories and not files."""


@attrs.frozen(kw_only=True)
class Told:
    """All that a server is told."""

    configuration: str
    leases: dict[str, str]
    """The files of its leases directory."""
    hosts: str

    @property
    def digest(self) -> str:
        """Names the configuration: a server's command line then says which one it was started with."""
        return hashlib.sha256(self.configuration.encode()).hexdigest()[:12]

    def mark(self, leg: int) -> str:
        """Names everything, and the service leg by its index: on one that replaced its own a server hears nothing."""
        total = hashlib.sha256(f"{self.configuration}\0{self.hosts}".encode())
        for name, text in sorted(self.leases.items()):
            total.update(f"\0{name}\0{text}".encode())
        return f"{total.hexdigest()} {leg}"


@attrs.frozen(kw_only=True)
class ServerSeen:
    """A server as found."""

    pid: int | None = None
    """None when none runs in the network's namespace."""
    digest: str = ""
    """Of the configuration it was started with."""
    mark: str = ""
    """Of what it was told last, completely; empty when that is not known."""
    way_out: str | None = None
    """The gateway of its namespace."""
    leases: dict[str, str] | None = None
    """None when they were not read."""
    hosts: str | None = None


class Server:
    """The dnsmasq of one network, with its files in `directory` (of the run directory: gone after a reboot)."""

    def __init__(self, directory: Path, *, namespace: str) -> None:
        self._directory = directory
        self.namespace = namespace
        self.files = Files(leases=directory / "leases", names=directory / "names", pid=directory / "dnsmasq.pid")
        self._mark = directory / "told"

    def seen(self, *, deep: bool) -> ServerSeen:
        """Deep: with the files it was told from."""
        found = ServerSeen(mark=_text(self._mark))
        process = self._process()
        if process is not None and _namespace_of(process[0]) == _inode(namespaces.path(self.namespace)):
            found = attrs.evolve(found, pid=process[0], digest=process[1], way_out=_way_out(process[0]))
        return attrs.evolve(found, leases=self._leases(), hosts=_text(self.files.names / _NAMES)) if deep else found

    def write(self, told: Told) -> bool:
        """Put the files in place. Whether a running server must be told: it adds by itself, and forgets only then."""
        forgets = not self._mark.exists()
        self._mark.unlink(missing_ok=True)
        for directory in (self._directory, self.files.leases, self.files.names):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o755)  # dnsmasq reads them as nobody
        present = self._leases()
        for name in present.keys() - told.leases.keys():
            (self.files.leases / name).unlink(missing_ok=True)
            forgets = True
        for name, text in told.leases.items():
            if present.get(name) != text:
                _publish(self.files.leases / name, text)
                forgets = forgets or name in present
        if _text(self.files.names / _NAMES) != told.hosts:
            _publish(self.files.names / _NAMES, told.hosts)
        return forgets

    def reread(self, pid: int) -> None:
        """Have it forget what its files no longer say."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)

    def mark(self, mark: str) -> None:
        """All of it was told."""
        _publish(self._mark, mark)

    def launch(self, told: Told | None = None) -> subprocess.Popen[str]:
        """Begin to start it, with a new configuration or the one it last had; `started` waits for the outcome.

        Raises HostError(NETWORK) when there is no configuration, no namespace or no dnsmasq.
        """
        if told is not None:
            for old in self._directory.glob("dnsmasq-*.conf"):
                old.unlink()
            _publish(self._directory / f"dnsmasq-{told.digest}.conf", told.configuration)
        file = next(self._directory.glob("dnsmasq-*.conf"), None)
        if file is None:
            raise HostError(ErrorCode.NETWORK, f"dnsmasq in {self.namespace}: it never had a configuration")
        try:
            with namespaces.inside(self.namespace):
                # It answers for its start: dnsmasq goes to the background when it listens, and says why when it cannot.
                return subprocess.Popen(
                    ["dnsmasq", f"--conf-file={file}"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
        except OSError as bad:
            raise HostError(ErrorCode.NETWORK, f"dnsmasq in {self.namespace} did not start: {bad}") from bad

    def started(self, process: subprocess.Popen[str]) -> int:
        """The pid of the server that `launch` began. Raises HostError(NETWORK) with dnsmasq's words."""
        try:
            _, words = process.communicate(timeout=STARTING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            words = f"no answer in {STARTING:.0f} s"
        running = self._process()
        if process.returncode != 0 or running is None:
            raise HostError(ErrorCode.NETWORK, f"dnsmasq in {self.namespace} did not start: {words.strip()}")
        return running[0]

    def pid(self) -> int | None:
        """The running server, in whatever namespace."""
        process = self._process()
        return None if process is None else process[0]

    def _leases(self) -> dict[str, str]:
        try:
            names = os.listdir(self.files.leases)
        except FileNotFoundError:
            return {}
        return {name: _text(self.files.leases / name) for name in names if not name.startswith(".")}

    def _process(self) -> tuple[int, str] | None:
        """Pid and digest, if the process that the pid file names is one of this directory's."""
        try:
            pid = int(self.files.pid.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        prefix = f"--conf-file={self._directory}/dnsmasq-"
        file = next((word for word in arguments if word.startswith(prefix)), None)
        return None if file is None else (pid, file.removeprefix(prefix).removesuffix(".conf"))


def stop(pids: Iterable[int]) -> None:
    """End these servers, all at once. One that is gone is fine."""
    with contextlib.ExitStack() as stack:
        ending = {}
        for pid in pids:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                ending[descriptor] = pid
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        for last in (signal.SIGKILL, None):
            until = time.monotonic() + STOPPING
            while ending and (left := until - time.monotonic()) > 0:
                for descriptor in select.select(list(ending), [], [], left)[0]:
                    del ending[descriptor]
            for descriptor in ending if last is not None else ():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def _publish(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}")  # dnsmasq passes over names that begin with a dot
    partial.write_text(text)
    partial.chmod(0o644)
    partial.replace(path)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _namespace_of(pid: int) -> int | None:
    return _inode(Path(f"/proc/{pid}/ns/net"))


def _way_out(pid: int) -> str | None:
    """The default route of the namespace a process is in (proc(5), net/route: addresses in the host's byte order)."""
    with suppress(FileNotFoundError, ProcessLookupError, OSError):
        for line in Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1] == fields[7] == "00000000":
                return str(IPv4Address(int(fields[2], 16).to_bytes(4, "little")))
    return None
