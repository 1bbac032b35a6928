"""Images from host to host, so that twenty hosts do not queue at the controller.

hostd listens on no port, so the bytes go through the hosts' own sshd, under rules that the controller arranges anew for
each copy:

    taker   image_ask       makes a key pair for this one copy, and tells the public half
    giver   image_offer     lets that key in, for minutes, to do one thing: `hostd give DIGEST`
    taker   image_take      connects with it, to the giver's pinned host key, and verifies what comes by its digest
    giver   image_withdraw  takes the key's line out of authorized_keys again

A line that nobody withdrew is dead by itself (expiry-time), and swept with the next offer. The giver lets a key read
one image of its cache; what a taker is given it trusts no more than what a controller sends: the digest decides.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from hostd.cache import ImageCache
from hostd.spec import ErrorCode, HostError, Receive

OFFERED: Final = 3600
"""Seconds an offer lasts at most."""

CONNECT_TIMEOUT: Final = 10
_ALIVE: Final = 5
_CHUNK: Final = 1 << 20
_SAID: Final = 2000

_NAME: Final = re.compile(r"[0-9a-f-]{8,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_KEY: Final = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{60,80}={0,2}")
_HOST_KEY: Final = re.compile(r"(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_COMMENT: Final = "skydeck-give-"
_EXPIRES: Final = re.compile(r'expiry-time="(\d{14})Z"')
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/nonexistent"}


class Peers:
    """This host's part in copies from host to host. Thread-safe. Methods block and raise HostError."""

    def __init__(
        self,
        images: ImageCache,
        *,
        clock: Callable[[], float],
        authorized_keys: Callable[[], Path] | None = None,
    ) -> None:
        """`authorized_keys` finds the file that root's sshd reads."""
        self._images = images
        self._clock = clock
        self._authorized_keys = authorized_keys or keys_file
        self._keys = images.root / "peers"

    def act(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """One of PEER_ACTS; `copy` names this one copy on both hosts.

        `image_ask` reads {copy} and answers {public_key}; `image_offer` reads {copy, digest, public_key, seconds};
        `image_take` reads {copy, digest, size, address, port, host_key} and answers {bytes}, those that came;
        `image_withdraw` reads {copy}.
        """
        name = _text(args, "copy", _NAME)
        if verb == "image_ask":
            return {"public_key": self._ask(name)}
        if verb == "image_offer":
            seconds = min(int(args.get("seconds", OFFERED)), OFFERED)
            self._offer(name, _text(args, "digest", _DIGEST), _text(args, "public_key", _KEY), seconds)
            return {}
        if verb == "image_take":
            return {"bytes": self._take(name, args)}
        self._withdraw(name)
        return {}

    # ------------------------------------------------------------------ the taker

    def _ask(self, name: str) -> str:
        self._keys.mkdir(mode=0o700, exist_ok=True)
        path = self._keys / name
        if not path.exists():
            # A cut attempt may have left the public half alone.
            path.with_name(f"{name}.pub").unlink(missing_ok=True)
            _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{_COMMENT}{name}", "-f", str(path)])
        algorithm, data = path.with_name(f"{name}.pub").read_text().split()[:2]
        return f"{algorithm} {data}"

    def _take(self, name: str, args: dict[str, Any]) -> int:
        digest, size, port = _text(args, "digest", _DIGEST), int(args["size"]), int(args["port"])
        host_key, address = _text(args, "host_key", _HOST_KEY), _address(str(args["address"]))
        key = self._keys / name
        if not key.exists():
            raise HostError(ErrorCode.BAD_STATE, "this copy was not asked for, or is over")
        try:
            if not 0 < port < 1 << 16:
                raise HostError(ErrorCode.PROTOCOL, f"port {port}")
            with self._images.receive(Receive(digest=digest, size=size)) as incoming:
                came = 0
                if not incoming.complete:
                    known = self._keys / f"{name}.known"
                    known.write_text(f"giver {host_key}\n")
                    argv = _ssh(key, known, address=address, port=port, offset=incoming.offset)
                    for chunk in _output(argv):
                        incoming.write(chunk)
                        came += len(chunk)
                incoming.finish()
                return came
        finally:
            for path in self._keys.glob(f"{name}*"):
                path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ the giver

    def _offer(self, name: str, digest: str, public_key: str, seconds: int) -> None:
        self._images.path_of(digest)
        until = datetime.datetime.fromtimestamp(self._clock() + seconds, datetime.UTC)
        command = shlex.join([*_program(), "give", "--state", str(self._images.root.parent), digest])
        line = f'restrict,expiry-time="{until:%Y%m%d%H%M%S}Z",command="{command}" {public_key} {_COMMENT}{name}\n'
        self._rewrite(lambda lines: [*self._without(lines, name), line])

    def _withdraw(self, name: str) -> None:
        self._rewrite(lambda lines: self._without(lines, name))

    def _without(self, lines: list[str], name: str) -> list[str]:
        """All lines but this copy's, and those of copies whose time is over; everybody else's stay byte for byte."""
        at = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC).strftime("%Y%m%d%H%M%S")

        def stays(line: str) -> bool:
            comment = (line.split() or [""])[-1]
            if not comment.startswith(_COMMENT):
                return True
            expires = _EXPIRES.search(line)
            return comment != f"{_COMMENT}{name}" and expires is not None and expires[1] > at

        return [line for line in lines if stays(line)]

    def _rewrite(self, change: Callable[[list[str]], list[str]]) -> None:
        path = self._authorized_keys()
        self._keys.mkdir(mode=0o700, exist_ok=True)
        with _alone(self._keys / "lock"):
            try:
                text, mode = path.read_text(), path.stat().st_mode & 0o777
            except FileNotFoundError:
                text, mode = "", 0o600
            if text and not text.endswith("\n"):
                text += "\n"
            after = "".join(change(text.splitlines(keepends=True)))
            if after == text:
                return
            handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".authorized_keys.")
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(after)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                os.replace(partial, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(partial)
                raise


def give(state: Path, digest: str, *, asked: str) -> int:
    """`hostd give DIGEST`: an image of the cache to standard output, from byte `asked` on; the exit code."""
    path = state / "images" / digest
    offset = int(asked) if asked.isascii() and asked.isdecimal() else 0
    if not _DIGEST.fullmatch(digest) or not path.is_file():
        sys.stderr.write("this host does not have that image\n")
        return 1
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK):
            left = memoryview(chunk)
            while left:
                left = left[os.write(1, left) :]
    return 0


