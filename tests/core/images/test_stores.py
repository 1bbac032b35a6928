"""The image store on a real file system, downloads from a real HTTP server that cuts, and qemu-img's second look."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.images.fetch import fetch_url as fetch
from core.images.inspector import ImageRejected, inspect
from core.images.qemu_img import check_with_qemu_img
from core.images.reach import Reach
from core.images.stores import ImageStore, Stored
from hostd.spec import DiskFormat

MIB = 1024 * 1024
DATA = os.urandom(3 * MIB + 777)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


# ---------------------------------------------------------------------------- files


def test_a_file_is_kept_by_its_digest(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(DATA)
    told: list[tuple[int, int | None]] = []
    stored = store.put_file(tmp_path / "disk", progress=lambda done, total: told.append((done, total)))
    assert stored == Stored(digest=DIGEST, size=len(DATA), path=tmp_path / "images" / DIGEST[:2] / DIGEST)
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o444
    assert told[-1] == (len(DATA), len(DATA))
    with store.open(DIGEST) as file:
        assert file.read() == DATA
    assert store.put_file(tmp_path / "disk") == stored, "the same bytes are the same image"
    assert attrs.evolve(store.usage(), free=0) == attrs.evolve(
        store.usage(), images=1, image_bytes=len(DATA), partials=0, partial_bytes=0, free=0
    )
    assert store.delete(DIGEST)
    assert not store.delete(DIGEST)
    with pytest.raises(NotFound):
        store.open(DIGEST)


def test_an_upload_continues_where_it_was(store: ImageStore) -> None:
    with store.partial("upload-1") as partial:
        partial.write(DATA[:MIB])
    assert store.usage().partial_bytes == MIB
    with store.partial("upload-1", total=len(DATA)) as partial:
        assert partial.size == MIB
        partial.write(DATA[MIB:])
        assert partial.commit(expected=DIGEST).digest == DIGEST
    assert store.usage().partials == 0


def test_an_upload_has_one_writer(store: ImageStore) -> None:
    with store.partial("upload-1"), pytest.raises(Conflict):
        store.partial("upload-1")
    with store.partial("upload-1") as partial:
        assert partial.size == 0


def test_another_digest_than_expected_is_dropped(store: ImageStore) -> None:
    with store.partial("upload-1") as partial:
        partial.write(b"something else")
        with pytest.raises(Invalid, match="expected"):
            partial.commit(expected=DIGEST)
    assert (store.usage().images, store.usage().partials) == (0, 0)


def test_names_cannot_leave_the_store(store: ImageStore) -> None:
    for name in ("../../etc/passwd", "", "a/b", ".hidden"):
        with pytest.raises(Invalid):
            store.partial(name)
        with pytest.raises(NotFound):
            store.open(name)


def test_what_cannot_be_read_is_refused(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        store.put_file(tmp_path / "nothing")
    with pytest.raises(Invalid):
        store.put_file(tmp_path)
    (tmp_path / "disk").write_bytes(DATA)
    with pytest.raises(Invalid, match="limit"):
        store.put_file(tmp_path / "disk", limit=MIB)
    assert store.usage().partials == 0


def test_stale_uploads_are_dropped(store: ImageStore) -> None:
    with store.partial("old") as partial:
        partial.write(b"x" * 100)
    assert store.remove_stale(before=0) == 0
    assert store.remove_stale(before=2**40) == 100


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[ImageStore]:
    """A store on a file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        yield ImageStore(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_store_says_what_is_needed(small_store: ImageStore) -> None:
    with small_store.partial("upload-1") as partial, pytest.raises(Unavailable, match="at least"):
        partial.write(DATA)
    kept = small_store.usage().partial_bytes
    assert MIB < kept < len(DATA), "what fitted is kept"
    with pytest.raises(Unavailable, match=f"{len(DATA) - kept} bytes are needed"):
        small_store.partial("upload-1", total=len(DATA))


# ---------------------------------------------------------------------------- downloads


@attrs.define
class Served:
    """What the server does; tests change it while it runs."""

    url: str = ""
    data: bytes = DATA
    cuts: list[int] = attrs.field(factory=list)
    """Bytes after which the next answers are cut."""
    ranges: bool = True
    tag: str | None = '"v1"'
    status: int = 0
    asked: list[str | None] = attrs.field(factory=list)
    """The Range header of each request."""
    login: str | None = None
    """The Authorization header of the last request."""


@pytest.fixture
def server() -> Iterator[Served]:
    served = Served()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            served.asked.append(wanted)
            served.login = self.headers["Authorization"]
            if served.status:
                self.send_error(served.status)
                return
            start = 0
            if wanted and served.ranges and self.headers["If-Range"] in (None, served.tag):
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(served.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(served.data)}")
                self.end_headers()
                return
            body = served.data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(served.data) - 1}/{len(served.data)}")
            if served.tag:
                self.send_header("ETag", served.tag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = served.cuts.pop(0) if served.cuts else len(body)
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body[:cut])

        def log_message(self, *_args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        served.url = f"http://127.0.0.1:{running.server_port}/disk.qcow2"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        running.shutdown()
        thread.join()


HERE = Reach(names=("127.0.0.1",))


def fetch_url(store: ImageStore, url: str, **more: Any) -> Stored:
    return fetch(store, url, **{"reach": HERE, "pause": lambda seconds: None, **more})


def test_a_download_is_kept_by_its_digest(store: ImageStore, server: Served) -> None:
    told: list[tuple[int, int | None]] = []
    stored = fetch_url(store, server.url, checksum=DIGEST, progress=lambda done, total: told.append((done, total)))
    assert stored.digest == DIGEST
    assert told[-1] == (len(DATA), len(DATA))


def test_a_cut_download_continues(store: ImageStore, server: Served) -> None:
    server.cuts = [MIB, 10, 0]
    assert fetch_url(store, server.url).digest == DIGEST
    assert server.asked == [None, f"bytes={MIB}-", f"bytes={MIB + 10}-", f"bytes={MIB + 10}-"]


def test_a_download_continues_in_another_process(store: ImageStore, server: Served) -> None:
    server.cuts = [MIB] + [0] * 5
    with pytest.raises(Unavailable, match=r"cut after 1048576 of \d+ bytes"):
        fetch_url(store, server.url)
    server.asked.clear()
    server.cuts.clear()
    assert fetch_url(store, server.url).digest == DIGEST
    assert server.asked == [f"bytes={MIB}-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(store: ImageStore, server: Served) -> None:
    server.cuts = [MIB] + [0] * 5
    with pytest.raises(Unavailable):
        fetch_url(store, server.url)
    server.data, server.tag = b"shorter", '"v2"'
    assert fetch_url(store, server.url).digest == hashlib.sha256(b"shorter").hexdigest()


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_halves_that_may_not_fit_are_not_joined(store: ImageStore, server: Served, tag: str | None) -> None:
    server.tag, server.cuts = tag, [MIB]
    assert fetch_url(store, server.url).digest == DIGEST
    assert server.asked == [None, None]


def test_a_server_without_ranges_is_asked_anew(store: ImageStore, server: Served) -> None:
    server.ranges, server.cuts = False, [MIB]
    assert fetch_url(store, server.url, checksum=DIGEST).digest == DIGEST


def test_a_download_that_was_complete_is_finished(store: ImageStore, server: Served) -> None:
    upload = f"url-{hashlib.sha256(server.url.encode()).hexdigest()[:40]}"
    with store.partial(upload) as partial:
        partial.write(DATA)
    assert fetch_url(store, server.url, checksum=DIGEST).digest == DIGEST
    assert server.asked == [f"bytes={len(DATA)}-"]


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (403, Invalid), (500, Unavailable)])
def test_a_server_that_says_no(store: ImageStore, server: Served, status: int, error: type[Exception]) -> None:
    server.status = status
    with pytest.raises(error, match=f"HTTP {status}") as caught:
        fetch_url(store, server.url.replace("http://", "http://me:secret@") + "?token=secret")
    assert "secret" not in str(caught.value)
    assert server.login == "Basic bWU6c2VjcmV0"


