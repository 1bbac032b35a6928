"""A real iSCSI target daemon in a directory, on loopback or another address of this network namespace.

    with Tgt(directory) as tgt:
        tgt.options                 # of a backend `iscsi`
        tgt.kill(); tgt.start()     # it comes back without anything

Ready when the block returns; gone with it, and with this process. Needs root.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.lab.ports import free_port

_PATIENCE: Final = 20.0


class TgtError(Exception):
    """The daemon did not come up; the message holds its words."""


class Tgt:
    """One daemon, and the files it serves."""

    def __init__(self, directory: Path, *, address: str = "127.0.0.1") -> None:
        self.directory = directory.resolve()
        self.address = address
        self.port = free_port(address)
        self.path = self.directory / "files"
        """Where a backend may put them."""
        self._control = str(self.port % 32767 + 1)
        """No real port: what tells this machine's daemons apart, 0 to 32767. 0 is the system's own."""
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, str]:
        return {"portal": f"{self.address}:{self.port}", "path": str(self.path), "control": self._control}

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def start(self) -> None:
        """Raises TgtError."""
        notice = self.directory / "notice"
        log = self.directory / "tgtd.log"
        notice.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, log.open("wb") as output:
            told.bind(str(notice))
            told.settimeout(_PATIENCE)
            self._daemon = subprocess.Popen(
                # It ends with us, however we end.
                ["setpriv", "--pdeathsig", "KILL", "tgtd", "--foreground", "-C", self._control,
                 "--iscsi", f"portal={self.address}:{self.port}"],
                env={**os.environ, "NOTIFY_SOCKET": str(notice)}, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output,
            )  # fmt: skip
            try:
                while b"READY=1" not in told.recv(4096):
                    pass
            except TimeoutError as late:
                self.kill()
                raise TgtError(f"tgtd does not come up: {log.read_text()}") from late

    def kill(self) -> None:
        """End it, as a crash does. Without a daemon, nothing happens."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None
