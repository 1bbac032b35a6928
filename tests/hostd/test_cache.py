"""The image cache: whole or not there, resumable, and never pruned from under a guest."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostd.cache import PARTIAL_KEPT, ImageCache
from hostd.connection import Connection
from hostd.crash import NEVER
from hostd.receive import Receiver
from hostd.spec import ErrorCode, HostError, Receive, Reply, decode, dump, frame, load

DATA = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(DATA).hexdigest()
WHOLE = Receive(digest=DIGEST, size=len(DATA))


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> ImageCache:
    return ImageCache(tmp_path / "images", clock=clock, crash=NEVER)


def put(cache: ImageCache, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    with cache.receive(Receive(digest=digest, size=len(data))) as incoming:
        incoming.write(memoryview(data))
        incoming.finish()
    return digest


@contextlib.contextmanager
def refused(code: ErrorCode) -> Iterator[None]:
    with pytest.raises(HostError) as caught:
        yield
    assert caught.value.code is code


def test_a_received_image_is_whole_and_read_only(cache: ImageCache) -> None:
    path = cache.path_of(put(cache, DATA))
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    with cache.receive(WHOLE) as again:
        assert (again.offset, again.complete) == (len(DATA), True)
        assert again.finish().verified


def test_resumes_where_it_was_cut(cache: ImageCache) -> None:
    with cache.receive(WHOLE) as incoming:
        incoming.write(memoryview(DATA)[:1000])
    with refused(ErrorCode.IMAGE_MISSING):
        cache.path_of(DIGEST)
    (partial,) = cache.images()
    assert (partial.digest, partial.size, partial.verified) == (DIGEST, 1000, False)
    with cache.receive(WHOLE) as incoming:
        assert incoming.offset == 1000
        incoming.write(memoryview(DATA)[1000:])
        assert incoming.finish().size == len(DATA)


def test_cut_before_it_was_named(cache: ImageCache) -> None:
    with cache.receive(WHOLE) as incoming:
        incoming.write(memoryview(DATA))
    with cache.receive(WHOLE) as incoming:
        assert (incoming.offset, incoming.complete) == (len(DATA), True)
    assert cache.path_of(DIGEST).read_bytes() == DATA


def test_an_early_end_keeps_what_came(cache: ImageCache) -> None:
    with refused(ErrorCode.PROTOCOL), cache.receive(WHOLE) as incoming:
        incoming.write(memoryview(DATA)[:10])
        incoming.finish()
    assert cache.images()[0].size == 10


@pytest.mark.parametrize("damaged", [b"x" + DATA[1:], DATA + b"x"], ids=["changed", "longer"])
def test_damage_is_noticed(cache: ImageCache, damaged: bytes) -> None:
    with refused(ErrorCode.DIGEST_MISMATCH), cache.receive(WHOLE) as incoming:
        incoming.write(memoryview(damaged))
        incoming.finish()
    assert not any(image.verified for image in cache.images())


@pytest.mark.parametrize("digest", ["", "..", "../../etc/passwd", DIGEST.upper(), DIGEST + "\n"])
def test_names_are_digests_and_nothing_else(cache: ImageCache, digest: str) -> None:
    with refused(ErrorCode.PROTOCOL):
        cache.path_of(digest)
    with refused(ErrorCode.PROTOCOL), cache.receive(Receive(digest=digest, size=1)):
        pass


def test_no_room_is_said_before_a_byte_is_sent(cache: ImageCache) -> None:
    with refused(ErrorCode.DISK_FULL), cache.receive(Receive(digest=DIGEST, size=1 << 60)):
        pass


def test_a_disk_that_fills_up_is_named_with_numbers(cache: ImageCache) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, most))
    try:
        with pytest.raises(HostError, match=r"needs 0\.\d MB more, .* has [\d.]+ MB left") as full:
            put(cache, DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert full.value.code is ErrorCode.DISK_FULL
    assert full.value.error.hint
    assert cache.images() == ()


def test_references_outlive_the_process(cache: ImageCache, tmp_path: Path, clock: Clock) -> None:
    digest = put(cache, DATA)
    cache.hold("guest", [digest])
    again = ImageCache(tmp_path / "images", clock=clock, crash=NEVER)
    assert again.images()[0].refs == 1
    assert again.prune(0, (digest,)).removed == ()
    again.hold("guest", [])
    assert again.prune(0, ()).removed == (digest,)


def test_holding_what_is_not_there_changes_nothing(cache: ImageCache) -> None:
    digest = put(cache, DATA)
    cache.hold("guest", [digest])
    with refused(ErrorCode.IMAGE_MISSING):
        cache.hold("guest", ["0" * 64])
    assert cache.images()[0].refs == 1


def test_the_least_recently_used_goes_first(cache: ImageCache, clock: Clock) -> None:
    digests = [put(cache, bytes([number]) * 100) for number in range(4)]
    for number in (2, 0, 3, 1):
        clock.now += 1
        cache.hold("guest", [digests[number]])
    cache.release("guest")
    assert cache.prune(300, ()).removed == (digests[2],)
    pruned = cache.prune(200, (digests[1],))
    assert (pruned.removed, pruned.bytes_freed) == ((digests[1],), 100)
    assert cache.prune(100, ()).removed == (digests[0],)


def test_forsaken_partial_files_go(cache: ImageCache, clock: Clock, tmp_path: Path) -> None:
    with cache.receive(WHOLE) as incoming:
        incoming.write(memoryview(DATA)[:10])
        clock.now = (tmp_path / f"images/{DIGEST}.part").stat().st_mtime + PARTIAL_KEPT + 1
        assert cache.prune(0, ()).removed == ()
    assert cache.prune(0, ()).removed == (f"{DIGEST}.part",)


# ---------------------------------------------------------------------------- streams


class Sender:
    """The sending end of one `receive`, over a socket pair."""

    def __init__(self, receiver: Receiver) -> None:
        ours, theirs = socket.socketpair()
        self.end = Connection(ours)
        self._theirs = Connection(theirs)
        self.task = asyncio.create_task(receiver.receive(self._theirs, 1, WHOLE))

    async def reply(self) -> Reply:
        body = await self.end.read()
        assert body is not None, "the stream was cut"
        return load(Reply, decode(body))

    def close(self) -> None:
        self.end.close()
        self._theirs.close()


async def test_a_second_stream_waits_and_finds_the_image_there(cache: ImageCache) -> None:
    receiver = Receiver(cache)
    first = Sender(receiver)
    assert (await first.reply()).ok == {"offset": 0}
    await first.end.write(frame(DATA[:100]))
    second = Sender(receiver)
    await first.end.write(frame(DATA[100:]) + frame(b""))
    done = dump(await first.reply())["ok"]
    assert done == {"digest": DIGEST, "size": len(DATA), "verified": True}
    assert (await second.reply()).ok == {"offset": len(DATA)}
    await second.end.write(frame(b""))
    assert (await second.reply()).ok == done
    assert await first.task
    assert await second.task
    first.close()
    second.close()


async def test_a_stalled_stream_gives_way(cache: ImageCache) -> None:
    receiver = Receiver(cache, patience=0.1)
    first = Sender(receiver)
    await first.reply()
    await first.end.write(frame(DATA[:100]))
    second = Sender(receiver)
    assert (await second.reply()).ok == {"offset": 100}
    assert not await first.task
    await second.end.write(frame(DATA[100:]) + frame(b""))
    assert (await second.reply()).ok
    assert await second.task
    first.close()
    second.close()


async def test_an_error_in_mid_stream_reaches_a_sender_that_is_still_sending(cache: ImageCache) -> None:
    sender = Sender(Receiver(cache))
    await sender.reply()
    await sender.end.write(frame(DATA) + frame(b"x" * 1_500_000) * 6)
    error = (await sender.reply()).error
    assert error is not None
    assert error.code is ErrorCode.DIGEST_MISMATCH
    assert await sender.end.read() is None
    sender.end.close()
    assert not await sender.task
    sender.close()
