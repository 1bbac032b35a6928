"""The system's ssh, brought to an instance: by an address that answers from here, else through its host.

Through the host means ProxyCommand: `skydeck server tunnel`, which carries the connection over the host link into the
instance's network. An instance's host key is remembered under its id, because addresses are given out again.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.consoles.ways import Target, Way

PORT = 22

PATIENCE = 1.5
"""Seconds an address gets to answer before the next way is tried."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Login:
    """What the person asked for."""

    user: str | None = None
    """None: as the image says, and else as ssh does."""
    port: int = PORT
    options: Sequence[str] = ()
    """Arguments for ssh, before ours: of two of the same, ssh takes the first."""
    command: Sequence[str] = ()
    through_host: bool = False
    """Do not look for an address that answers from here."""


def choose(target: Target, login: Login) -> Way:
    """The first way that answers; those from inside its network are not tried, ssh itself will say. Blocks."""
    for way in target.ways:
        if way.kind == "inside":
            return way
        if not login.through_host and _answers(way.address, login.port):
            return way
    return target.ways[-1]


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def arguments(target: Target, way: Way, login: Login, *, project_id: str) -> list[str]:
    """ssh and its arguments."""
    options = [*login.options]
    user = login.user or target.user
    if user:
        options += ["-l", user]
    options += ["-p", str(login.port)]
    for option in (f"HostKeyAlias=skydeck-{target.id}", "CheckHostIP=no", "StrictHostKeyChecking=accept-new"):
        options += ["-o", option]
    if way.kind == "inside":
        options += ["-o", f"ProxyCommand={_proxy(target, way, project_id)} --port %p"]
    return ["ssh", *options, "--", way.address, *login.command]


def _proxy(target: Target, way: Way, project_id: str) -> str:
    command = [sys.executable, "-m", "tui", "--project", project_id, "server", "tunnel", target.id]
    return shlex.join([*command, "--address", way.address]).replace("%", "%%")


def installed() -> str | None:
    """Where ssh is; None where there is none."""
    return shutil.which("ssh")
