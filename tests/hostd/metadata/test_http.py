"""Requests read and answers written: pure, byte for byte."""

from __future__ import annotations

import pytest

from hostd.metadata import http
from hostd.metadata.ec2 import Caller
from hostd.metadata.http import Asked
from tests.hostd.specs import UUID, metadata

CALLER = Caller(device=UUID, mac="fa:16:3e:00:00:01", ipv4="10.0.0.10")


def status(head: bytes) -> tuple[int, bytes]:
    """The code and the body of the answer to a request."""
    answer = http.respond(http.parse(head), CALLER, metadata())
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), rest.partition(b"\r\n\r\n")[2]


def test_an_answer_byte_for_byte() -> None:
    assert http.respond(Asked(method="GET", path="/latest/meta-data/hostname"), CALLER, metadata()) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: 3\r\n"
        b"Connection: close\r\n\r\nweb"
    )


def test_a_head_has_the_length_and_not_the_body() -> None:
    code, body = status(b"HEAD /latest/meta-data/hostname HTTP/1.1\r\n\r\n")
    assert (code, body) == (200, b"")


def test_json_is_called_so() -> None:
    answer = http.respond(Asked(method="GET", path="/openstack/latest/meta_data.json"), CALLER, metadata())
    assert b"Content-Type: application/json\r\n" in answer


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET /openstack HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", 200),
        (b"GET //openstack//latest/?x=1 HTTP/1.1\r\n\r\n", 200),
        (b"GET http://169.254.169.254/openstack/latest HTTP/1.1\r\n\r\n", 200),
        (b"GET /%6fpenstack HTTP/1.1\r\n\r\n", 200),
        (b"GET /openstack/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"PUT /latest/api/token HTTP/1.1\r\n\r\n", 405),
        (b"POST /openstack/latest/password HTTP/1.1\r\n\r\n", 405),
    ],
)
def test_codes(head: bytes, code: int) -> None:
    assert status(head)[0] == code


@pytest.mark.parametrize(
    "head", [b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / SPDY/3\r\n\r\n", b"\xff\xfe\x00 \r\n\r\n", b"a b c d\r\n"]
)
def test_what_is_no_request(head: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own words for some of them
        http.parse(head)
