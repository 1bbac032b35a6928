"""Downloads into the image store: HTTP and HTTPS through the standard library, continued after a cut by Range."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from core.errors import Invalid, NotFound, Unavailable
from core.images.stores import CHUNK, ImageStore, Partial, Progress, Stored, check_limit

TRIES: Final = 5
"""Attempts in a row that bring no byte before a download is given up."""

_TIMEOUT: Final = 30.0
_PAUSE_FIRST: Final = 0.5
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")


class _Cut(Exception):
    """The server or the network failed in a way that another attempt may not meet."""


def fetch_url(
    store: ImageStore,
    url: str,
    *,
    sha256: str | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Stored:
    """Take in what an http, https or file URL names, at most `limit` bytes.

    A download that was cut, also in an earlier process, continues where it was if the server can and still serves the
    same file. Raises Invalid (URL, size, checksum), NotFound, Conflict when the same download is running, Unavailable
    when the server cannot be reached or the store is full; what came is then kept.
    """
    parts = urlsplit(url)
    if sha256 is not None and not _DIGEST.fullmatch(sha256):
        raise Invalid(f"{sha256!a} is no sha256", hint="give 64 hex digits")
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return store.put_file(Path(unquote(parts.path)), sha256=sha256, limit=limit, progress=progress)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"{url!a} is no URL to fetch from", hint="use http://, https:// or file://")
    upload = f"url-{hashlib.sha256(url.encode()).hexdigest()[:40]}"
    failures = 0
    with store.partial(upload) as partial:
        download = _Download(url, partial, known=sha256 is not None, limit=limit, progress=progress)
        while True:
            before = partial.size
            try:
                download.attempt()
                return partial.commit(expected=sha256)
            except _Cut as cut:
                failures = failures + 1 if partial.size <= before else 1
                if failures >= TRIES:
                    raise Unavailable(
                        f"{_shown(url)} could not be fetched: {cut}",
                        hint=f"{partial.size} bytes are kept; add the image again to continue",
                    ) from cut
                pause(_PAUSE_FIRST * 2 ** (failures - 1))


class _Download:
    """One file's way in, over as many requests as it takes."""

    def __init__(
        self, url: str, partial: Partial, *, known: bool, limit: int | None, progress: Progress | None
    ) -> None:
        parts = urlsplit(url)
        self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        self._partial = partial
        self._known = known
        self._limit = limit
        self._progress = progress

    def attempt(self) -> None:
        """One request. Raises _Cut, and Invalid, NotFound, Unavailable where another attempt is no use."""
        partial = self._partial
        validator = partial.note
        if partial.size and not self._known and validator is None:
            # Without a checksum or the server's word that the file is the same, two halves may not belong together.
            partial.restart()
        request = urllib.request.Request(self._url, headers={"User-Agent": "skydeck", "Accept-Encoding": "identity"})
        if self._login is not None:
            # For this server alone, not for where it redirects to.
            basic = base64.b64encode(self._login.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {basic}")
        if partial.size:
            request.add_header("Range", f"bytes={partial.size}-")
            if validator is not None:
                request.add_header("If-Range", validator)
        try:
            with _opener().open(request, timeout=_TIMEOUT) as response:
                self._take(response)
        except urllib.error.HTTPError as bad:
            with bad:
                self._refused(bad)
        except http.client.HTTPException as bad:
            raise _Cut(f"the server's answer was cut: {bad!r}") from bad
        except urllib.error.URLError as bad:
            raise _Cut(str(bad.reason)) from bad
        except (TimeoutError, ConnectionError) as bad:
            raise _Cut(str(bad) or "the server is silent") from bad

    def _take(self, response: http.client.HTTPResponse) -> None:
        partial = self._partial
        length = response.headers.get("Content-Length")
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or found[1] is None or int(found[1]) != partial.size:
                partial.restart()
                raise _Cut("the server sent another part than was asked for")
            total: int | None = int(found[2])
        else:
            partial.restart()
            total = int(length) if length is not None and length.isdecimal() else None
        tag = response.headers.get("ETag")
        # Only a strong validator may follow If-Range (RFC 9110, 13.1.5).
        partial.note = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        if total is not None:
            check_limit(total, self._limit)
            partial.expect(total)
        while chunk := response.read(CHUNK):
            check_limit(partial.size + len(chunk), self._limit)
            partial.write(chunk)
            if self._progress is not None:
                self._progress(partial.size, total)
        if total is not None and partial.size < total:
            raise _Cut(f"the connection was cut after {partial.size} of {total} bytes")

    def _refused(self, bad: urllib.error.HTTPError) -> None:
        found = _CONTENT_RANGE.fullmatch(bad.headers.get("Content-Range", ""))
        if bad.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if found is not None and int(found[2]) == self._partial.size:
                return  # all of it is here
            self._partial.restart()
            raise _Cut("the file at the server changed")
        if bad.code in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE):
            raise NotFound(f"{_shown(self._url)} does not exist (HTTP {bad.code})", hint="check the URL") from bad
        if bad.code < 500 and bad.code not in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS):
            raise Invalid(
                f"{_shown(self._url)} answers HTTP {bad.code} {bad.reason}", hint="check the URL and who may read it"
            ) from bad
        raise _Cut(f"the server answers HTTP {bad.code} {bad.reason}") from bad


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS alone: the usual opener would follow a redirect to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))
