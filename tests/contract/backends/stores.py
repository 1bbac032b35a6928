"""The backends that the contract is checked against. To put another one under the suite, add it to STORES.

Each is entered with a directory of the test's own, and yields what makes the backend anew, as each call of the daemon
does. Contents are read and written by QEMU's own tools, through what the backend says that QEMU shall open.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hostd.drivers import DiskSource
from hostd.memory import MemoryPools
from hostd.spec import BackendSpec
from hostd.storage.volumes import blockdev
from hostd.storage.volumes.backend import Backend
from hostd.storage.volumes.registry import make
from hostd.storage.volumes.volumes import Nobody
from tests.lab.ceph import Ceph
from tests.lab.tgt import Tgt

MIB = 1 << 20

BACKEND = "44444444-0000-4000-8000-000000000001"

Make = Callable[[], Backend]
Store = Callable[[Path], AbstractContextManager[Make]]


@contextlib.contextmanager
def memory(directory: Path) -> Iterator[Make]:
    pools = MemoryPools(own=directory, shared=directory)
    yield lambda: pools.make(BackendSpec(uuid=BACKEND, driver="file"), state=directory, run=directory, live=Nobody())


def file(**options: str) -> Store:
    @contextlib.contextmanager
    def enter(directory: Path) -> Iterator[Make]:
        spec = BackendSpec(uuid=BACKEND, driver="file", options=options)
        yield lambda: make(spec, state=directory, run=directory, live=Nobody())

    return enter


@contextlib.contextmanager
def nfs(directory: Path) -> Iterator[Make]:
    """A shared directory that somebody else has mounted."""
    shared = directory / "shared"
    shared.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(shared)], check=True)
    try:
        spec = BackendSpec(uuid=BACKEND, driver="nfs", options={"path": str(shared)})
        yield lambda: make(spec, state=directory, run=directory, live=Nobody())
    finally:
        subprocess.run(["umount", str(shared)], check=True)


@contextlib.contextmanager
def rbd(directory: Path) -> Iterator[Make]:
    with Ceph(directory / "ceph", size=512 * MIB) as ceph:
        spec = BackendSpec(uuid=BACKEND, driver="rbd", options=ceph.options)
        yield lambda: make(spec, state=directory, run=directory, live=Nobody())


@contextlib.contextmanager
def iscsi(directory: Path) -> Iterator[Make]:
    with Tgt(directory / "tgt") as tgt:
        spec = BackendSpec(uuid=BACKEND, driver="iscsi", options=tgt.options)
        yield lambda: make(spec, state=directory, run=directory, live=Nobody())


STORES = [
    pytest.param(memory, id="memory"),
    pytest.param(file(), id="file"),
    pytest.param(file(format="raw"), id="file-raw"),
    pytest.param(nfs, id="nfs", marks=pytest.mark.e2e),
    pytest.param(rbd, id="rbd", marks=pytest.mark.e2e),
    pytest.param(iscsi, id="iscsi", marks=pytest.mark.e2e),
]


def write(source: DiskSource, at: int, pattern: int, length: int = MIB) -> None:
    """Overwrite a range of a disk with one byte, as a guest would."""
    _io(source, f"write -P {pattern} {at} {length}")


def holds(source: DiskSource, at: int, pattern: int, length: int = MIB) -> bool:
    """Whether a range of a disk holds nothing but that byte."""
    return "Pattern verification failed" not in _io(source, f"read -P {pattern} {at} {length}", "-r")


def size(source: DiskSource) -> int:
    """Bytes that QEMU sees."""
    # `qemu-img info` opens no backing files, and refuses to be told of them.
    told = _run("qemu-img", "measure", "-O", "raw", "--output=json", blockdev.name(source)).stdout
    return int(json.loads(told)["fully-allocated"])


def _io(source: DiskSource, command: str, *options: str) -> str:
    done = _run("qemu-io", *options, "-c", command, blockdev.name(source))
    said = done.stdout + done.stderr
    assert done.returncode == 0 or "Pattern verification failed" in said, said
    return said


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
