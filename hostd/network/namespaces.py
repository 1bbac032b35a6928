"""Named network namespaces, made and entered by system calls.

pyroute2's own helpers fork for each (11 to 19 ms) and make a namespace silently when a name is
misspelt. A thread that enters a namespace is in it alone: never await, and never give the thread back
to a pool, before `inside` has ended.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path("/run/netns")
"""Where iproute2 keeps them, so that `ip netns` and `nsenter --net=` find ours."""

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 0x100000
_MNT_DETACH: Final = 2
_OWN: Final = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def path(name: str) -> Path:
    return DIRECTORY / name


def names() -> frozenset[str]:
    """Every named namespace of this host, ours or not."""
    try:
        return frozenset(os.listdir(DIRECTORY))
    except FileNotFoundError:
        return frozenset()


def exists(name: str) -> bool:
    """Whether the name stands for a namespace; a plain file left by a crash does not count."""
    try:
        return path(name).stat().st_dev == os.stat(_OWN).st_dev
    except FileNotFoundError:
        return False


def create(name: str) -> None:
    """Make an empty namespace under this name. An existing one stays."""
    if exists(name):
        return
    _prepare_directory()
    target = path(name)
    target.touch(mode=0o444)
    with _returning():
        _check(_libc.unshare(_CLONE_NEWNET), name)
        _check(_libc.mount(_OWN.encode(), os.fsencode(target), b"none", ctypes.c_ulong(_MS_BIND), None), name)


def _prepare_directory() -> None:
    """Make the directory a shared mount, as iproute2's ip-netns does.

    Were it left to the first `ip netns add`, that would cover our namespaces with a copy of each, and
    no name made before could be removed again.
    """
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    directory = os.fsencode(DIRECTORY)
    if _libc.mount(b"", directory, b"none", ctypes.c_ulong(_MS_SHARED | _MS_REC), None) != 0:
        _check(_libc.mount(directory, directory, b"none", ctypes.c_ulong(_MS_BIND | _MS_REC), None), str(DIRECTORY))
        _check(_libc.mount(b"", directory, b"none", ctypes.c_ulong(_MS_SHARED | _MS_REC), None), str(DIRECTORY))


def remove(name: str) -> None:
    """Take the name away; the namespace ends with the last process in it. An absent one is fine."""
    target = os.fsencode(path(name))
    with suppress(FileNotFoundError):
        if exists(name):
            _check(_libc.umount2(target, _MNT_DETACH), name)
        os.unlink(target)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Have this thread in the namespace. Raises FileNotFoundError when there is none."""
    descriptor = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _returning():
            _check(_libc.setns(descriptor, _CLONE_NEWNET), name)
            yield
    finally:
        os.close(descriptor)


@contextmanager
def nowhere() -> Iterator[None]:
    """Have this thread in an empty namespace without a name, which ends with the block."""
    with _returning():
        _check(_libc.unshare(_CLONE_NEWNET), "an empty namespace")
        yield


@contextmanager
def _returning() -> Iterator[None]:
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        if _libc.setns(own, _CLONE_NEWNET) != 0:
            # A thread stuck in a tenant's namespace would configure the wrong network from now on.
            os._exit(70)
        os.close(own)


def _check(result: int, name: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
