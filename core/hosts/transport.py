"""How bytes reach a host's hostd: over SSH to its forced command, or over the UNIX socket of this very machine.

The interface is asyncio's protocol style (a callback per chunk) and not a stream pair: a call's answer then costs no
extra turn of the event loop. A transport is passed to the link, so that a simulator can pass another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import asyncssh
import attrs

from core.errors import Unavailable

RELAY: Final = "hostd relay"
"""What is asked for; the host's authorized_keys forces the same whatever is asked."""

CONNECT_TIMEOUT: Final = 10.0
"""Seconds until a host that does not answer a connection attempt counts as unreachable."""

KEEPALIVE_INTERVAL: Final = 3.0
KEEPALIVE_COUNT: Final = 2
"""A connection whose other end is silent is given up after the interval times (count + 1)."""

_STARTED_WITHIN: Final = 10.0
_START_POLL: Final = 0.05
_STDERR_KEPT: Final = 2000
_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr")


class Receiver(Protocol):
    """What a transport calls back, from the event loop."""

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, reason: str) -> None:
        """Called exactly once for a channel that was open; `reason` is in words."""


class Channel(Protocol):
    """An open way to hostd."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """At once, what is not sent yet is dropped. `connection_lost` follows."""


class Transport(Protocol):
    """Opens channels to one host's hostd."""

    async def open(self, receiver: Receiver) -> Channel:
        """Raises core.errors.Unavailable with the cause in words."""
        ...


@attrs.frozen(kw_only=True)
class SshTarget:
    """One host as SSH reaches it. Its key is pinned: what was seen at enrolment and nothing else."""

    address: str
    port: int = 22
    user: str = "root"
    key_path: Path
    """The controller's private key for this host, mode 0600."""
    host_key: str
    """The host's public key as an OpenSSH line: `ssh-ed25519 AAAA…`."""

    @property
    def name(self) -> str:
        """`user@address`, with the port where it is not 22."""
        return f"{self.user}@{self.address}" + (f":{self.port}" if self.port != 22 else "")


def fingerprint(public_key: str) -> str:
    """`SHA256:…` of an OpenSSH public key line. Raises Unavailable when it is none."""
    return asyncssh_key(public_key).get_fingerprint()