def test_limits_and_checksums_hold_for_downloads(store: ImageStore, server: Served) -> None:
    with pytest.raises(Invalid, match="limit"):
        fetch_url(store, server.url, limit=MIB)
    with pytest.raises(Invalid, match="sha256"):
        fetch_url(store, server.url, checksum="0" * 64)
    assert (store.usage().images, store.usage().partials) == (0, 0)


def test_other_urls_are_refused(store: ImageStore, tmp_path: Path) -> None:
    for url in ("ftp://example.org/disk", "disk.qcow2", "http:///disk", "file://elsewhere/disk"):
        with pytest.raises(Invalid, match="URL"):
            fetch_url(store, url)
    with pytest.raises(Unavailable, match="could not be fetched"):
        fetch_url(store, "http://127.0.0.1:1/disk")
    (tmp_path / "a disk").write_bytes(DATA)
    assert fetch_url(store, (tmp_path / "a disk").as_uri(), files=True, checksum=DIGEST).digest == DIGEST
    with pytest.raises(Invalid, match="expected"):
        fetch_url(store, (tmp_path / "a disk").as_uri(), files=True, checksum="0" * 64)
    store.path(DIGEST)


# ---------------------------------------------------------------------------- qemu-img


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk", "vpc", "vhdx", "vdi"])
def test_qemu_img_agrees_with_the_inspector(store: ImageStore, tmp_path: Path, kind: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, tmp_path / "disk", "8M"], check=True)
    stored = store.put_file(tmp_path / "disk")
    with store.open(stored.digest) as file:
        inspected = inspect(file, declared=kind)
    check_with_qemu_img(stored.path, inspected)
    with pytest.raises(ImageRejected, match="qemu-img sees a disk of"):
        check_with_qemu_img(stored.path, attrs.evolve(inspected, virtual_size=inspected.virtual_size + 512))
    if kind != "raw":
        other = DiskFormat.QCOW2 if kind != "qcow2" else DiskFormat.VDI
        with pytest.raises(ImageRejected, match="qemu-img refuses"):
            check_with_qemu_img(stored.path, attrs.evolve(inspected, format=other))


def test_qemu_img_sees_a_backing_file_all_the_same(tmp_path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "base", "8M"], check=True)
    with (tmp_path / "base").open("rb") as file:
        inspected = inspect(file, declared="qcow2")
    overlay = tmp_path / "overlay"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", tmp_path / "base", "-F", "qcow2", overlay], check=True
    )
    overlay.chmod(0o444)
    with pytest.raises(ImageRejected):
        check_with_qemu_img(overlay, inspected)
