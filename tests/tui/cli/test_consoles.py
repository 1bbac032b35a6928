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
from typing import Any

import pexpect
import pytest

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


def test_attach_is_raw_and_ctrl_bracket_leaves(server: Cli, door: Serve) -> None:
    typed = []

    def talk(request: dict[str, Any], caller: socket.socket) -> None:
        assert request["write"] is True
        caller.sendall(json.dumps({"ok": True}).encode() + b"\n\xff\x1b[1mlogin: ")
        while data := caller.recv(100):
            typed.append(data)
            caller.sendall(b"<" + data + b">")

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
