"""Consoles: what is asked at the engine's door, and what a terminal sees of the answer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from core.consoles.client import Change, ConsoleNote
from hostd.spec import HEADER, ConsoleWish, bytes_frame, console_frame, note_frame
from tests.tui.cli.conftest import Cli

Serve = Callable[[Callable[[dict[str, Any], socket.socket], None]], None]


@pytest.fixture
def server(cli: Cli) -> Cli:
    """A cloud with a running server, `web`."""
    cli.host("h1")
    cli.image()
    cli.ok("server", "create", "--flavor", "m1.tiny", "--image", "cirros", "web")
    cli.active("web")
    return cli


@pytest.fixture
def door(cli: Cli) -> Iterator[Serve]:
    """A door as the engine opens it, answering as the test says; the engine's lock is held, so that none is started."""
    run = cli.config.run_dir
    run.mkdir(mode=0o700)
    lock = os.open(run / "serve.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(run / "door.sock"))
    listener.listen()
    threads: list[threading.Thread] = []

    def answer(talk: Callable[[dict[str, Any], socket.socket], None]) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller, caller.makefile("rb") as lines:
                if line := lines.readline():  # a probe says nothing
                    with contextlib.suppress(OSError):  # it may leave in the middle of an answer
                        talk(json.loads(line), caller)

    def start(talk: Callable[[dict[str, Any], socket.socket], None]) -> None:
        thread = threading.Thread(target=answer, args=(talk,))
        threads.append(thread)
        thread.start()

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join()
    os.close(lock)


def test_a_console_log_is_printed_without_its_escape_sequences(server: Cli, door: Serve) -> None:
    asked = []

    def talk(request: dict[str, Any], caller: socket.socket) -> None:
        asked.append(request)
        caller.sendall(json.dumps({"ok": True}).encode() + b"\n")
        caller.sendall(json.dumps({"text": "\x1b[2Jboot\r\n\x1b]0;owned\x07login: "}).encode() + b"\n")

    door(talk)
    done = server.process("console", "log", "show", "--lines", "20", "web")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"boot\nlogin: \n", b"")
    assert asked[0]["lines"] == 20
    assert len(asked[0]["ticket"]) == 36


def test_what_the_host_refuses_is_told(server: Cli, door: Serve) -> None:
    error = {"type": "HostFailed", "title": "host h1 is down", "hint": "Wait for it."}
    door(lambda request, caller: caller.sendall(json.dumps({"error": error}).encode() + b"\n"))
    done = server.process("console", "log", "show", "web")
    assert (done.returncode, done.stderr) == (9, b"error: host h1 is down\nhint: Wait for it.\n")


def test_attach_needs_a_terminal(server: Cli) -> None:
    assert "a console needs a terminal" in server.refused(2, "console", "attach", "web")


def framed(said: bytes | ConsoleNote) -> bytes:
    return bytes_frame(said) if isinstance(said, bytes) else note_frame(said)


ATTACHED = ConsoleNote(change=Change.ATTACHED, who="me", others=(), holder=None, typing=True, running=True)


def test_attach_is_raw_and_ctrl_bracket_leaves(server: Cli, door: Serve) -> None:
    typed: list[bytes] = []

    def talk(request: dict[str, Any], caller: socket.socket) -> None:
        assert (request["write"], request["at"][:4]) == (True, "pts/")
        caller.sendall(json.dumps({"ok": True}).encode() + b"\n" + framed(ATTACHED) + framed(b"\xff\x1b[1mlogin: "))
        with caller.makefile("rb") as stream:
            while header := stream.read(HEADER):
                said = console_frame(stream.read(int.from_bytes(header, "big")), ConsoleWish)
                typed.append(said)
                caller.sendall(framed(b"<" + said + b">"))

    door(talk)
    terminal = pexpect.spawn(
        sys.executable, ["-m", "tui", "console", "attach", "web"], env=os.environ | {"SKYDECK_HOME": str(server.home)}
    )
    terminal.expect_exact(b"Ctrl+] leaves")
    terminal.expect_exact(b"\xff\x1b[1mlogin: ")
    terminal.send(b"\x03")
    terminal.expect_exact(b"<\x03>")
    terminal.send(b"root\x1dnever sent")
    terminal.expect_exact(b"left web")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert typed == [b"\x03", b"root"]


