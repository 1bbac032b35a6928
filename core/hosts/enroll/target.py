"""Where enrolment's commands run: a host over SSH, or this machine. Everything is done with two acts, run and put."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from core.errors import Failed

COMMAND_TIMEOUT: Final = 60.0
"""Seconds a command gets unless its caller knows better."""

_SAID: Final = 300

_PREAMBLE: Final = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
_PUT: Final = """\
set -e
path=$(readlink -f -- "$1" || printf %s "$1")
mkdir -p -- "$(dirname -- "$path")"
umask 077
cat > "$path.new"
chmod -- "$2" "$path.new"
sync -- "$path.new" 2>/dev/null || sync
mv -f -- "$path.new" "$path"
"""


class Lost(Exception):
    """The target cannot be spoken to any more: cut off, or silent beyond a command's time. In words for a person."""


@attrs.frozen(kw_only=True)
class Result:
    """A command that ran to its end."""

    status: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    @property
    def said(self) -> str:
        """The end of what it complained of, in one line."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return " ".join(line.strip() for line in lines[-2:])[-_SAID:] or f"exit status {self.status}"


class Target(Protocol):
    """A machine to be enrolled."""

    @property
    def name(self) -> str:
        """As a person would call it in a command."""

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = COMMAND_TIMEOUT) -> Result:
        """Run a command to its end. Raises Lost."""


@attrs.frozen
class LocalTarget:
    """This machine."""

    name: str = "local"

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = COMMAND_TIMEOUT) -> Result:
        try:
            done = subprocess.run(list(argv), input=input, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as late:
            raise Lost(f"{argv[0]} did not end within {timeout:g} s") from late
        except OSError as bad:
            raise Lost(f"{argv[0]} cannot be run: {bad.strerror}") from bad
        return Result(
            status=done.returncode, out=done.stdout.decode(errors="replace"), err=done.stderr.decode(errors="replace")
        )


@attrs.frozen
class Sudo:
    """Another target's commands, as root."""

    inner: Target

    @property
    def name(self) -> str:
        return self.inner.name

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = COMMAND_TIMEOUT) -> Result:
        return self.inner.run(["sudo", "-n", "--", *argv], input=input, timeout=timeout)


def script(target: Target, text: str, *args: str, input: bytes = b"", timeout: float = COMMAND_TIMEOUT) -> Result:
    """Run a POSIX shell script with positional arguments: values reach it as arguments, never as text of it."""
    return target.run(["sh", "-c", _PREAMBLE + text, "sh", *args], input=input, timeout=timeout)


def must(result: Result, doing: str, *, hint: str = "Put that right on the host, and run this again.") -> str:
    """The output of a command that has to succeed. Raises Failed: what was being done, and the command's own words."""
    if not result.ok:
        raise Failed(f"{doing} failed: {result.said}", hint=hint)
    return result.out


def put(target: Target, data: bytes, path: str, mode: int) -> None:
    """Write a file at once and whole, through a symlink where `path` is one. Raises Failed, Lost."""
    result = script(target, _PUT, path, f"{mode:o}", input=data, timeout=300)
    must(result, f"writing {path}", hint=f"Check the space and the mount options of the file system on {target.name}.")
