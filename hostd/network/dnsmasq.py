"""One network's DHCP server as a process: started, told of changes, found again, stopped.

The server outlives hostd. What it runs with is read back from its command line, so nothing that a
crash could leave half-written decides whether it is the right one.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import attrs

from hostd.network import dhcp, namespaces
from hostd.spec import ErrorCode, HostError, NetworkSpec

STOP_SECONDS = 5


@attrs.frozen(kw_only=True)
class ServerSeen:
    """A DHCP server as found."""

    pid: int | None
    """None when none runs."""
    digest: str
    """Of the configuration it was started with; empty when none runs."""
    hosts: dict[str, str]
    """The files of its hosts directory."""
    stale: bool
    """A lease was taken away and the server was perhaps not told."""


class Server:
    """The DHCP server of one network, with its files in `directory` (of the run directory: gone after a reboot)."""

    def __init__(self, directory: Path, *, namespace: str) -> None:
        self._directory = directory
        self._namespace = namespace
        self._hosts = directory / "hosts"
        self._pid_file = directory / "dnsmasq.pid"
        self._stale = directory / "stale"

    def configuration(self, spec: NetworkSpec) -> str:
        """What the server of this network is to be started with. Raises ValueError."""
        return dhcp.configuration(spec, hosts_directory=str(self._hosts), pid_file=str(self._pid_file))

    def seen(self) -> ServerSeen:
        files = {}
        with suppress(FileNotFoundError):
            files = {file.name: file.read_text() for file in self._hosts.iterdir() if not file.name.startswith(".")}
        pid = self._pid()
        return ServerSeen(
            pid=pid,
            digest="" if pid is None else self._running_digest(pid),
            hosts=files,
            stale=self._stale.exists(),
        )

    def apply(self, spec: NetworkSpec) -> None:
        """Have the right server run with the right leases. A new lease costs one small file and no restart.

        Raises HostError(NETWORK) with dnsmasq's words when it does not start.
        """
        self._hosts.mkdir(parents=True, exist_ok=True)
        for directory in (self._hosts, self._directory):
            directory.chmod(0o755)  # dnsmasq reads them as nobody
        seen = self.seen()
        self._write_hosts(dhcp.hosts(spec), seen.hosts)
        text = self.configuration(spec)
        if seen.pid is None or seen.digest != dhcp.digest(text):
            self.stop()
            self._start(text)
        elif self._stale.exists():
            os.kill(seen.pid, signal.SIGHUP)
        self._stale.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the server; the files stay. Fine when none runs."""
        pid = self._pid()
        if pid is None:
            return
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                if not select.select([descriptor], [], [], STOP_SECONDS)[0]:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    select.select([descriptor], [], [], STOP_SECONDS)
            finally:
                os.close(descriptor)

    def _start(self, text: str) -> None:
        for old in self._directory.glob("dnsmasq-*.conf"):
            old.unlink()
        file = self._directory / f"dnsmasq-{dhcp.digest(text)}.conf"
        file.write_text(text)
        file.chmod(0o644)
        namespace = f"--net={namespaces.path(self._namespace)}"
        # It answers for its start: dnsmasq goes to the background when it listens, and says why when it cannot.
        done = subprocess.run(
            ["nsenter", namespace, "--", "dnsmasq", f"--conf-file={file}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise HostError(ErrorCode.NETWORK, f"the DHCP server did not start: {done.stderr.strip()}")

    def _write_hosts(self, wanted: dict[str, str], present: dict[str, str]) -> None:
        for name in present.keys() - wanted.keys():
            self._stale.touch()  # first: a crash between here and the signal must not keep the lease alive
            (self._hosts / name).unlink(missing_ok=True)
        for name, text in wanted.items():
            if present.get(name) == text:
                continue
            if name in present:
                self._stale.touch()  # the server adds what a changed file says, and forgets only at SIGHUP
            partial = self._hosts / f".{name}"  # dnsmasq passes over names that begin with a dot
            partial.write_text(text)
            partial.chmod(0o644)
            partial.replace(self._hosts / name)

    def _pid(self) -> int | None:
        """The running server, if the process that the pid file names is one of this directory's."""
        try:
            pid = int(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._running_digest(pid) else None

    def _running_digest(self, pid: int) -> str:
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            return ""
        prefix = f"--conf-file={self._directory}/dnsmasq-"
        return next(
            (word.removeprefix(prefix).removesuffix(".conf") for word in arguments if word.startswith(prefix)), ""
        )
