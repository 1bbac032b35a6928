"""The cloud's own key pair, and its line in a host's authorized_keys.

One pair for all hosts of the cloud. On a host the key can do one thing: start hostd's relay.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Final

import asyncssh

from core.config import Config
from core.errors import Unavailable
from core.hosts.enroll.look import Facts
from core.hosts.transport import SshTarget

LOGIN: Final = "root"
"""Whom the cloud's key logs in as: hostd's socket is root's."""


def key_path(config: Config) -> Path:
    """The private key that every link of this cloud authenticates with."""
    return config.keys_dir / "id_ed25519"


def cloud_key(config: Config, *, cloud: str) -> str:
    """The public key line (`ssh-ed25519 AAAA… skydeck-<cloud>`); the pair is made at the first call.

    Raises Unavailable for a private key that cannot be read or is open to others.
    """
    path = key_path(config)
    config.keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _make(path, comment=comment_of(cloud))
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        key = asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError) as bad:
        raise Unavailable(
            f"the cloud's key {path} cannot be used: {bad}",
            hint="Restore it from a backup; or move it away, and add every host again with a new one.",
        ) from bad
    algorithm, data = key.export_public_key("openssh").decode().split()[:2]
    return f"{algorithm} {data} {comment_of(cloud)}"


def _make(path: Path, *, comment: str) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    handle, partial = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key.export_private_key("openssh"))
            file.flush()
            os.fsync(file.fileno())
        # Of two enrolments at once, the first one's key is the cloud's.
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        os.unlink(partial)


def ssh_target(config: Config, *, address: str, port: int, host_key: str) -> SshTarget:
    """A host as the cloud's key reaches it."""
    return SshTarget(address=address, port=port, user=LOGIN, key_path=key_path(config), host_key=host_key)


def authorized_keys_path(facts: Facts) -> str | None:
    """Where root's sshd reads keys (sshd_config(5), AuthorizedKeysFile); None when it reads no file."""
    patterns = (facts.authorized_keys_file or ".ssh/authorized_keys").split()
    pattern = next((pattern for pattern in patterns if pattern != "none"), None)
    if pattern is None:
        return None
    tokens = {"%%": "%", "%h": facts.root_home, "%u": "root", "%U": "0"}
    path = ""
    while pattern:
        token = pattern[:2]
        path += tokens.get(token, pattern[0])
        pattern = pattern[2 if token in tokens else 1 :]
    return str(PurePosixPath(facts.root_home) / path)


def with_key(text: str, *, public_key: str, command: str) -> str:
    """authorized_keys with exactly one line for this cloud, in place of whatever lines it had."""
    line = f'restrict,command="{command}" {public_key}'
    rest = without_key(text, comment=public_key.split()[2])
    if line in text.splitlines() and len(rest.splitlines()) == len(text.splitlines()) - 1:
        return text
    return f"{rest.rstrip(chr(10))}\n{line}\n" if rest.strip() else f"{line}\n"


def without_key(text: str, *, comment: str) -> str:
    """authorized_keys without this cloud's lines; everything else stays byte for byte."""
    return "".join(line for line in text.splitlines(keepends=True) if line.split()[-1:] != [comment])


def comment_of(cloud: str) -> str:
    """What marks this cloud's line."""
    return f"skydeck-{cloud}"
