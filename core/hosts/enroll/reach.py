"""The way in: a host's key is fetched, shown and agreed on before anything else is said to it."""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import asyncssh
import attrs

from core.errors import Conflict, Invalid, Refused, Unavailable
from core.hosts.enroll.report import Ask
from core.hosts.enroll.target import COMMAND_TIMEOUT, Lost, Result
from core.hosts.transport import CONNECT_TIMEOUT, KEEPALIVE_COUNT, KEEPALIVE_INTERVAL

KEY_KINDS: Final = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""Host keys, best first. One is asked for at a time: a server shows only one key of those it is asked for."""


@attrs.frozen(kw_only=True)
class Address:
    """Where sshd listens, and who logs in."""

    host: str
    port: int
    user: str

    @property
    def name(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


# ---------------------------------------------------------------------------- the host's key


def agree(
    shown: Sequence[asyncssh.SSHKey], *, name: str, pinned: str, wanted: str | None, assume_yes: bool, ask: Ask
) -> asyncssh.SSHKey:
    """Which of the keys that the host shows is its key from now on.

    `wanted` (--host-key) decides alone, being a fingerprint or a public key line; else the key `pinned` at an earlier
    enrolment; else the person. `--yes` does not stand for a look at a fingerprint. Raises Conflict, Refused.
    """
    prints = ", ".join(f"{key.get_fingerprint()} ({key.get_algorithm()})" for key in shown)
    if wanted is not None:
        for key in shown:
            if _is(key, wanted):
                return key
        raise Conflict(
            f"{name} shows host key {prints}, and --host-key says {_short(wanted)}",
            hint="Read the right one at the host itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )
    if pinned:
        for key in shown:
            if _is(key, pinned):
                return key
        raise Conflict(
            f"{name} shows host key {prints}, pinned is {_short(pinned)}",
            hint="Somebody may be in between. If the host was reinstalled on purpose, say so with --host-key and the "
            "new fingerprint.",
        )
    best = shown[0]
    if assume_yes:
        raise Refused(
            f"{name} shows host key {best.get_fingerprint()}, and --yes does not say that it is the right one",
            hint="Give it with --host-key, once read at the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )
    question = f"{name} shows host key {best.get_fingerprint()} ({best.get_algorithm()}).\nIs that the right one?"
    if not ask(question):
        raise Refused(f"the host key of {name} was not accepted", hint="Nothing was changed.")
    return best


def public_line(key: asyncssh.SSHKey) -> str:
    """`ssh-ed25519 AAAA…`: what is pinned."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def _is(key: asyncssh.SSHKey, wanted: str) -> bool:
    if wanted.startswith("SHA256:"):
        return key.get_fingerprint() == wanted.rstrip("=")
    return public_line(key) == " ".join(wanted.split()[:2])


def _short(wanted: str) -> str:
    return wanted if wanted.startswith("SHA256:") else asyncssh.import_public_key(wanted).get_fingerprint()


def check_wanted(wanted: str | None) -> None:
    """Raises Invalid for a --host-key that is neither a fingerprint nor a public key line."""
    if wanted is None or wanted.startswith("SHA256:"):
        return
    try:
        asyncssh.import_public_key(wanted)
    except asyncssh.KeyImportError as bad:
        raise Invalid(
            f"--host-key {wanted[:40]!r} is neither a fingerprint nor a public key",
            hint="A fingerprint looks like SHA256:…, a public key like `ssh-ed25519 AAAA…`.",
        ) from bad


async def shown_keys(address: Address, *, pinned: str = "", wanted: str | None = None) -> list[asyncssh.SSHKey]:
    """The host's keys: all of them when one particular key is looked for, else the best one.

    Raises Unavailable saying how far it came: name, connection, or SSH.
    """
    await _connects(address)
    keys: list[asyncssh.SSHKey] = []
    why = ""
    for kinds in KEY_KINDS:
        try:
            key = await asyncssh.get_server_host_key(
                address.host,
                address.port,
                config=None,
                server_host_key_algs=list(kinds),
            )
        except (OSError, TimeoutError, asyncssh.Error) as bad:
            # A server without a key of this kind hangs up, as one that does not speak SSH does.
            why = f"{bad}" or "no answer"
            if isinstance(bad, TimeoutError):
                break
            continue
        if key is not None:
            keys.append(key)
            if pinned == "" and wanted is None:
                break
    if not keys:
        raise Unavailable(
            f"{address.host} port {address.port} takes connections and shows no SSH host key: {why}",
            hint="Is that sshd's port (--port)? If it is, look into sshd's log; ssh-keygen -A makes missing host keys.",
        )
    return keys


async def _connects(address: Address) -> None:
    """DNS and TCP on their own, so that the message can tell them from SSH."""
    loop = asyncio.get_running_loop()
    try:
        await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as bad:
        raise Unavailable(
            f"the name {address.host!r} is not known: {bad.strerror}",
            hint="Check its spelling, or give the IP address.",
        ) from bad
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except TimeoutError as bad:
        raise Unavailable(
            f"{address.host} port {address.port} does not answer within {CONNECT_TIMEOUT:g} s",
            hint="Is the host up, and does a firewall let this port through?",
        ) from bad
    except OSError as bad:
        raise Unavailable(
            f"{address.host} port {address.port} cannot be connected to: {bad.strerror or bad}",
            hint="Does sshd run there? Another port is given with --port.",
        ) from bad
    writer.close()


