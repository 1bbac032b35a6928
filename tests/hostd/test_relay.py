"""The relay: bytes through a forced command, and a daemon that comes back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hostd.spec import PROTOCOL, Empty, Hello, Reply, Request, decode, dump, encode, load
from tests.contract.hosts import Daemon

HELLO = encode(Request(id=1, call="hello", body=dump(Hello(protocol=PROTOCOL, cloud="c", term=1, host=None))))
PING = encode(Request(id=2, call="ping", body=dump(Empty())))


async def relay(state: Path, run: Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hostd", "relay", "--drivers", "memory", f"--state={state}", "--run", str(run)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )


def replies(output: bytes) -> dict[int, Reply]:
    found = {}
    while output:
        end = 4 + int.from_bytes(output[:4], "big")
        reply = load(Reply, decode(output[4:end]))
        found[reply.id] = reply
        output = output[end:]
    return found


async def test_carries_both_ways_and_half_closes(tmp_path: Path) -> None:
    async with Daemon(tmp_path) as daemon:
        process = await relay(daemon.state, daemon.run)
        # stdin ends at once; the answers still come, and then the end.
        output, errors = await process.communicate(HELLO + PING)
    assert (sorted(replies(output)), errors, process.returncode) == ([1, 2], b"", 0)


async def test_ends_when_the_daemon_hangs_up(tmp_path: Path) -> None:
    async with Daemon(tmp_path) as daemon:
        process = await relay(daemon.state, daemon.run)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\xff\xff\xff\xff")
        assert b"exceeds" in await process.stdout.read()  # stdin is still open
        assert await process.wait() == 0
        process.stdin.close()


async def test_a_killed_daemon_comes_back_with_the_next_relay(tmp_path: Path) -> None:
    state, run = tmp_path / "s", tmp_path / "r"
    process = await relay(state, run, SKYDECK_CRASH="networking:intent")
    output, errors = await process.communicate(HELLO)
    first = daemon_pid(run)
    assert (list(replies(output)), errors) == ([1], b"")
    await killed(first)
    # Several at once: one daemon wins, all are served.
    processes = [await relay(state, run) for _ in range(3)]
    answers = await asyncio.gather(*(process.communicate(HELLO) for process in processes))
    second = daemon_pid(run)
    environment = Path(f"/proc/{second}/environ").read_bytes()
    session = os.getsid(second)
    os.kill(second, signal.SIGKILL)
    assert [list(replies(output)) for output, _ in answers] == [[1], [1], [1]]
    assert second != first
    assert session == second
    assert b"SKYDECK_CRASH" not in environment


async def killed(pid: int) -> None:
    """Kill a process and see its end: a dying one's socket still takes connections."""
    descriptor = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, ended.set)
        await ended.wait()
        asyncio.get_running_loop().remove_reader(descriptor)
    finally:
        os.close(descriptor)


def daemon_pid(run: Path) -> int:
    return int((run / "hostd.pid").read_text())


@pytest.mark.parametrize("heavy", ["asyncio", "attr", "cattrs", "json", "sqlite3", "argparse", "logging", "subprocess"])
def test_starts_with_next_to_nothing(heavy: str) -> None:
    script = f"import sys, hostd.__main__, hostd.relay; sys.exit({heavy!r} in sys.modules)"
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {script}"], check=True
    )
