"""Downloads into the image store: continued after a cut by Range, within bounds of size and of time."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from core.errors import Forbidden, Invalid, NotFound, Unavailable
from core.images import checksums, web
from core.images.reach import Reach
from core.images.stores import CHUNK, ImageStore, Partial, Progress, Stored, check_limit
from core.images.web import Cut, shown

TRIES: Final = 5
"""Attempts in a row that bring no byte before a download is given up."""

_PAUSE_FIRST: Final = 0.5
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


def fetch_url(
    store: ImageStore,
    url: str,
    *,
    reach: Reach,
    checksum: str | None = None,
    limit: int | None = None,
    seconds: float | None = None,
    files: bool = False,
    progress: Progress | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Stored:
    """Take in what an http or https URL names (with `files` also a file URL), at most `limit` bytes in `seconds`.

    `checksum` is a sha256 or sha512 in hex, or the URL of a list of such that names the file. A download that was cut,
    also in an earlier process, continues where it was if the server can and still serves the same file. Raises Invalid
    (URL, address, size, checksum), Forbidden for a file URL, NotFound, Conflict when the same download is running,
    Unavailable when the server cannot be reached, is too slow, or the store is full; what came is then kept.
    """
    if (path := local_path(url)) is not None:
        if not files:
            raise Forbidden("files of the controller are not for this user", hint="Give the file itself: --file FILE.")
        return store.put_file(path, sha256=_expected(checksum, url, reach, pause), limit=limit, progress=progress)
    web.split(url)
    expected = _expected(checksum, url, reach, pause)
    upload = f"url-{hashlib.sha256(url.encode()).hexdigest()[:40]}"
    deadline = None if seconds is None else time.monotonic() + seconds
    with store.partial(upload) as partial:
        download = _Download(
            url, partial, reach=reach, known=expected is not None, limit=limit, deadline=deadline, progress=progress
        )

        def further() -> int:
            return partial.size

        try:
            _insist(download.attempt, further, url=url, pause=pause)
        except (Invalid, NotFound):
            # Refused for good: nobody will continue it.
            partial.discard()
            raise
        return partial.commit(expected=expected)


def local_path(url: str) -> Path | None:
    """The file that a file URL names; None for other URLs. Raises Invalid for another machine's."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise Invalid(f"{url!a} is no URL to fetch from", hint="file:///PATH names a file of this machine")
    return Path(unquote(parts.path))


def _expected(checksum: str | None, url: str, reach: Reach, pause: Callable[[float], None]) -> str | None:
    """The digest the file must have. Raises as `fetch_url`."""
    if checksum is None or "://" not in checksum:
        return None if checksum is None else checksums.check(checksum)
    found: list[str] = []

    def fetch() -> None:
        found.append(web.text(checksum, reach=reach, limit=checksums.LONGEST_LIST))

    _insist(fetch, lambda: 0, url=checksum, pause=pause)
    return checksums.named(found[-1], url)


def _insist(
    attempt: Callable[[], None], further: Callable[[], int], *, url: str, pause: Callable[[float], None]
) -> None:
    """Attempt until it succeeds, or TRIES times in a row bring nothing further. Raises Unavailable."""
    failures = 0
    while True:
        before = further()
        try:
            attempt()
            return
        except Cut as cut:
            failures = failures + 1 if further() <= before else 1
            if failures >= TRIES:
                raise Unavailable(
                    f"{shown(url)} could not be fetched: {cut}",
                    hint=f"{further()} bytes are kept; add the image again to continue",
                ) from cut
            pause(_PAUSE_FIRST * 2 ** (failures - 1))


class _Download:
    """One file's way in, over as many requests as it takes."""

    def __init__(
        self,
        url: str,
        partial: Partial,
        *,
        reach: Reach,
        known: bool,
        limit: int | None,
        deadline: float | None,
        progress: Progress | None,
    ) -> None:
        self._url = url
        self._partial = partial
        self._reach = reach
        self._known = known
        self._limit = limit
        self._deadline = deadline
        self._progress = progress

    def attempt(self) -> None:
        """One request. Raises Cut, and Invalid, NotFound, Unavailable where another attempt is no use."""
        partial = self._partial
        validator = partial.note
        if partial.size and not self._known and validator is None:
            # Without a checksum or the server's word that the file is the same, two halves may not belong together.
            partial.restart()
        headers = {}
        if partial.size:
            headers["Range"] = f"bytes={partial.size}-"
            if validator is not None:
                headers["If-Range"] = validator
        with web.get(self._url, reach=self._reach, headers=headers) as response:
            if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if found is not None and int(found[2]) == partial.size:
                    return  # all of it is here
                partial.restart()
                raise Cut("the file at the server changed")
            web.refuse(response, self._url)
            self._take(response)

    def _take(self, response: http.client.HTTPResponse) -> None:
        partial = self._partial
        length = response.headers.get("Content-Length")
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or found[1] is None or int(found[1]) != partial.size:
                partial.restart()
                raise Cut("the server sent another part than was asked for")
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
        # read1: what is there. Waiting for a whole chunk, a server that sends a byte now and then would be waited for
        # without end.
        while chunk := response.read1(CHUNK):
            check_limit(partial.size + len(chunk), self._limit)
            partial.write(chunk)
            if self._progress is not None:
                self._progress(partial.size, total)
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise Unavailable(
                    f"{shown(self._url)} takes too long: {partial.size} bytes came in time",
                    hint="They are kept; add the image again to continue. See image_import_seconds in config.toml.",
                )
        if total is not None and partial.size < total:
            raise Cut(f"the connection was cut after {partial.size} of {total} bytes")