def keys_file() -> Path:
    """Where root's sshd reads keys (sshd_config(5), AuthorizedKeysFile). Raises HostError when it reads no file."""
    told = _run(["sshd", "-T", "-C", "user=root,host=localhost,addr=127.0.0.1"])
    patterns = next((line.split()[1:] for line in told.splitlines() if line.startswith("authorizedkeysfile ")), [])
    pattern = next((one for one in patterns if one != "none"), None)
    if pattern is None:
        raise HostError(ErrorCode.BAD_STATE, "sshd on this host reads no authorized_keys")
    home = Path("/root")
    for token, value in (("%h", str(home)), ("%u", "root"), ("%U", "0"), ("%%", "%")):
        pattern = pattern.replace(token, value)
    return home / pattern


def _program() -> list[str]:
    """How this hostd is started: its bundle, or the package it is in."""
    bundle = Path(__file__).resolve().parent.parent
    return [str(bundle)] if bundle.is_file() else [sys.executable, "-m", "hostd"]


def _ssh(key: Path, known: Path, *, address: str, port: int, offset: int) -> list[str]:
    options = {
        "BatchMode": "yes",
        "ClearAllForwardings": "yes",
        "Compression": "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT),
        "ForwardAgent": "no",
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": "giver",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "LogLevel": "ERROR",
        "PreferredAuthentications": "publickey",
        "ServerAliveCountMax": "3",
        "ServerAliveInterval": str(_ALIVE),
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known),
    }
    told = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-T", *told, "-i", str(key), "-p", str(port), "-l", "root", "--", address, str(offset)]


def _output(argv: list[str]) -> Iterator[memoryview]:
    """What a program writes. Raises HostError, with what it said, when it fails."""
    _there(argv[0])
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=_ENVIRONMENT
        ) as process:
            assert process.stdout is not None
            buffer = memoryview(bytearray(_CHUNK))
            try:
                while count := process.stdout.readinto(buffer):  # type: ignore[attr-defined]
                    yield buffer[:count]
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            said.seek(0)
            last = said.read(_SAID).decode(errors="replace").strip().rpartition("\n")[2]
            raise HostError(ErrorCode.INTERNAL, f"the other host does not give it: {last or process.returncode}")


def _run(argv: list[str]) -> str:
    _there(argv[0])
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, env=_ENVIRONMENT, check=False
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise HostError(ErrorCode.INTERNAL, f"{argv[0]} failed: {said or done.returncode}")
    return done.stdout.decode(errors="replace")


def _there(tool: str) -> None:
    if shutil.which(tool, path=_ENVIRONMENT["PATH"]) is None:
        raise HostError(ErrorCode.INTERNAL, f"{tool} is not installed on this host", hint="install OpenSSH")


def _text(args: dict[str, Any], key: str, shape: re.Pattern[str]) -> str:
    value = str(args.get(key, ""))
    if not shape.fullmatch(value):
        raise HostError(ErrorCode.PROTOCOL, f"{key} is {value[:80]!r}")
    return value


def _address(text: str) -> str:
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text))
    if not _HOST_NAME.fullmatch(text):
        raise HostError(ErrorCode.PROTOCOL, f"{text[:80]!r} is no address")
    return text


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
