"""Images and consoles over the bulk connection: OpenSSH's real client and server, and the local socket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest

from core.errors import Unavailable, Unknown
from core.hosts.bulk import BulkLink
from core.hosts.transport import SshTarget, fingerprint
from hostd.spec import ErrorCode, HostError
from tests.core.hosts.sshd import Sshd, make_key, running_sshd
from tests.core.hosts.stub import CLOUD, HOST, StubHostd

MIB = 1024 * 1024
SIZE = 9 * MIB + 12345


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[StubHostd]:
    async with StubHostd().listening(tmp_path / "hostd.sock") as running:
        yield running


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path, tmp_path / "hostd.sock") as running:
        yield running


@contextlib.asynccontextmanager
async def bulk_link(target: SshTarget | Path, *, tries: int = 5) -> AsyncIterator[BulkLink]:
    link = BulkLink(target, cloud=CLOUD, term=1, host=HOST, tries=tries, random=lambda: 0.0)
    try:
        yield link
    finally:
        await link.close()


@pytest.fixture(params=["ssh", "unix"])
async def link(request: pytest.FixtureRequest, tmp_path: Path, stub: StubHostd) -> AsyncIterator[BulkLink]:
    target = request.getfixturevalue("sshd").target if request.param == "ssh" else tmp_path / "hostd.sock"
    async with bulk_link(target) as opened:
        yield opened


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, str]:
    """A file and its digest."""
    data = os.urandom(SIZE)
    (tmp_path / "image").write_bytes(data)
    return tmp_path / "image", hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------- images


async def test_an_image_arrives_and_is_verified(stub: StubHostd, link: BulkLink, image: tuple[Path, str]) -> None:
    told: list[tuple[int, int]] = []
    received = await link.send_image(*image, progress=lambda done, total: told.append((done, total)))
    assert (received.digest, received.size, received.verified) == (image[1], SIZE, True)
    assert stub.images[image[1]] == image[0].read_bytes()
    assert told[-1] == (SIZE, SIZE)
    assert told == sorted(told)
    assert stub.named("hello")[0]["purpose"] == "bulk"


async def test_an_image_that_is_there_is_not_sent(stub: StubHostd, link: BulkLink, image: tuple[Path, str]) -> None:
    stub.images[image[1]] = bytearray(image[0].read_bytes())
    assert (await link.send_image(*image)).verified
    assert len(stub.images[image[1]]) == SIZE


async def test_a_cut_image_continues_where_it_was(stub: StubHostd, link: BulkLink, image: tuple[Path, str]) -> None:
    stub.stop_after = 4 * MIB
    assert (await link.send_image(*image)).verified
    assert len(stub.named("receive")) == 2
    assert len(stub.images[image[1]]) == SIZE, "no byte was sent twice"


async def test_a_killed_session_is_continued(stub: StubHostd, sshd: Sshd, image: tuple[Path, str]) -> None:
    async with bulk_link(sshd.target) as link:
        cut = False

        def cut_once(done: int, _total: int) -> None:
            nonlocal cut
            if not cut:
                cut = True
                sshd.cut()

        assert (await link.send_image(*image, progress=cut_once)).verified
        assert len(stub.named("receive")) >= 2


async def test_a_killed_master_is_replaced(stub: StubHostd, sshd: Sshd, image: tuple[Path, str]) -> None:
    async with bulk_link(sshd.target) as link:
        await link.send_image(*image)
        first = link.master_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await asyncio.to_thread(os.waitid, os.P_PID, first, os.WEXITED | os.WNOWAIT)
        assert (await link.send_image(*image)).verified
        assert link.master_pid not in (None, first)


async def test_sending_gives_up_after_some_tries(tmp_path: Path, image: tuple[Path, str]) -> None:
    async with bulk_link(tmp_path / "nobody.sock", tries=2) as link:
        with pytest.raises(Unknown, match="does not listen"):
            await link.send_image(*image)


async def test_a_refusal_in_mid_stream_is_told(stub: StubHostd, link: BulkLink, image: tuple[Path, str]) -> None:
    stub.disk_full_after = 2 * MIB
    with pytest.raises(HostError) as caught:
        await link.send_image(*image)
    assert caught.value.code is ErrorCode.DISK_FULL


async def test_a_cancelled_sending_ends(stub: StubHostd, link: BulkLink, image: tuple[Path, str]) -> None:
    stub.hold.clear()
    sending = asyncio.create_task(link.send_image(*image))
    while not stub.named("receive"):
        stub.seen.clear()
        await stub.seen.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    stub.hold.set()
    assert (await link.send_image(*image)).verified


# ---------------------------------------------------------------------------- keys


async def test_another_host_key_is_refused_by_name(
    stub: StubHostd, sshd: Sshd, tmp_path: Path, image: tuple[Path, str]
) -> None:
    pinned = make_key(tmp_path / "other")
    async with bulk_link(attrs.evolve(sshd.target, host_key=pinned)) as link:
        with pytest.raises(Unavailable) as caught:
            await link.send_image(*image)
    assert fingerprint(pinned) in caught.value.title
    assert fingerprint(sshd.target.host_key) in caught.value.title
    assert stub.connections == 0


async def test_another_client_key_is_told_apart(
    stub: StubHostd, sshd: Sshd, tmp_path: Path, image: tuple[Path, str]
) -> None:
    make_key(tmp_path / "stranger")
    async with bulk_link(attrs.evolve(sshd.target, key_path=tmp_path / "stranger")) as link:
        with pytest.raises(Unavailable, match="does not accept the controller's key"):
            await link.send_image(*image)


# ---------------------------------------------------------------------------- consoles


async def test_a_console_carries_bytes_both_ways(stub: StubHostd, link: BulkLink) -> None:
    async with link.console("i-1", write=True) as console:
        assert await console.read() == b"login: "
        await console.write(b"root\n\x03\xff")
        assert await console.read() == b"ROOT\n\x03\xff"
    assert stub.named("console") == [{"uuid": "i-1", "write": True, "history": 2000, "who": ""}]


async def test_more_consoles_than_one_connection_takes(stub: StubHostd, sshd: Sshd) -> None:
    """sshd allows ten sessions on a connection; the eleventh stream brings a connection of its own."""
    async with bulk_link(sshd.target) as link, contextlib.AsyncExitStack() as stack:
        for _ in range(12):
            console = await stack.enter_async_context(link.console("i-1"))
            assert await console.read() == b"login: "


async def test_a_cut_console_ends(stub: StubHostd, sshd: Sshd) -> None:
    async with bulk_link(sshd.target) as link, link.console("i-1") as console:
        await console.read()
        sshd.cut()
        assert await asyncio.wait_for(console.read(), 10) == b""


async def test_no_console_without_a_host(tmp_path: Path) -> None:
    async with bulk_link(tmp_path / "nobody.sock") as link:
        with pytest.raises(Unknown, match="no connection for the console"):
            async with link.console("i-1"):
                pass
