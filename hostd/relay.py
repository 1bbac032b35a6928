"""`hostd relay`: stdin and stdout to the daemon's socket; the forced command of the controller's SSH key.

Every connection of every controller begins with this process, so it starts in milliseconds: nothing but
the standard library, and little of that. Where no systemd looks after the daemon, a relay that finds it
dead starts it: a killed hostd comes back with the controller's next attempt.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import threading
import time

UNIT = "skydeck-hostd.service"
"""What `skydeck host add` installs where systemd runs."""

RUN = "/run/skydeck"
STATE = "/var/lib/skydeck"

PATIENCE = 15.0
"""Seconds for the daemon to come up."""

LOG_KEPT = 8 << 20
"""Bytes of the daemon's log before it is turned over at a start."""

_BUFFER = 1 << 20


def main(options: list[str]) -> int:
    """Carry bytes until the daemon ends the connection. `options` are those of `hostd serve`."""
    path = os.path.join(_option(options, "--run", RUN), "hostd.sock")
    sock = _connect(path)
    if sock is None:
        sock = _revive(path, options)
    if sock is None:
        sys.stderr.write(f"hostd does not answer on {path} after {PATIENCE:.0f} s\n")
        return 1
    for pipe in (0, 1):
        # A pipe holds 64 KiB unless asked: an image would wake this process for each of them.
        with contextlib.suppress(OSError):  # not a pipe
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _BUFFER)
    threading.Thread(target=_send, args=(sock,), daemon=True).start()
    _receive(sock)
    # Not `return`: the other thread may sit in a read of stdin for as long as the client likes.
    os._exit(0)


def _connect(path: str) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return sock


def _send(sock: socket.socket) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    try:
        while count := os.readv(0, [buffer]):
            sock.sendall(buffer[:count])
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the daemon hung up: what it said last is still on its way out


def _receive(sock: socket.socket) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    try:
        while count := sock.recv_into(buffer):
            rest = buffer[:count]
            while rest:
                rest = rest[os.write(1, rest) :]
    except OSError:
        pass  # the client hung up


def _option(options: list[str], name: str, default: str) -> str:
    for at, option in enumerate(options):
        if option == name and at + 1 < len(options):
            return options[at + 1]
        if option.startswith(name + "="):
            return option.partition("=")[2]
    return default


def _kept_by_systemd() -> bool:
    if not os.path.isdir("/run/systemd/system"):
        return False
    import subprocess

    return subprocess.run(["systemctl", "is-enabled", "--quiet", UNIT], check=False).returncode == 0


def _start(options: list[str]) -> None:
    """Start the daemon in its own session."""
    import subprocess

    package = os.path.dirname(os.path.abspath(__file__))
    bundle = os.path.dirname(package)
    program = ["-I", bundle] if os.path.isfile(bundle) else ["-m", "hostd"]
    state = _option(options, "--state", STATE)
    os.makedirs(state, mode=0o711, exist_ok=True)
    log = os.path.join(state, "hostd.log")
    if os.path.exists(log) and os.path.getsize(log) > LOG_KEPT:
        os.replace(log, log + ".1")
    environment = {name: value for name, value in os.environ.items() if name != "SKYDECK_CRASH"}
    with open(log, "ab") as output:
        subprocess.Popen(
            [sys.executable, *program, "serve", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


def _revive(path: str, options: list[str]) -> socket.socket | None:
    """Wait for the daemon, and start it unless systemd or another relay does."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    lock = os.open(os.path.join(os.path.dirname(path), "start.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    ours = False
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            if (sock := _connect(path)) is not None:
                return sock
            if not ours and (ours := _locked(lock)) and not _kept_by_systemd():
                _start(options)
            time.sleep(0.02)
        return None
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