def asyncssh_key(public_key: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(public_key)
    except asyncssh.KeyImportError as bad:
        raise Unavailable(f"the pinned host key cannot be read: {bad}", hint="enrol the host again") from bad


class SshTransport:
    """One asyncssh connection with one channel, for calls; bulk bytes travel elsewhere (core/hosts/bulk)."""

    def __init__(
        self,
        target: SshTarget,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        keepalive_interval: float = KEEPALIVE_INTERVAL,
    ) -> None:
        self._target = target
        self._connect_timeout = connect_timeout
        self._keepalive_interval = keepalive_interval

    def __str__(self) -> str:
        return f"ssh {self._target.name}"

    async def open(self, receiver: Receiver) -> Channel:
        """Connect, check the host's key against the pinned one, authenticate, start the relay.

        Raises Unavailable; for a wrong host key its title names both fingerprints.
        """
        target = self._target
        pinned = asyncssh_key(target.host_key)
        witness = _KeyWitness()
        # The pinned key's algorithms come first, yet others are offered, so that a host whose key changed its type
        # gets as far as showing it.
        first = [name.decode() for name in pinned.sig_algorithms]
        others = [name for name in _HOST_KEY_ALGORITHMS if name not in first]
        try:
            connection = await asyncssh.connect(
                target.address,
                target.port,
                username=target.user,
                client_factory=lambda: witness,
                config=None,
                known_hosts=([pinned], [], []),
                server_host_key_algs=[*first, *others],
                client_keys=[str(target.key_path)],
                agent_path=None,
                preferred_auth="publickey",
                gss_kex=False,
                gss_auth=False,
                compression_algs=["none"],
                encryption_algs=_CIPHERS,
                keepalive_interval=self._keepalive_interval,
                keepalive_count_max=KEEPALIVE_COUNT,
                connect_timeout=self._connect_timeout,
                login_timeout=self._connect_timeout,
            )
        except asyncssh.HostKeyNotVerifiable as bad:
            raise _wrong_key(target, pinned, witness.seen) from bad
        except asyncssh.PermissionDenied as bad:
            raise key_not_accepted(target.name) from bad
        except TimeoutError as bad:
            raise Unavailable(
                f"{target.name} did not answer within {self._connect_timeout:g} s",
                hint="check that the host is up and reachable",
            ) from bad
        except (OSError, asyncssh.Error, ValueError) as bad:
            raise Unavailable(f"no SSH connection to {target.name}: {bad}", hint="check the host's sshd") from bad
        try:
            channel, _session = await connection.create_session(
                lambda: _SshSession(receiver, connection), RELAY, encoding=None
            )
        except (OSError, asyncssh.Error) as bad:
            connection.abort()
            raise Unavailable(f"{target.name} refused to start hostd's relay: {bad}") from bad
        except BaseException:  # a cancelled attempt must not leave its connection behind
            connection.abort()
            raise
        return _SshChannel(connection, channel)


_HOST_KEY_ALGORITHMS: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


class _KeyWitness(asyncssh.SSHClient):
    """Remembers the key of a host that showed another than the pinned one."""

    seen: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        # Asked only for a key that is not the pinned one.
        self.seen = key
        return False


def _wrong_key(target: SshTarget, pinned: asyncssh.SSHKey, seen: asyncssh.SSHKey | None) -> Unavailable:
    shown = seen.get_fingerprint() if seen else "another kind of key"
    return wrong_host_key(target.name, pinned=pinned.get_fingerprint(), shown=shown)


def wrong_host_key(name: str, *, pinned: str, shown: str) -> Unavailable:
    """The one wording of this error, for calls and for bulk."""
    return Unavailable(
        f"{name} shows host key {shown}, pinned is {pinned}",
        hint="if the host was reinstalled on purpose, remove it and add it again; otherwise somebody is in between",
    )


def key_not_accepted(name: str) -> Unavailable:
    return Unavailable(
        f"{name} does not accept the controller's key", hint=f"run `skydeck host add {name}` again to repair it"
    )


class _SshSession(asyncssh.SSHClientSession[bytes]):
    def __init__(self, receiver: Receiver, connection: asyncssh.SSHClientConnection) -> None:
        self._receiver = receiver
        self._connection = connection
        self._stderr = b""

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is None:
            self._receiver.data_received(data)
        else:
            self._stderr = (self._stderr + data)[-_STDERR_KEPT:]

    def connection_lost(self, exc: Exception | None) -> None:
        said = self._stderr.decode(errors="replace").strip().rpartition("\n")[2]
        self._receiver.connection_lost(said or (str(exc) if exc else "the host closed the connection"))
        # One channel is all this connection is for; a relay that ended alone would leave it open.
        self._connection.close()


class _SshChannel:
    def __init__(self, connection: asyncssh.SSHClientConnection, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._connection = connection
        self._channel = channel

    def write(self, data: bytes) -> None:
        # A channel that is closing has told its receiver, or will within this turn of the loop.
        if not self._channel.is_closing():
            self._channel.write(data)

    def close(self) -> None:
        self._connection.abort()


class UnixTransport:
    """The local host: the same protocol over hostd's socket."""

    def __init__(self, path: Path, *, starter: Sequence[str] | None = None) -> None:
        """`starter` is a command that brings hostd back when nobody answers at `path`."""
        self._path = path
        self._starter = starter

    def __str__(self) -> str:
        return f"unix {self._path}"

    async def open(self, receiver: Receiver) -> Channel:
        """Raises Unavailable when nobody listens, even after the starter ran."""
        try:
            return await self._connect(receiver)
        except (FileNotFoundError, ConnectionRefusedError) as absent:
            if self._starter is None:
                raise Unavailable(f"hostd does not listen on {self._path}", hint="start hostd") from absent
        await self._start(self._starter)
        try:
            async with asyncio.timeout(_STARTED_WITHIN):
                while True:
                    try:
                        return await self._connect(receiver)
                    except (FileNotFoundError, ConnectionRefusedError):
                        # A socket that does not exist yet cannot be awaited.
                        await asyncio.sleep(_START_POLL)
        except TimeoutError as bad:
            raise Unavailable(
                f"hostd was started and does not listen on {self._path} after {_STARTED_WITHIN:g} s",
                hint="look into hostd's log",
            ) from bad

    async def _start(self, argv: Sequence[str]) -> None:
        try:
            starting = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as bad:
            raise Unavailable(f"hostd cannot be started: {bad}", hint="check the installation") from bad
        # The starter may be hostd itself, which stays: it is reaped whenever it ends.
        reaper = asyncio.ensure_future(starting.wait())
        _starting.add(reaper)
        reaper.add_done_callback(_starting.discard)

    async def _connect(self, receiver: Receiver) -> Channel:
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_unix_connection(lambda: _UnixChannel(receiver), str(self._path))
        except PermissionError as bad:
            raise Unavailable(
                f"no permission for {self._path}", hint="run skydeck as root or as hostd's group"
            ) from bad
        return protocol


_starting: set[asyncio.Future[int]] = set()
"""Keeps the event loop from forgetting the waits for started commands."""


class _UnixChannel(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._receiver.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connection_lost(str(exc) if exc else "hostd closed the connection")

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self._transport.abort()
