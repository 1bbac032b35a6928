"""The web server: answers, limits, and guests that mean no good."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hostd.metadata import http, server
from hostd.metadata.http import Asked
from hostd.metadata.server import HEAD_BYTES, PER_CALLER, MetadataServer

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


def respond(name: str, address: str, asked: Asked) -> bytes:
    return http.answer(200, f"{name} {address} {asked.path}".encode())


class Served:
    """A server with one listener of this machine, called `door`."""

    def __init__(self, respond: server.Respond, *, patience: float) -> None:
        self.server = MetadataServer(respond, patience=patience)
        self.server.start()
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.server.listen("door", [listening])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, request: bytes = GET) -> bytes:
        """The whole answer; empty when the connection was cut."""
        with self.connect() as client:
            try:
                client.sendall(request)
                return client.makefile("rb").read()
            except ConnectionError:
                return b""


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def start(respond: server.Respond = respond, *, patience: float = 30.0) -> Served:
        made.append(Served(respond, patience=patience))
        return made[-1]

    yield start
    for one in made:
        one.server.stop()


def test_who_asks_is_the_listener_and_the_address(serve: Callable[..., Served]) -> None:
    assert serve().ask().endswith(b"\r\n\r\ndoor 127.0.0.1 /x")


def test_a_request_may_come_in_pieces(serve: Callable[..., Served]) -> None:
    with serve().connect() as client:
        for byte in GET:
            client.sendall(bytes([byte]))
        assert client.makefile("rb").read().endswith(b"/x")


def test_what_is_too_long_or_no_request_is_refused(serve: Callable[..., Served]) -> None:
    served = serve()
    assert b" 431 " in served.ask(b"GET /" + b"x" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n").splitlines()[0]
    assert b" 400 " in served.ask(b"hello\r\n\r\n").splitlines()[0]


def test_who_is_slow_is_cut_and_holds_up_nobody(serve: Callable[..., Served]) -> None:
    served = serve(patience=0.3)
    with served.connect() as silent:
        silent.sendall(b"GET /x HT")
        assert served.ask().endswith(b"/x")
        assert silent.recv(1) == b""


def test_who_does_not_read_is_cut(serve: Callable[..., Served]) -> None:
    served = serve(lambda *asked: http.answer(200, bytes(64 << 20)), patience=0.3)
    with served.connect() as deaf:
        deaf.sendall(GET)
        got = 0
        # It is cut while most of the answer is still to come: reading on finds the end early.
        threading.Event().wait(3.0)
        try:
            while data := deaf.recv(1 << 20):
                got += len(data)
        except ConnectionResetError:
            pass
        assert got < 64 << 20


def test_one_address_holds_so_many_connections_and_no_more(serve: Callable[..., Served]) -> None:
    served = serve()
    waiting = [served.connect() for _ in range(PER_CALLER)]
    try:
        assert served.ask() == b"", "the one too many is closed unheard"
        waiting[0].sendall(GET)
        assert waiting[0].makefile("rb").read().endswith(b"/x")
        assert served.ask().endswith(b"/x")
    finally:
        for client in waiting:
            client.close()


def test_an_answer_that_does_not_come_is_said_to_be_late(serve: Callable[..., Served]) -> None:
    over = threading.Event()

    def never(*asked: object) -> bytes:
        over.wait()
        return b""

    try:
        assert b" 503 " in serve(never, patience=0.2).ask().splitlines()[0]
    finally:
        over.set()


def test_a_closed_listener_answers_no_more(serve: Callable[..., Served]) -> None:
    served = serve()
    served.server.close("door")
    served.server.close("door")
    with pytest.raises(OSError):  # noqa: PT011 - refused, or cut if it was just accepted
        served.connect().close()