# ---------------------------------------------------------------------------- the user's keys


async def _login(address: Address, host_key: asyncssh.SSHKey, identity: Path | None) -> asyncssh.SSHClientConnection:
    agent: asyncssh.SSHAgentClient | None = None
    offered: list[asyncssh.SSHKeyPair] = []
    tried: list[str] = []
    if identity is not None:
        try:
            offered = list(asyncssh.load_keypairs(identity))
        except (OSError, asyncssh.KeyImportError) as bad:
            raise Unavailable(
                f"the key {identity} cannot be used: {bad}",
                hint="A key with a passphrase is taken from ssh-agent: ssh-add it, and leave --identity out.",
            ) from bad
        tried = [f"{identity}"]
    else:
        try:
            agent = await asyncssh.connect_agent()
            for pair in await agent.get_keys():
                offered.append(pair)
                tried.append(f"{pair.get_comment() or pair.get_algorithm()} (agent)")
        except (OSError, ValueError, asyncssh.Error):
            tried.append("no agent")
        for file in sorted((Path.home() / ".ssh").glob("id_*")):
            if file.suffix == ".pub":
                continue
            try:
                offered += asyncssh.load_keypairs(file)
                tried.append(f"~/.ssh/{file.name}")
            except asyncssh.KeyImportError:
                tried.append(f"~/.ssh/{file.name} (has a passphrase: ssh-add it)")
            except OSError:
                tried.append(f"~/.ssh/{file.name} (unreadable)")
    try:
        return await asyncssh.connect(
            address.host,
            address.port,
            username=address.user,
            config=None,
            known_hosts=([host_key], [], []),
            server_host_key_algs=[name.decode() for name in host_key.sig_algorithms],
            client_keys=offered,
            agent_path=None,
            preferred_auth="publickey",
            gss_kex=False,
            gss_auth=False,
            keepalive_interval=KEEPALIVE_INTERVAL,
            keepalive_count_max=KEEPALIVE_COUNT,
            connect_timeout=CONNECT_TIMEOUT,
            login_timeout=CONNECT_TIMEOUT,
        )
    except asyncssh.PermissionDenied as bad:
        raise Unavailable(
            f"{address.name} takes none of your keys; tried: {', '.join(tried)}",
            hint=f"Give it yours once: ssh-copy-id {'' if address.port == 22 else f'-p {address.port} '}"
            f"{address.user}@{address.host}; or name another with --identity.",
        ) from bad
    except asyncssh.HostKeyNotVerifiable as bad:
        raise Conflict(
            f"{address.name} showed another host key than a moment before", hint="Somebody may be in between."
        ) from bad
    except (OSError, TimeoutError, asyncssh.Error) as bad:
        raise Unavailable(
            f"no SSH login at {address.name}: {bad or 'no answer'}", hint="Look into its sshd's log."
        ) from bad
    finally:
        if agent is not None:
            agent.close()
            await agent.wait_closed()


class RemoteTarget:
    """A host over one SSH connection, with the user's own rights there. For one thread, which runs no event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._runner = asyncio.Runner()
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def name(self) -> str:
        return self.address.name

    def shown_keys(self, *, pinned: str = "", wanted: str | None = None) -> list[asyncssh.SSHKey]:
        """As the function of this name."""
        return self._runner.run(shown_keys(self.address, pinned=pinned, wanted=wanted))

    def login(self, host_key: asyncssh.SSHKey, *, identity: Path | None) -> None:
        """Connect to the host that holds `host_key`. Raises Unavailable naming the keys tried, Conflict."""
        self._connection = self._runner.run(_login(self.address, host_key, identity))

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = COMMAND_TIMEOUT) -> Result:
        """Raises Lost."""
        return self._runner.run(self._run(shlex.join(argv), input=input, timeout=timeout))

    async def _run(self, command: str, *, input: bytes, timeout: float) -> Result:
        assert self._connection is not None
        try:
            # asyncssh takes empty input for none at all, and leaves the command waiting for more.
            stdin: dict[str, Any] = {"input": input} if input else {"stdin": asyncssh.DEVNULL}
            done = await self._connection.run(command, encoding=None, timeout=timeout, **stdin)
        except TimeoutError as late:
            raise Lost(f"{self.name} did not finish a command within {timeout:g} s") from late
        except (OSError, asyncssh.Error) as cut:
            raise Lost(f"the connection to {self.name} was cut: {cut}") from cut
        status = -1 if done.returncode is None else done.returncode
        return Result(status=status, out=_text(done.stdout), err=_text(done.stderr))

    def __enter__(self) -> RemoteTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._connection is not None:
                self._connection.close()
                self._runner.run(self._connection.wait_closed())
        finally:
            self._runner.close()


def _text(output: bytes | str | None) -> str:
    if isinstance(output, bytes):
        return output.decode(errors="replace")
    return output or ""
