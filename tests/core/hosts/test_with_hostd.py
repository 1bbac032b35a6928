"""The link and the bulk link against a real `hostd serve` over memory drivers, through sshd and `hostd relay`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.hosts.bulk import BulkLink
from core.hosts.enroll.prove import dissolve
from core.hosts.link import Link
from core.hosts.transport import SshTarget, SshTransport
from hostd.spec import (
    PROTOCOL,
    Applied,
    Apply,
    Empty,
    Event,
    EventKind,
    Hello,
    NetworkingSpec,
    NetworkSpec,
    ObjectKind,
    Observe,
    PowerState,
    SegmentType,
    dump,
)
from tests.contract.hosts import CLOUD, Daemon, greeted
from tests.core.hosts.sshd import running_sshd
from tests.hostd.specs import UUID, instance

MIB = 1024 * 1024


def an_apply() -> Apply:
    spec = instance(image=None, nics=(), metadata=None)
    return Apply(kind=ObjectKind.INSTANCE, uuid=UUID, generation=1, spec=dump(spec))


@contextlib.asynccontextmanager
async def host_at(folder: Path, *, crash: str = "") -> AsyncIterator[tuple[Daemon, SshTarget]]:
    """A daemon, and the target that reaches it; where the daemon dies, its relay brings another."""
    daemon = Daemon(folder)
    options = ["--run", str(daemon.run), "--state", str(daemon.state), "--drivers", "memory"]
    relay = shlex.join([sys.executable, "-m", "hostd", "relay", *options])
    await daemon.start(crash=crash)
    try:
        with running_sshd(folder, daemon.run / "hostd.sock", relay=relay) as sshd:
            yield daemon, sshd.target
    finally:
        await daemon.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((daemon.run / "hostd.pid").read_text()), signal.SIGKILL)


@pytest.fixture
def events() -> asyncio.Queue[Event]:
    return asyncio.Queue()


async def test_an_apply_and_its_events(tmp_path: Path, events: asyncio.Queue[Event]) -> None:
    async with host_at(tmp_path) as (_, target):
        async with Link(SshTransport(target), cloud=CLOUD, term=1, host=None, on_event=events.put) as link:
            await link.wait_up(20)
            applied: Applied = await link.call("apply", an_apply(), timeout=20)
            assert (applied.generation, applied.power) == (1, PowerState.RUNNING)
            kinds = set()
            while not {EventKind.PROGRESS, EventKind.RESULT} <= kinds:
                kinds.add((await asyncio.wait_for(events.get(), 10)).kind)
            seen = await link.call("observe", Observe())
            assert [domain.uuid for domain in seen.domains] == [UUID]


async def test_a_hostd_killed_in_mid_apply_is_asked_until_known(tmp_path: Path, events: asyncio.Queue[Event]) -> None:
    async with host_at(tmp_path, crash="instance.start:before") as (daemon, target):
        async with Link(SshTransport(target), cloud=CLOUD, term=1, host=None, on_event=events.put) as link:
            await link.wait_up(20)
            asking = asyncio.create_task(link.call_until_known("apply", an_apply(), deadline=30))
            dying = asyncio.create_task(daemon.died())
            await asyncio.wait({asking, dying}, return_when=asyncio.FIRST_COMPLETED)
            assert dying.done(), "the crash point is named after the step"
            link.poke()
            assert (await asking).power is PowerState.RUNNING, "the relay brought hostd back, its journal the apply"


async def test_a_host_that_is_removed_has_no_networks(tmp_path: Path) -> None:
    async with Daemon(tmp_path) as daemon:
        peer = await greeted(daemon)
        host = (await peer.call("hello", Hello(protocol=PROTOCOL, cloud=CLOUD, term=1, host=None))).host
        network = NetworkSpec(uuid=UUID, type=SegmentType.VXLAN, segment=1001, mtu=1450)
        spec = dump(NetworkingSpec(uuid=host, networks=(network,)))
        await peer.call("apply", Apply(kind=ObjectKind.NETWORKING, uuid=host, generation=7, spec=spec))
        socket = daemon.run / "hostd.sock"
        before = await asyncio.to_thread(dissolve, socket, cloud=CLOUD, term=1, host=host)
        assert [seen.uuid for seen in before.networks] == [UUID]
        seen = await peer.call("observe", Observe(stats=False))
        assert (seen.networks, seen.networking.generation) == ((), 8)


async def test_an_image_and_a_console(tmp_path: Path, events: asyncio.Queue[Event]) -> None:
    data = os.urandom(5 * MIB + 3)
    (tmp_path / "image").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    async with host_at(tmp_path) as (_, target):
        async with Link(SshTransport(target), cloud=CLOUD, term=1, host=None, on_event=events.put) as link:
            hello = await link.wait_up(20)
            bulk = BulkLink(target, cloud=CLOUD, term=1, host=hello.host)
            try:
                for _ in range(2):
                    assert (await bulk.send_image(tmp_path / "image", digest)).verified
                assert [image.digest for image in (await link.call("observe", Observe())).images] == [digest]
                await link.call("apply", an_apply(), timeout=20)
                async with bulk.console(UUID) as console:
                    await console.write(b"hello\n")
                    assert await asyncio.wait_for(console.read(), 10)
                assert await link.call("ping", Empty()) == Empty()
            finally:
                await bulk.close()
