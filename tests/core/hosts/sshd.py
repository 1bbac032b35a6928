"""A real sshd on loopback with keys of its own, whose only command is a relay to a UNIX socket."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from core.hosts.transport import SshTarget

RELAY = Path(__file__).with_name("relay.py")


def make_key(path: Path) -> str:
    """A fresh ed25519 key pair at `path`; returns the public line without its comment."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip()


@attrs.frozen(kw_only=True)
class Sshd:
    """A running server, and the target that reaches it."""

    target: SshTarget
    pid: int

    def sessions(self) -> list[int]:
        """Process ids of all it has forked: one or two for each connection, and their commands."""
        return list(_descendants(self.pid))

    def cut(self) -> None:
        """Every connection dies as if its process was killed, which it was."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Connections stay open and nothing answers on them."""
        pids = self.sessions()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _descendants(int(child))
            yield int(child)


@contextlib.contextmanager
def running_sshd(folder: Path, hostd_socket: Path, *, relay: str | None = None) -> Iterator[Sshd]:
    """An sshd that is gone, with all of its sessions, when the context ends."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    host_key = make_key(folder / "host_key")
    client_key = make_key(folder / "client_key")
    forced = relay or shlex.join([sys.executable, "-SE", str(RELAY), str(hostd_socket)])
    (folder / "authorized_keys").write_text(f'restrict,command="{forced}" {client_key}\n')
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"""ListenAddress 127.0.0.1:{port}
HostKey {folder / "host_key"}
AuthorizedKeysFile {folder / "authorized_keys"}
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
"""
    )
    sshd = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.PIPE, start_new_session=True
    )
    assert sshd.stderr is not None
    try:
        for line in sshd.stderr:
            if b"Server listening" in line:
                break
        else:
            raise RuntimeError("sshd did not start")
        # Nobody reads on; the log is small and the pipe is closed with the server.
        yield Sshd(
            target=SshTarget(
                address="127.0.0.1",
                port=port,
                user=getpass.getuser(),
                key_path=folder / "client_key",
                host_key=host_key,
            ),
            pid=sshd.pid,
        )
    finally:
        for pid in [*_descendants(sshd.pid), sshd.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sshd.wait()
        sshd.stderr.close()
