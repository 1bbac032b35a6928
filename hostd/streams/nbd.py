"""Disks of any kind, opened by qemu-nbd on a private socket and read through libnbd.

qemu-nbd is told every format and file of the chain, so that nothing is probed, and takes QEMU's own locks on them: what
somebody else has open it refuses. It ends with its one client, and with the thread that started it.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from hostd.drivers import DiskSource
from hostd.spec import ErrorCode, HostError
from hostd.storage.volumes import blockdev
from hostd.storage.volumes.backend import Extent
from hostd.streams.disks import Chunk, rounded

PATIENCE: Final = 30.0
"""Seconds qemu-nbd may take to open a disk, or to close it."""

_LAST_WORDS: Final = 5.0
_POLL: Final = 0.005
_ASKED_AT_ONCE: Final = 1 << 30
"""Bytes of one question about zeros, and of one write of them: the protocol counts in 32 bits."""

_CONTEXT: Final = "base:allocation"
_ZERO: Final = 2
"""Of a block's status: it reads as zeros."""

_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class NbdDisk:
    """One open disk. Both a Reader and a Writer, as it was opened."""

    def __init__(self, handle: Any, process: subprocess.Popen[bytes]) -> None:
        self._handle = handle
        self._process = process
        self._ranges: list[Extent] | None = None
        self.size: int = handle.get_size()

    @property
    def since(self) -> bool:
        return self._ranges is not None

    def only(self, ranges: Iterable[Extent] | None) -> None:
        """Tell of these alone, when they are known."""
        self._ranges = None if ranges is None else list(ranges)

    def chunks(self, size: int, begin: int = 0) -> Iterator[Chunk]:
        whole = [Extent(offset=0, length=self.size, zero=False)]
        told = whole if self._ranges is None else self._ranges
        for first, last in rounded(told, chunk=size, size=self.size, begin=begin):
            step = max(size, _ASKED_AT_ONCE // size * size)
            for at in range(first, last, step):
                yield from self._chunks(at, min(last, at + step), size)

    def _chunks(self, begin: int, end: int, size: int) -> Iterator[Chunk]:
        nothing = bytes(size)
        zeros = self._zeros(begin, end - begin)
        zero = next(zeros, None)
        at = begin
        while at < end:
            while zero is not None and zero[1] <= at:
                zero = next(zeros, None)
            length = min(size, end - at)
            if zero is not None and zero[0] <= at and zero[1] >= at + length:
                # Whole chunks of the run; its rest belongs to a chunk with data, unless the disk ends there.
                run = end - at if zero[1] >= end else (zero[1] - at) // size * size
                yield Chunk(at, run)
                at += run
                continue
            data = self._ask("read", self._handle.pread, length, at)
            yield Chunk(at, length, None if data == nothing[:length] else data)
            at += length

    def _zeros(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """Ranges [first, last) that are known to read as zeros, in order, neighbours joined."""
        if not self._handle.can_meta_context(_CONTEXT):
            return
        at, end = offset, offset + length
        first: int | None = None
        while at < end:
            told: list[int] = []

            def take(context: str, begin: int, entries: list[int], error: Any, told: list[int] = told) -> int:
                if context == _CONTEXT:
                    told.extend(entries)
                return 0

            self._ask("look at", self._handle.block_status, end - at, at, take)
            if not told:
                break
            for run, flags in zip(told[::2], told[1::2], strict=True):
                if flags & _ZERO:
                    first = at if first is None else first
                elif first is not None:
                    yield first, at
                    first = None
                at += run
        if first is not None:
            yield first, min(at, end)

    def write(self, offset: int, data: memoryview) -> None:
        self._ask("write", self._handle.pwrite, bytes(data), offset)

    def zero(self, offset: int, length: int) -> None:
        for at in range(offset, offset + length, _ASKED_AT_ONCE):
            self._ask("write", self._handle.zero, min(_ASKED_AT_ONCE, offset + length - at), at)

    def flush(self) -> None:
        self._ask("flush", self._handle.flush)

    def _ask(self, verb: str, call: Any, *args: Any) -> Any:
        import nbd

        try:
            return call(*args)
        except nbd.Error as bad:
            if bad.errno == "ENOSPC":
                raise HostError(
                    ErrorCode.DISK_FULL, "the volume's backend is full", hint="free space there, and try again"
                ) from bad
            raise HostError(ErrorCode.STORAGE, f"cannot {verb} the disk: {bad.string}") from bad

    def close(self) -> None:
        """Let go of the disk, and wait until qemu-nbd has let go of it."""
        import nbd

        try:
            self._handle.shutdown()
        except nbd.Error:  # it ended by itself, or is stuck: there is nobody to say goodbye to
            self._process.terminate()
        _end(self._process)


@contextlib.contextmanager
def opened(source: DiskSource, *, read_only: bool, run: Path) -> Iterator[NbdDisk]:
    """The disk, for the calling thread. `run` is where its socket is for a while.

    Raises HostError: BAD_STATE when somebody else has it open, NOT_FOUND, STORAGE.
    """
    process, handle = _start(source, read_only=read_only, run=run)
    disk = NbdDisk(handle, process)
    try:
        yield disk
    finally:
        disk.close()


def _start(source: DiskSource, *, read_only: bool, run: Path) -> tuple[subprocess.Popen[bytes], Any]:
    _library()
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Short: a socket's path has 108 bytes at most.
    path = run / f"{secrets.token_hex(4)}.nbd"
    mode = ["--read-only"] if read_only else ["--discard=unmap"]
    process = subprocess.Popen(
        # setpriv: a killed daemon leaves no disk open.
        [
            *("setpriv", "--pdeathsig", "TERM", "qemu-nbd", "--socket", str(path), "--cache=writeback", *mode),
            blockdev.name(source),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
    )
    try:
        handle = _connect(path, process)
    except BaseException:
        process.terminate()
        _end(process)
        raise
    finally:
        path.unlink(missing_ok=True)
    return process, handle


def _connect(path: Path, process: subprocess.Popen[bytes]) -> Any:
    import nbd

    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise _refused(process)
        if path.exists():
            handle = nbd.NBD()
            handle.add_meta_context(_CONTEXT)
            try:
                handle.connect_unix(str(path))
                return handle
            except nbd.Error as bad:
                # Its socket is there a moment before it listens on it; and when it would not open the disk, it no
                # longer does, and is on its way out.
                if bad.errno != errno.errorcode[errno.ECONNREFUSED]:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=_LAST_WORDS)
                        raise _refused(process) from bad
                    raise HostError(ErrorCode.STORAGE, f"qemu-nbd does not answer: {bad.string}") from bad
        time.sleep(_POLL)  # what does not listen yet cannot be awaited
    raise HostError(ErrorCode.STORAGE, f"qemu-nbd did not open the disk within {PATIENCE:.0f} s")


def _library() -> Any:
    try:
        import nbd
    except ImportError as absent:
        raise HostError(
            ErrorCode.STORAGE,
            "python3-libnbd is not installed on this host",
            hint="install the package python3-libnbd and retry",
        ) from absent
    return nbd


def _refused(process: subprocess.Popen[bytes]) -> HostError:
    """What qemu-nbd said when it would not open a disk."""
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace").strip()
    last = said.splitlines()[-1] if said else f"exit status {process.returncode}"
    if "lock" in said:
        return HostError(
            ErrorCode.BAD_STATE, "somebody has the disk open", hint="detach the volume, or wait until it is let go"
        )
    if "No such file" in said:
        return HostError(ErrorCode.NOT_FOUND, f"the disk is not there: {last}")
    return HostError(ErrorCode.STORAGE, f"qemu-nbd cannot open the disk: {last}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself with its client; what does not, is ended."""
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stderr is not None:
            process.stderr.close()
