"""Metadata over HTTP: what a request asks, and the bytes of its answer. Pure.

One request a connection, GET and HEAD alone: that is all that cloud-init, Ignition, cloudbase-init and
curl need, and all that a guest can make us do.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

import attrs

from hostd.metadata import ec2, openstack
from hostd.metadata.ec2 import Caller
from hostd.spec import Metadata

TEXT: Final = "text/plain; charset=UTF-8"

REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@attrs.frozen(kw_only=True)
class Asked:
    """A request, as far as it matters here."""

    method: str
    path: str


def parse(head: bytes) -> Asked:
    """The request of a head that ends in an empty line. Raises ValueError when it is no HTTP/1 request."""
    line = head.split(b"\n", 1)[0].decode("latin-1").rstrip("\r")
    method, target, version = line.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"no HTTP/1: {version!r}")
    return Asked(method=method, path=unquote(urlsplit(target).path))


def respond(asked: Asked, caller: Caller, told: Metadata) -> bytes:
    """The whole answer. Raises HostError(PROTOCOL) when what the guest should be told is not base64."""
    if asked.method not in ("GET", "HEAD"):
        return answer(405)
    first, _, below = asked.path.strip("/").partition("/")
    if first == "openstack":
        body = openstack.answer(below, caller.device, told)
    else:
        body = ec2.answer(asked.path, caller, told)
    if body is None:
        return answer(404)
    kind = "application/json" if asked.path.endswith(".json") else TEXT
    return answer(200, body, kind=kind, head=asked.method == "HEAD")


def answer(
    code: int, body: bytes | None = None, *, kind: str = "text/plain; charset=UTF-8", head: bool = False
) -> bytes:
    """An answer with a body, or with the code's own words. `head` leaves the body out and keeps its length."""
    text = f"{REASONS[code]}\n".encode() if body is None else body
    lines = (
        f"HTTP/1.1 {code} {REASONS[code]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(text)}",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1") + (b"" if head else text)
