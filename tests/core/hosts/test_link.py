"""The held channel: over a real sshd and over a UNIX socket, through cuts, silence, impostors and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import attrs
import pytest

from core.errors import Unavailable, Unknown
from core.hosts.link import Link, LinkState, LinkStatus
from core.hosts.transport import SshTransport, Transport, UnixTransport, fingerprint
from hostd.spec import (
    MAX_FRAME,
    Applied,
    Apply,
    Empty,
    ErrorCode,
    Event,
    EventKind,
    HostError,
    ObjectKind,
    Observe,
)
from tests.core.hosts.sshd import Sshd, make_key, running_sshd
from tests.core.hosts.stub import CLOUD, HOST, StubHostd

APPLY = Apply(kind=ObjectKind.INSTANCE, uuid="i-1", generation=7, spec={})


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[StubHostd]:
    async with StubHostd().listening(tmp_path / "hostd.sock") as running:
        yield running


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path, tmp_path / "hostd.sock") as running:
        yield running


class Watched:
    """What a link told: its states and the events it delivered."""

    def __init__(self) -> None:
        self.states: list[LinkStatus] = []
        self.events: list[Event] = []
        self._changed = asyncio.Event()

    async def on_event(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    def on_state(self, status: LinkStatus) -> None:
        self.states.append(status)
        self._changed.set()

    async def until(self, met: Callable[[], bool], *, timeout: float = 20.0) -> None:
        async with asyncio.timeout(timeout):
            while not met():
                self._changed.clear()
                await self._changed.wait()

    async def until_state(self, state: LinkState, *, timeout: float = 20.0) -> LinkStatus:
        await self.until(lambda: bool(self.states) and self.states[-1].state is state, timeout=timeout)
        return self.states[-1]


@pytest.fixture
def told() -> Watched:
    return Watched()


def a_link(transport: Transport, told: Watched, *, host: str | None = HOST) -> Link:
    return Link(transport, cloud=CLOUD, term=1, host=host, on_event=told.on_event, on_state=told.on_state)


@pytest.fixture(params=["ssh", "unix"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Transport:
    if request.param == "unix":
        return UnixTransport(tmp_path / "hostd.sock")
    return SshTransport(request.getfixturevalue("sshd").target)


# ---------------------------------------------------------------------------- calls and events


async def test_calls_are_answered_each_its_own(stub: StubHostd, transport: Transport, told: Watched) -> None:
    async with a_link(transport, told) as link:
        assert (await link.wait_up(10)).hostname == "stub"
        stub.hold.clear()
        slow = asyncio.create_task(link.call("apply", APPLY))
        assert await asyncio.gather(*(link.call("ping", Empty()) for _ in range(50))) == [Empty()] * 50
        assert not slow.done(), "an answer that takes long holds no other back"
        stub.hold.set()
        assert await slow == Applied(uuid="i-1", generation=7, steps=("made",))
    assert [status.state for status in told.states] == [LinkState.CONNECTING, LinkState.UP, LinkState.ENDED]


async def test_a_hosts_error_is_raised_as_it_was(stub: StubHostd, transport: Transport, told: Watched) -> None:
    stub.refuse["apply"] = HostError(ErrorCode.DISK_FULL, "no room", hint="free some", step="copy")
    async with a_link(transport, told) as link:
        await link.wait_up(10)
        with pytest.raises(HostError) as caught:
            await link.call("apply", APPLY)
        assert (caught.value.code, caught.value.error.hint, caught.value.error.step) == (
            "disk_full",
            "free some",
            "copy",
        )
        assert link.status.state is LinkState.UP


async def test_events_come_once_and_are_acknowledged(stub: StubHostd, transport: Transport, told: Watched) -> None:
    await stub.push(EventKind.RESULT, "before")
    async with a_link(transport, told) as link:
        await link.wait_up(10)
        await stub.push(EventKind.PROGRESS, "i-1", stored=False)
        await stub.push(EventKind.LIFECYCLE, "i-1")
        await told.until(lambda: len(told.events) == 3)
        while {"seq": 2} not in stub.named("ack"):
            stub.seen.clear()
            await asyncio.wait_for(stub.seen.wait(), 10)
    assert [(event.seq, event.kind) for event in told.events] == [(1, "result"), (0, "progress"), (2, "lifecycle")]


async def test_a_reconnect_replays_nothing_twice(stub: StubHostd, sshd: Sshd, told: Watched) -> None:
    async with a_link(SshTransport(sshd.target), told) as link:
        await link.wait_up(10)
        await stub.push(EventKind.RESULT, "a")
        await told.until(lambda: len(told.events) == 1)
        sshd.cut()
        await told.until_state(LinkState.DOWN)
        await stub.push(EventKind.RESULT, "b")
        link.poke()
        await told.until(lambda: len(told.events) == 2)
        assert [event.uuid for event in told.events] == ["a", "b"]


async def test_a_new_journal_counts_from_one_again(stub: StubHostd, sshd: Sshd, told: Watched) -> None:
    async with a_link(SshTransport(sshd.target), told) as link:
        await link.wait_up(10)
        await stub.push(EventKind.RESULT, "old")
        await told.until(lambda: len(told.events) == 1)
        stub.journal, stub.events = "journal-2", []
        await stub.push(EventKind.RESULT, "new")
        told.events.clear()
        sshd.cut()
        await told.until(lambda: any(event.uuid == "new" for event in told.events))


async def test_a_failing_event_handler_silences_nothing(stub: StubHostd, transport: Transport, told: Watched) -> None:
    async def fails_once(event: Event) -> None:
        await told.on_event(event)
        if event.uuid == "bad":
            raise ValueError("no such thing")

    async with Link(transport, cloud=CLOUD, term=1, host=HOST, on_event=fails_once) as link:
        await link.wait_up(10)
        await stub.push(EventKind.RESULT, "bad")
        await stub.push(EventKind.RESULT, "good")
        await told.until(lambda: [event.uuid for event in told.events] == ["bad", "good"])


# ---------------------------------------------------------------------------- cuts and silence


async def test_a_cut_mid_call_is_unknown_and_asked_again(stub: StubHostd, sshd: Sshd, told: Watched) -> None:
    stub.hold.clear()
    async with a_link(SshTransport(sshd.target), told) as link:
        await link.wait_up(10)
        once = asyncio.create_task(link.call("apply", APPLY))
        until_known = asyncio.create_task(link.call_until_known("apply", APPLY, deadline=20))
        while len(stub.named("apply")) < 2:
            stub.seen.clear()
            await stub.seen.wait()
        sshd.cut()
        with pytest.raises(Unknown, match="cut before the answer to apply"):
            await once
        stub.hold.set()
        assert (await until_known).generation == 7
        assert stub.applied == {7: 1}, "at least once delivered, exactly once done"
        assert len(stub.named("apply")) == 3


async def test_a_timeout_is_unknown(stub: StubHostd, transport: Transport, told: Watched) -> None:
    stub.hold.clear()
    async with a_link(transport, told) as link:
        await link.wait_up(10)
        with pytest.raises(Unknown, match=r"within 0\.05 s"):
            await link.call("apply", APPLY, timeout=0.05)
        with pytest.raises(Unknown):
            await link.call_until_known("apply", APPLY, deadline=0.2, attempt_timeout=0.05)
        assert await link.call("ping", Empty()) == Empty()


async def test_a_silent_host_is_given_up(stub: StubHostd, sshd: Sshd, told: Watched) -> None:
    async with a_link(SshTransport(sshd.target, keepalive_interval=0.2), told) as link:
        await link.wait_up(10)
        with sshd.frozen():
            waiting = asyncio.create_task(link.call("ping", Empty()))
            status = await told.until_state(LinkState.DOWN, timeout=5)
            assert "keepalive" in status.reason
            with pytest.raises(Unknown):
                await waiting
            with pytest.raises(Unavailable, match="not connected"):
                await link.call("ping", Empty())
        await link.wait_up(10)


async def test_a_frozen_hostd_is_noticed(
    stub: StubHostd, tmp_path: Path, told: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.hosts.link.HEARTBEAT_TIMEOUT", 0.1)
    transport = UnixTransport(tmp_path / "hostd.sock")
    link = Link(
        transport, cloud=CLOUD, term=1, host=HOST, on_event=told.on_event, on_state=told.on_state, heartbeat=0.1
    )
    async with link:
        await link.wait_up(10)
        while not stub.named("ping"):
            await stub.seen.wait()
            stub.seen.clear()
        assert link.status.state is LinkState.UP, "a quiet host that answers is up"

        async def never(_request: object, _writer: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(stub, "_answer", never)
        assert "hostd has not answered" in (await told.until_state(LinkState.DOWN)).reason


async def test_reconnects_for_ever_with_growing_pauses(tmp_path: Path, told: Watched) -> None:
    link = Link(
        UnixTransport(tmp_path / "hostd.sock"),
        cloud=CLOUD,
        term=1,
        host=HOST,
        on_event=told.on_event,
        on_state=told.on_state,
        random=lambda: 0.0,
    )
    async with link:
        await told.until(lambda: sum(status.state is LinkState.DOWN for status in told.states) >= 3)
        assert "does not listen" in told.states[-1].reason
        with pytest.raises(Unavailable, match="does not listen"):
            await link.call_until_known("observe", Observe(), deadline=0.05)
        async with StubHostd().listening(tmp_path / "hostd.sock"):
            link.poke()
            await link.wait_up(5)


# ---------------------------------------------------------------------------- who is who


async def test_another_host_key_is_refused_by_name(stub: StubHostd, sshd: Sshd, told: Watched, tmp_path: Path) -> None:
    pinned = make_key(tmp_path / "other")
    async with a_link(SshTransport(attrs.evolve(sshd.target, host_key=pinned)), told):
        status = await told.until_state(LinkState.DOWN)
    assert fingerprint(pinned) in status.reason
    assert fingerprint(sshd.target.host_key) in status.reason
    assert "somebody is in between" in status.hint
    assert stub.connections == 0


async def test_another_client_key_is_told_apart(stub: StubHostd, sshd: Sshd, told: Watched, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    async with a_link(SshTransport(attrs.evolve(sshd.target, key_path=tmp_path / "stranger")), told):
        status = await told.until_state(LinkState.DOWN)
    assert "does not accept the controller's key" in status.reason


@pytest.mark.parametrize("code", [ErrorCode.STALE_CONTROLLER, ErrorCode.WRONG_HOST, ErrorCode.WRONG_CLOUD])
async def test_a_refused_hello_ends_the_link(
    stub: StubHostd, transport: Transport, told: Watched, code: ErrorCode
) -> None:
    stub.refuse["hello"] = HostError(code, "term 2 was seen", hint="stop this one")
    async with a_link(transport, told) as link:
        status = await told.until_state(LinkState.ENDED)
        assert (status.code, status.reason, status.hint) == (code, "term 2 was seen", "stop this one")
        with pytest.raises(Unavailable, match="term 2"):
            await link.wait_up(1)
        with pytest.raises(Unavailable, match="term 2"):
            await link.call_until_known("apply", APPLY, deadline=1)


async def test_a_stale_controller_is_ended_in_mid_life(stub: StubHostd, transport: Transport, told: Watched) -> None:
    async with a_link(transport, told) as link:
        await link.wait_up(10)
        stub.refuse["apply"] = HostError(ErrorCode.STALE_CONTROLLER, "term 9 was seen")
        with pytest.raises(HostError, match="term 9"):
            await link.call("apply", APPLY)
        assert (await told.until_state(LinkState.ENDED)).code is ErrorCode.STALE_CONTROLLER


async def test_a_host_with_another_uuid_ends_the_link(stub: StubHostd, transport: Transport, told: Watched) -> None:
    stub.host = "another"
    async with a_link(transport, told):
        status = await told.until_state(LinkState.ENDED)
    assert "this is host another" in status.reason


# ---------------------------------------------------------------------------- frames


async def test_frames_are_bounded_both_ways(stub: StubHostd, transport: Transport, told: Watched) -> None:
    async with a_link(transport, told) as link:
        await link.wait_up(10)
        with pytest.raises(HostError, match="exceeds"):
            await link.call("apply", attrs.evolve(APPLY, spec={"a": "x" * MAX_FRAME}))
        almost = attrs.evolve(APPLY, spec={"a": "x" * (MAX_FRAME - 1000)})
        assert (await link.call("apply", almost, timeout=30)).generation == 7
        stub.raw_to_watchers((MAX_FRAME + 1).to_bytes(4, "big"))
        assert "beyond 4194304" in (await told.until_state(LinkState.DOWN)).reason


async def test_nonsense_from_the_host_cuts_the_link(stub: StubHostd, transport: Transport, told: Watched) -> None:
    async with a_link(transport, told) as link:
        await link.wait_up(10)
        stub.raw_to_watchers(b"\0\0\0\x02{]")
        assert "not JSON" in (await told.until_state(LinkState.DOWN)).reason


# ---------------------------------------------------------------------------- the local host


async def test_the_local_hostd_is_brought_back(tmp_path: Path, told: Watched) -> None:
    asked = asyncio.Event()
    async with await asyncio.start_unix_server(lambda _r, writer: (asked.set(), writer.close()), tmp_path / "asked"):
        starter = [sys.executable, "-c", f"import socket; socket.socket(1).connect({str(tmp_path / 'asked')!r})"]
        async with a_link(UnixTransport(tmp_path / "hostd.sock", starter=starter), told) as link:
            await asyncio.wait_for(asked.wait(), 20)
            async with StubHostd().listening(tmp_path / "hostd.sock"):
                await link.wait_up(10)


async def test_closing_leaves_nothing_behind(stub: StubHostd, sshd: Sshd, told: Watched) -> None:
    link = a_link(SshTransport(sshd.target), told)
    link.start()
    with contextlib.suppress(Unavailable):
        await link.wait_up(0.05)
    await link.close()
    assert link.status.state is LinkState.ENDED
