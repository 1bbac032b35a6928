"""One GET over HTTP or HTTPS, from where imports may reach: every redirect is judged like the first request."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from core.errors import Invalid, NotFound
from core.images.reach import Reach, Unreachable

TIMEOUT: Final = 30.0
"""Seconds a server may be silent."""

REDIRECTS: Final = 5

_MOVED: Final = (301, 302, 303, 307, 308)


class Cut(Exception):
    """The server or the network failed in a way that another attempt may not meet."""


@contextlib.contextmanager
def get(url: str, *, reach: Reach, headers: Mapping[str, str] | None = None) -> Iterator[http.client.HTTPResponse]:
    """The answer, whatever its status but a redirect. Raises Invalid for a URL that may not be fetched, Cut.

    A user and password in the URL are for its own server alone, not for where that redirects to.
    """
    login: str | None = None
    parts = split(url)
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"Basic {base64.b64encode(pair.encode()).decode()}"
    origin = _origin(parts)
    for _ in range(REDIRECTS + 1):
        asked = {"User-Agent": "skydeck", "Accept-Encoding": "identity", **(headers or {})}
        if login is not None and _origin(parts) == origin:
            asked["Authorization"] = login
        with _translated(), contextlib.closing(_connection(parts, reach)) as connection:
            connection.request("GET", _target(connection, parts), headers=asked)
            # A response that ends with its connection has the socket for itself.
            with connection.getresponse() as response:
                if response.status not in _MOVED or not (location := response.headers.get("Location")):
                    yield response
                    return
        moved = split(urljoin(urlunsplit(parts), location))
        if parts.scheme == "https" and moved.scheme == "http":
            raise Invalid(f"{shown(url)} leads from https to http", hint="Name the final URL, with a checksum.")
        parts = moved
    raise Invalid(f"{shown(url)} leads from one place to another, without end", hint="Name the final URL.")


def text(url: str, *, reach: Reach, limit: int) -> str:
    """A small text. Raises Invalid when it is larger than `limit` bytes or refused, NotFound, Cut."""
    with get(url, reach=reach) as response:
        refuse(response, url)
        data = response.read(limit + 1)
    if len(data) > limit:
        raise Invalid(f"{shown(url)} has more than {limit} bytes", hint="It is no list of checksums.")
    return data.decode("utf-8", errors="replace")


def refuse(response: http.client.HTTPResponse, url: str) -> None:
    """Raise what an answer that is none means: NotFound, Invalid, or Cut where another attempt may fare better."""
    status = response.status
    if status < http.HTTPStatus.BAD_REQUEST:
        return
    if status in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE):
        raise NotFound(f"{shown(url)} does not exist (HTTP {status})", hint="check the URL")
    if status < 500 and status not in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS):
        raise Invalid(f"{shown(url)} answers HTTP {status}", hint="check the URL and who may read it")
    raise Cut(f"the server answers HTTP {status}")


def split(url: str) -> SplitResult:
    """Raises Invalid for what is no http or https URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as bad:
        raise Invalid(f"{url!a} is no URL: {bad}") from bad
    plain = all("!" <= letter <= "~" for letter in url)
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not plain:
        raise Invalid(f"{shown(url) if plain else 'that'!a} is no URL to fetch from", hint="use http:// or https://")
    return parts


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _Plain(http.client.HTTPConnection):
    def __init__(self, host: str, port: int, *, reach: Reach) -> None:
        super().__init__(host, port, timeout=TIMEOUT)
        self._reach = reach

    def connect(self) -> None:
        self.sock = self._reach.connect(self.host, self.port, TIMEOUT)


class _Secure(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, *, reach: Reach, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=TIMEOUT, context=context)
        self._reach = reach
        self._tls = context

    def connect(self) -> None:
        # The name is what the certificate must be for; the address is the one that was judged.
        sock = self._reach.connect(self.host, self.port, TIMEOUT)
        self.sock = self._tls.wrap_socket(sock, server_hostname=self.host)


def _connection(parts: SplitResult, reach: Reach) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        return _by_proxy(proxy, host, port, secure=secure, reach=reach)
    if not secure:
        return _Plain(host, port, reach=reach)
    return _Secure(host, port, reach=reach, context=ssl.create_default_context())


def _by_proxy(proxy: str, host: str, port: int, *, secure: bool, reach: Reach) -> http.client.HTTPConnection:
    """The operator's proxy decides what a name may stand for; a literal address is judged here as well."""
    reach.check(host)
    at = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not at.hostname:
        raise Invalid(f"the proxy {proxy!a} is no URL", hint="See the environment: http_proxy, https_proxy.")
    if not secure:
        return http.client.HTTPConnection(at.hostname, at.port or 80, timeout=TIMEOUT)
    connection = http.client.HTTPSConnection(
        at.hostname, at.port or 80, timeout=TIMEOUT, context=ssl.create_default_context()
    )
    connection.set_tunnel(host, port)
    return connection


def _target(connection: http.client.HTTPConnection, parts: SplitResult) -> str:
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    if isinstance(connection, _Plain | _Secure | http.client.HTTPSConnection):
        return path
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except http.client.HTTPException as bad:
        raise Cut(f"the server's answer was cut: {bad!r}") from bad
    except (TimeoutError, Unreachable, ssl.SSLError, ConnectionError, socket.gaierror) as bad:
        raise Cut(str(bad) or "the server is silent") from bad