def test_logs_of_all_servers_are_searched(server: Cli, door: Serve) -> None:
    line = {
        "instance_id": "1", "instance": "web\x1b[2J", "project": "p", "host": "h1", "deleted": False, "number": 7,
        "at": 1_700_000_000.5, "text": "a needle\x07",
    }  # fmt: skip
    answer = {"lines": [line], "searched": 3, "more": True, "silent": [["h2", "host h2 is down"]]}

    def talk(request: dict[str, Any], caller: socket.socket) -> None:
        caller.sendall(b'{"ok": true}\n' + json.dumps(answer).encode() + b"\n")

    door(talk)
    done = server.process("console", "search", "needle")
    assert done.returncode == 1, "a host that was not heard is not nothing found"
    assert b"web[2J" in done.stdout
    assert b"a needle |" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"host h2 is down" in done.stderr
    assert b"more lines" in done.stderr
    (row,) = json.loads(server.process("console", "search", "needle", "--all-projects", "-f", "json").stdout)
    assert (row["Number"], row["Time"], row["Host"]) == (7, "2023-11-14T22:13:20Z", "h1")
    assert "is for 1 to 200 characters" in server.refused(2, "console", "search", " ")


def test_a_displays_address_is_shown(server: Cli, door: Serve) -> None:
    door(lambda request, caller: caller.sendall(b'{"ok": true}\n{"address": "127.0.0.1", "port": 5901}\n'))
    done = server.process("console", "url", "show", "web", "-f", "json")
    assert json.loads(done.stdout) == {"protocol": "vnc", "type": "vnc-direct", "url": "vnc://127.0.0.1:5901"}


def test_ssh_goes_through_the_host_where_no_address_answers(
    server: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    done = server.process("server", "ssh", "web", "-l", "me", "-i", "key", "-o", "Ciphers=x", "--", "uptime", "-p")
    told = done.stdout.decode().splitlines()
    address = server.json("server", "show", "-f", "json", "web")["addresses"]
    (ip,) = next(iter(address.values()))
    uuid = server.json("server", "show", "-f", "json", "web")["id"]
    assert told[:10] == ["-i", "key", "-o", "Ciphers=x", "-l", "me", "-p", "22", "-o", f"HostKeyAlias=skydeck-{uuid}"]
    assert told[-4:] == ["--", ip, "uptime", "-p"]
    (proxy,) = [word for word in told if word.startswith("ProxyCommand=")]
    assert proxy.endswith(f" server tunnel {uuid} --address {ip} --port %p")
    assert done.stderr.decode().strip().endswith(f"{ip}, through its host")
    server.ok("server", "create", "--flavor", "m1.tiny", "--image", "cirros", "--no-network", "alone")
    assert "has never been launched" in server.refused(5, "server", "ssh", "alone")
    server.active("alone")
    assert "no address" in server.refused(5, "server", "ssh", "alone")
    (server.home / "config.toml").write_text("[app]\nread_only = true\n")
    assert "read-only mode" in server.refused(4, "server", "ssh", "web")


def test_a_tunnel_carries_stdin_and_stdout(server: Cli, door: Serve) -> None:
    def talk(request: dict[str, Any], caller: socket.socket) -> None:
        caller.sendall(b'{"ok": true}\n')
        heard = b""
        while data := caller.recv(1000):
            heard += data
        caller.sendall(heard.upper())

    door(talk)
    done = server.process("server", "tunnel", "web", "--port", "22", input=b"ssh-2.0")
    assert (done.returncode, done.stdout) == (0, b"SSH-2.0")


def test_a_console_that_is_forbidden_is_told_before_the_terminal_is_changed(server: Cli, door: Serve) -> None:
    server.set_instance("web", launched_at=None)
    terminal = pexpect.spawn(
        sys.executable, ["-m", "tui", "console", "attach", "web"], env=os.environ | {"SKYDECK_HOME": str(server.home)}
    )
    terminal.expect(pexpect.EOF)
    assert terminal.before is not None
    assert terminal.before.startswith(b"error: cannot console: web has never been launched")
    terminal.close()
    assert terminal.exitstatus == 5
