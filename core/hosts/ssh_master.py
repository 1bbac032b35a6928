"""The second SSH connection of a host, in a process of its own: OpenSSH as a multiplexing master.

Its ciphers run outside of the engine's interpreter, so that an image on its way to one host delays no call to any.
Every stream is an `ssh -S` client whose standard input and output are one socket: the client hands that socket to the
master and the bytes never pass through Python. A client that finds no master, or one that is full (sshd's MaxSessions),
connects by itself under the same rules.

Everything here blocks: it is called from the bulk link's threads.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Final

from core.errors import Unavailable
from core.hosts.transport import (
    CONNECT_TIMEOUT,
    KEEPALIVE_COUNT,
    KEEPALIVE_INTERVAL,
    RELAY,
    SshTarget,
    fingerprint,
    key_not_accepted,
    wrong_host_key,
)

_ALIAS: Final = "host"
"""The name under which the pinned key stands in the private known_hosts, whatever the address."""

_CIPHERS: Final = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr"
_CONNECTED: Final = "connected"
_BUFFER: Final = 1024 * 1024
_STDERR_KEPT: Final = 4096


class ConnectionCut(Exception):
    """No connection, or no longer one: worth another try. The message says why, in words."""


class SshStream:
    """One relay on the host, as a connected socket; `why` tells how it ended."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self.sock = sock
        self._process = process

    def why(self, otherwise: str) -> str:
        """What ssh said when it ended, or `otherwise`. Waits for it to end, for a moment."""
        if self._process is None or self._process.stderr is None:
            return otherwise
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        # Not up to its end: the master holds this pipe as well.
        os.set_blocking(self._process.stderr.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            return _last_line(os.read(self._process.stderr.fileno(), _STDERR_KEPT)) or otherwise
        return otherwise

    def abort(self) -> None:
        """End it from another thread: whoever reads or writes finds it cut."""
        with contextlib.suppress(OSError):  # it ended by itself
            self.sock.shutdown(socket.SHUT_RDWR)
        if self._process is not None:
            # Not terminate: a waiting client does not hear it. The master drops the stream of a client that is gone.
            self._process.kill()

    def close(self) -> None:
        self.sock.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()


class SshMaster:
    """Starts the master when a stream is first wanted and again whenever it is gone."""

    def __init__(self, target: SshTarget) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        """Of the master's socket and the pinned key; made when first needed."""

    @property
    def pid(self) -> int | None:
        """The master's process id, None when there is none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def stream(self) -> SshStream:
        """A fresh relay. Raises ConnectionCut; Unavailable where another try is no use (keys)."""
        with self._lock:
            if self.pid is None:
                self._start()
            command = self._command()
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            client = subprocess.Popen(
                [*command, "-T", self._target.address, RELAY],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
            )
        return SshStream(ours, client)

    def close(self) -> None:
        """End the connection and all streams on it."""
        with self._lock:
            self._stop()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def _place(self) -> Path:
        if self._folder is None:
            # Short: a socket's path has 108 bytes at most. Private: whoever connects to the socket is on the host.
            self._folder = Path(tempfile.mkdtemp(prefix="skydeck-"))
            (self._folder / "known_hosts").write_text(f"{_ALIAS} {self._target.host_key}\n")
        return self._folder

    def _command(self) -> list[str]:
        target = self._target
        folder = self._place()
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(folder / "known_hosts"),
            "GlobalKnownHostsFile": "none",
            "HostKeyAlias": _ALIAS,
            "CheckHostIP": "no",
            "UpdateHostKeys": "no",
            "VerifyHostKeyDNS": "no",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PreferredAuthentications": "publickey",
            "Compression": "no",
            "Ciphers": _CIPHERS,
            "ConnectTimeout": f"{CONNECT_TIMEOUT:.0f}",
            "ServerAliveInterval": f"{KEEPALIVE_INTERVAL:.0f}",
            "ServerAliveCountMax": str(KEEPALIVE_COUNT),
            "IPQoS": "throughput",
            "EscapeChar": "none",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "LogLevel": "ERROR",
        }
        pairs = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        where = ["-S", str(folder / "master"), "-i", str(target.key_path), "-p", str(target.port)]
        return ["ssh", "-F", "none", *pairs, *where, "-l", target.user]

    def _start(self) -> None:
        self._stop()
        # ssh runs the local command once it is authenticated and listens for clients.
        ready = ["-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=echo {_CONNECTED}"]
        command = [*self._command(), *ready, "-M", "-N", self._target.address]
        (self._place() / "master").unlink(missing_ok=True)
        if setpriv := shutil.which("setpriv"):
            # A killed engine must not leave connections behind.
            command = [setpriv, "--pdeathsig", "TERM", *command]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != _CONNECTED.encode():
            _, said = self._process.communicate()
            self._process = None
            raise self._failure(said)

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        self._process.communicate()
        self._process = None

    def _failure(self, said: bytes) -> Exception:
        """What ssh's last words mean."""
        text = said.decode(errors="replace")
        name = self._target.name
        if "Host key verification failed" in text:
            shown = re.search(r"SHA256:[A-Za-z0-9+/]+", text)
            return wrong_host_key(
                name, pinned=fingerprint(self._target.host_key), shown=shown[0] if shown else "of another type"
            )
        if "Permission denied" in text:
            return key_not_accepted(name)
        if "UNPROTECTED PRIVATE KEY" in text:
            return Unavailable(f"the key {self._target.key_path} is readable by others", hint="chmod 600 it")
        return ConnectionCut(_last_line(said) or f"no SSH connection to {name}")


def _last_line(said: bytes | None) -> str:
    return (said or b"").decode(errors="replace").strip().rpartition("\n")[2].strip()
