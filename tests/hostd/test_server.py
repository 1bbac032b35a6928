"""The daemon's socket: frames, order, and clients that misbehave or vanish."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import stat
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hostd.spec import (
    MAX_FRAME,
    PROTOCOL,
    STATUS,
    Apply,
    Console,
    Empty,
    ErrorCode,
    Hello,
    HostError,
    NetworkingSpec,
    NetworkSpec,
    ObjectKind,
    Observe,
    Receive,
    Request,
    SegmentType,
    dump,
    encode,
    frame,
)
from tests.contract.hosts import Daemon, greeted

DATA = os.urandom(3 << 20)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path) as daemon:
        yield daemon


def networking(uuid: str) -> Apply:
    """One network called as its host is."""
    networks = (NetworkSpec(uuid=uuid, type=SegmentType.VXLAN, segment=1001, mtu=1450),)
    spec = dump(NetworkingSpec(uuid=uuid, networks=networks))
    return Apply(kind=ObjectKind.NETWORKING, uuid=uuid, generation=1, spec=spec)


async def command(daemon: Daemon, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hostd", *arguments),
        *("--state", str(daemon.state), "--run", str(daemon.run)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


# ---------------------------------------------------------------------------- frames


@pytest.mark.parametrize(
    "sent",
    [struct.pack(">I", MAX_FRAME + 1), frame(b"not json"), frame(b"[]"), frame(b'{"id": 1, "call": "ping"}')],
    ids=["oversized", "not json", "not an object", "field missing"],
)
async def test_what_is_no_request_ends_the_connection_with_the_reason(daemon: Daemon, sent: bytes) -> None:
    peer = await daemon.connect()
    peer.writer.write(sent)
    reply = await peer.reply()
    assert reply.id == 0
    assert reply.error is not None
    assert reply.error.code is ErrorCode.PROTOCOL
    assert await peer.reader.read() == b""
    assert await (await greeted(daemon)).call("ping", Empty()) == Empty()


async def test_an_unknown_call_is_refused_and_no_more(daemon: Daemon) -> None:
    peer = await greeted(daemon)
    await peer._alone()
    peer.writer.write(encode(Request(id=9, call="fly", body={})))
    reply = await peer.reply()
    assert reply.error is not None
    assert (reply.id, reply.error.code) == (9, ErrorCode.PROTOCOL)
    assert await peer.call("ping", Empty()) == Empty()


async def test_frames_may_come_in_any_pieces(daemon: Daemon) -> None:
    peer = await greeted(daemon)
    await peer._alone()
    for byte in encode(Request(id=7, call="ping", body={})) + encode(Request(id=8, call="ping", body={})):
        peer.writer.write(bytes([byte]))
        await peer.writer.drain()
    assert {(await peer.reply()).id, (await peer.reply()).id} == {7, 8}


async def test_many_calls_at_once_on_one_connection(daemon: Daemon) -> None:
    peer = await greeted(daemon)
    applies = [peer.call("apply", networking(f"host-{number}")) for number in range(50)]
    answers = await asyncio.gather(*applies, *(peer.call("ping", Empty()) for _ in range(50)))
    assert [answer.uuid for answer in answers[:50]] == [f"host-{number}" for number in range(50)]


async def test_a_client_that_stops_sending_is_still_answered(daemon: Daemon) -> None:
    peer = await greeted(daemon)
    await peer._alone()
    peer.writer.write(encode(Request(id=5, call="apply", body=dump(networking("n")))))
    peer.writer.write_eof()
    reply = await peer.reply()
    assert (reply.id, reply.error) == (5, None)
    assert await peer.reader.read() == b""


async def test_a_client_that_vanishes_leaves_its_apply_done(daemon: Daemon) -> None:
    peer = await greeted(daemon)
    peer.writer.write(encode(Request(id=5, call="apply", body=dump(networking("n")))))
    await peer.writer.drain()
    peer.close()
    other = await greeted(daemon)
    await other.call("apply", networking("n"))
    assert [seen.uuid for seen in (await other.call("observe", Observe())).networks] == ["n"]


# ---------------------------------------------------------------------------- streams


async def test_an_image_resumes_after_a_cut_and_calls_go_on_after_it(daemon: Daemon) -> None:
    peer = await greeted(daemon)
    await peer.receive(Receive(digest=DIGEST, size=len(DATA)))
    peer.writer.write(frame(DATA[: 2 << 20]) + struct.pack(">I", 1000) + b"torn")
    await peer.writer.drain()
    peer.close()
    again = await greeted(daemon)
    receiving = await again.receive(Receive(digest=DIGEST, size=len(DATA)))
    assert receiving.offset == 2 << 20
    for at in range(receiving.offset, len(DATA), 1000):
        again.writer.write(frame(DATA[at : at + 1000]))
    again.writer.write(frame(b""))
    assert (await again.reply()).ok == {"digest": DIGEST, "size": len(DATA), "verified": True}
    assert await again.call("ping", Empty()) == Empty()


async def test_an_image_resumes_after_the_daemon_was_killed(daemon: Daemon) -> None:
    (daemon.run / "crash").write_text("image:partial")
    peer = await greeted(daemon)
    await peer.receive(Receive(digest=DIGEST, size=len(DATA)))
    peer.writer.write(frame(DATA[: 2 << 20]))
    assert "Traceback" not in await daemon.died()
    await daemon.start()
    received = await (await greeted(daemon)).send_image(Receive(digest=DIGEST, size=len(DATA)), DATA)
    assert received.verified


async def test_two_at_once_do_not_spoil_each_other(daemon: Daemon) -> None:
    peers = [await greeted(daemon) for _ in range(3)]
    asked = Receive(digest=DIGEST, size=len(DATA))
    received = await asyncio.gather(*(peer.send_image(asked, DATA) for peer in peers))
    assert all(one.verified for one in received)
    (image,) = (await peers[0].call("observe", Observe())).images
    assert (image.size, image.verified) == (len(DATA), True)


@pytest.mark.parametrize("body", [Receive(digest=DIGEST, size=1), Console(uuid="u")])
async def test_streams_need_the_connection_for_themselves(daemon: Daemon, body: Receive | Console) -> None:
    peer = await greeted(daemon)
    await peer._alone()
    call = "receive" if isinstance(body, Receive) else "console"
    peer.writer.write(
        encode(Request(id=1, call="observe", body=dump(Observe()))) + encode(Request(id=2, call=call, body=dump(body)))
    )
    replies = {reply.id: reply for reply in (await peer.reply(), await peer.reply())}
    assert replies[1].error is None
    assert replies[2].error is not None
    assert replies[2].error.code is ErrorCode.PROTOCOL


# ---------------------------------------------------------------------------- the process


async def test_only_one_daemon_runs_and_only_root_may_speak_to_it(daemon: Daemon) -> None:
    code, output = await command(daemon, "serve", "--drivers", "memory")
    assert (code, "another hostd" in output) == (2, True)
    assert stat.S_IMODE((daemon.run / "hostd.sock").stat().st_mode) == 0o660
    assert await (await greeted(daemon)).call("ping", Empty()) == Empty()


async def test_it_stops_when_told_and_takes_its_socket_along(daemon: Daemon) -> None:
    await greeted(daemon)
    os.kill(int((daemon.run / "hostd.pid").read_text()), signal.SIGTERM)
    log = await daemon.died()
    assert "stopped" in log
    assert "Traceback" not in log
    assert not (daemon.run / "hostd.sock").exists()


async def test_status_says_what_there_is_and_claims_nothing(daemon: Daemon) -> None:
    code, output = await command(daemon, "status")
    assert (code, "tcg (in memory)" in output) == (0, True)
    await greeted(daemon, cloud="the first to come")
    await daemon.kill()
    assert (await command(daemon, "status"))[0] == 1


async def test_a_reader_may_change_nothing(daemon: Daemon) -> None:
    peer = await daemon.connect()
    await peer.call("hello", Hello(protocol=PROTOCOL, cloud="", term=0, host=None, purpose=STATUS))
    with pytest.raises(HostError) as refused:
        await peer.call("apply", networking("n"))
    assert refused.value.code is ErrorCode.STALE_CONTROLLER


async def test_labels_are_listed(daemon: Daemon) -> None:
    _, output = await command(daemon, "labels", "--drivers", "memory")
    assert {"instance:intent", "instance.start:before", "networking:outcome", "act.reboot_hard:after"} <= set(
        output.split()
    )
