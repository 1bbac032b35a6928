"""An image's way in and out: real files, a real HTTP server on loopback, the real qemu-img."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import cloud
from core.compute.instances import create as instances
from core.compute.instances import verbs
from core.config import Config, load
from core.context import Context
from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.hosts import hosts
from core.identity import quotas
from core.images import bring, images, intake
from core.images.images import Image
from core.images.inspector import ImageRejected
from core.images.stores import ImageStore
from core.store import Store

MIB = 1 << 20


@pytest.fixture(scope="module")
def qcow2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 MiB of disk in a qcow2 file of about 3 MiB."""
    directory = tmp_path_factory.mktemp("images")
    raw = directory / "disk.raw"
    raw.write_bytes(os.urandom(3 * MIB) + bytes(5 * MIB))
    image = directory / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image)], check=True)
    return image


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/config.toml").write_text('image_import_allow = "127.0.0.1"')
    return load({"SKYDECK_HOME": str(tmp_path / "home")})


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    store = cloud.open_store(config)
    yield store
    store.close()


@pytest.fixture
def ctx(store: Store, config: Config) -> Context:
    with store.read() as session:
        return cloud.context(session, config, source="cli")


@pytest.fixture
def files(config: Config) -> ImageStore:
    return ImageStore(config.images_dir)


def start(store: Store, ctx: Context, name: str = "disk", disk_format: str = "qcow2", **source: object) -> Image:
    with store.write() as session:
        return bring.start(session, ctx, name=name, disk_format=disk_format, **source)  # type: ignore[arg-type]


def take(store: Store, config: Config, ctx: Context, path: Path, name: str = "disk", **more: str) -> Image:
    image = start(store, ctx, name, path=path, **more)
    return bring.bring(store, config, ctx, image.id, path=path)


def state_of(store: Store, ctx: Context, image_id: str) -> Image:
    with store.read() as session:
        return images.find(session, ctx, image_id)


def test_a_file_becomes_an_active_image(
    store: Store, config: Config, ctx: Context, files: ImageStore, qcow2: Path
) -> None:
    image = start(store, ctx, path=qcow2)
    assert image.status == "queued"
    told: list[tuple[int, int | None]] = []
    active = bring.bring(
        store, config, ctx, image.id, path=qcow2, progress=lambda done, total: told.append((done, total))
    )
    size = qcow2.stat().st_size
    assert (active.status, active.size, active.virtual_size) == ("active", size, 8 * MIB)
    assert active.digest == hashlib.sha256(qcow2.read_bytes()).hexdigest()
    assert files.path(active.digest).read_bytes() == qcow2.read_bytes()
    assert told[-1] == (size, size)
    with pytest.raises(Conflict, match="is active"):
        bring.bring(store, config, ctx, image.id, path=qcow2)
    assert files.usage().images == 1


def test_what_is_not_what_it_was_declared_is_killed_and_leaves_nothing(
    store: Store, config: Config, ctx: Context, files: ImageStore, qcow2: Path
) -> None:
    image = start(store, ctx, disk_format="raw", path=qcow2)
    with pytest.raises(ImageRejected, match="declared raw") as refused:
        bring.bring(store, config, ctx, image.id, path=qcow2)
    assert refused.value.hint
    killed = state_of(store, ctx, image.id)
    assert killed.status == "killed"
    assert "declared raw" in killed.error
    assert (files.usage().images, files.usage().partials) == (0, 0)


def test_a_backing_file_is_refused(
    store: Store, config: Config, ctx: Context, files: ImageStore, qcow2: Path, tmp_path: Path
) -> None:
    overlay = tmp_path / "overlay.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(qcow2), "-F", "qcow2", str(overlay)], check=True
    )
    image = start(store, ctx, path=overlay)
    with pytest.raises(ImageRejected, match="backing"):
        bring.bring(store, config, ctx, image.id, path=overlay)
    assert state_of(store, ctx, image.id).status == "killed"
    assert files.usage().images == 0


def test_a_disk_beyond_the_quota_is_refused_before_qemu_img_sees_it(
    store: Store, config: Config, ctx: Context, qcow2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "check_with_qemu_img", lambda path, inspected: pytest.fail("qemu-img saw it"))
    with store.write() as session:
        quotas.update(session, ctx, ctx.project_id, "admin", {"image_size": 8 * MIB - 1})
    image = start(store, ctx, path=qcow2)
    with pytest.raises(ImageRejected, match=f"the limit is {8 * MIB - 1}"):
        bring.bring(store, config, ctx, image.id, path=qcow2)
    assert state_of(store, ctx, image.id).status == "killed"


def test_other_bytes_than_were_promised_are_refused(
    store: Store, config: Config, ctx: Context, files: ImageStore, qcow2: Path
) -> None:
    kept = take(store, config, ctx, qcow2)
    for more in ({"path": qcow2}, {"url": qcow2.as_uri()}):
        image = start(store, ctx, "other", **more)
        with pytest.raises(Invalid, match="sha256"):
            bring.bring(store, config, ctx, image.id, expected_digest="0" * 64, **more)  # type: ignore[arg-type]
        assert state_of(store, ctx, image.id).status == "killed"
    assert kept.digest is not None
    assert files.path(kept.digest).exists()  # the other image's bytes are the same, and stay


def test_bytes_come_from_one_place(store: Store, ctx: Context, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="from one place"):
        start(store, ctx)
    with pytest.raises(Invalid, match="from one place"):
        start(store, ctx, path=tmp_path, url="http://localhost/")
    with pytest.raises(NotFound, match="no file"):
        start(store, ctx, path=tmp_path / "nope")


def test_a_source_is_recorded_without_its_secrets() -> None:
    assert bring.source_of(url="https://me:secret@example.org:8443/a.img?token=x#y") == "https://example.org:8443/a.img"


def test_bytes_stay_while_anybody_stands_on_them(
    store: Store, config: Config, ctx: Context, files: ImageStore, qcow2: Path
) -> None:
    first = take(store, config, ctx, qcow2, "first")
    second = take(store, config, ctx, qcow2, "second")
    assert first.digest == second.digest
    assert first.digest is not None
    with store.write() as session:
        host = hosts.enroll(
            session, ctx, config, id=store.clock.uuid(), name="h", address="", port=22, ssh_user="root", host_key="",
            socket="/run/h", availability_zone="nova",
        )  # fmt: skip
        host.state, host.vcpus, host.ram_mb, host.disk_gb = "up", 4, 4096, 40
        host.refresh_caps()
    spec = instances.CreateSpec(name="web", flavor="m1.tiny", image="first", networks=("none",))
    instances.create(store, config, ctx, spec)

    bring.remove(store, config, ctx, "second")
    assert files.path(first.digest).exists()  # the first image
    bring.remove(store, config, ctx, "first")
    assert files.path(first.digest).exists()  # the instance, whose image is deleted
    assert bring.sweep(store, config) == 0
    with store.write() as session:
        verbs.find(session, ctx, "web").deleted_at = 1
    assert bring.sweep(store, config) == 1
    with pytest.raises(NotFound):
        files.path(first.digest)
    assert bring.sweep(store, config) == 0


def test_bytes_that_went_before_they_were_activated_are_missed(
    store: Store, config: Config, ctx: Context, files: ImageStore, qcow2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(qcow2.read_bytes()).hexdigest()
    # Between the check and the record somebody deletes the last image of the same bytes.
    monkeypatch.setattr(intake, "check_with_qemu_img", lambda path, inspected: files.delete(digest))
    image = start(store, ctx, path=qcow2)
    with pytest.raises(Conflict, match="removed meanwhile"):
        bring.bring(store, config, ctx, image.id, path=qcow2)
    monkeypatch.undo()
    again = start(store, ctx, path=qcow2)
    assert again.id == image.id
    assert bring.bring(store, config, ctx, again.id, path=qcow2).status == "active"


# ---------------------------------------------------------------------------- interruptions


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; `cut` bytes into each answer, while it is set, the connection ends or hangs."""

    data = b""
    cut: int | None = None
    hang = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.offsets: list[int] = []
        self.hung = threading.Event()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/disk.qcow2"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path != "/disk.qcow2":
            self.send_error(404)
            return
        data, asked = self.server.data, self.headers.get("Range")
        offset = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.server.offsets.append(offset)
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(data) - offset))
        if asked:
            self.send_header("Content-Range", f"bytes {offset}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        end = len(data) if self.server.cut is None else offset + self.server.cut
        self.wfile.write(data[offset:end])
        if self.server.hang and end < len(data):
            self.wfile.flush()
            self.server.hung.set()
            self.server.released.wait(30)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(qcow2: Path) -> Iterator[Server]:
    with Server() as server:
        server.data = qcow2.read_bytes()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def test_a_url_becomes_an_active_image(store: Store, config: Config, ctx: Context, server: Server) -> None:
    image = start(store, ctx, url=server.url)
    digest = hashlib.sha256(server.data).hexdigest()
    active = bring.bring(store, config, ctx, image.id, url=server.url, expected_digest=digest)
    assert (active.status, active.digest, active.source) == ("active", digest, server.url)


def test_a_url_that_is_not_there_kills_the_image(store: Store, config: Config, ctx: Context, server: Server) -> None:
    url = server.url.replace("disk", "other")
    image = start(store, ctx, url=url)
    with pytest.raises(NotFound, match="404"):
        bring.bring(store, config, ctx, image.id, url=url)
    assert state_of(store, ctx, image.id).status == "killed"


def test_a_server_that_cannot_be_reached_leaves_the_image_to_be_brought_again(
    store: Store, config: Config, ctx: Context, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.images.fetch._PAUSE_FIRST", 0.0)
    server.cut = 0
    image = start(store, ctx, url=server.url)
    with pytest.raises(Unavailable, match="could not be fetched"):
        bring.bring(store, config, ctx, image.id, url=server.url)
    assert state_of(store, ctx, image.id).status == "saving"
    server.cut = None
    again = start(store, ctx, url=server.url)
    assert again.id == image.id
    assert bring.bring(store, config, ctx, again.id, url=server.url).status == "active"
    assert start(store, ctx, url=server.url).id != image.id  # a finished one is not gone on with


def test_a_killed_process_is_gone_on_with_where_it_was(
    store: Store, config: Config, ctx: Context, server: Server, tmp_path: Path
) -> None:
    server.cut, server.hang = 2 * MIB, True
    command = [sys.executable, "-m", "tui", "image", "create", "--disk-format", "qcow2", "--url", server.url, "disk"]
    env = os.environ | {"SKYDECK_HOME": str(config.home)}
    killed = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert killed.stderr is not None
    with killed:
        # Told of a whole MiB, so that it is on the disk.
        while not re.search(rb"[1-9][.0-9]* MiB of", line := killed.stderr.readline()):
            assert line
        assert server.hung.wait(30)
        killed.send_signal(signal.SIGKILL)
    server.released.set()
    server.cut = None
    done = subprocess.run([*command, "-f", "value", "-c", "status"], env=env, capture_output=True, check=True)
    assert done.stdout == b"active\n"
    assert server.offsets[0] == 0
    assert server.offsets[1] >= MIB
    with store.read() as session:
        image = images.find(session, ctx, "disk")  # one of that name, not two
    assert image.digest == hashlib.sha256(server.data).hexdigest()


def test_the_command_s_way_through(store: Store, config: Config, qcow2: Path) -> None:
    env = os.environ | {"SKYDECK_HOME": str(config.home)}

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([sys.executable, "-m", "tui", *arguments], env=env, capture_output=True, check=False)

    wrong = run("image", "create", "--file", str(qcow2), "wrong")
    assert wrong.returncode == 2
    assert b"error: the file is declared raw and looks like qcow2" in wrong.stderr
    assert b"hint: declare it qcow2" in wrong.stderr
    assert run("image", "list", "-f", "value", "-c", "Name", "-c", "Status").stdout == b"wrong killed\n"
    made = run(
        "image", "create", "--file", str(qcow2), "--disk-format", "qcow2", "--container-format", "bare", "--public",
        "--min-disk", "1", "--property", "os_type=linux", "--protected", "disk", "-f", "value", "-c", "visibility",
    )  # fmt: skip
    assert made.stdout == b"public\n"
    refused = run("image", "delete", "disk")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (4, b"error: image disk is protected")
    assert run("image", "set", "disk", "--unprotected", "--name", "base", "--private").returncode == 0
    assert run("image", "delete", "base", "wrong").returncode == 0
    assert ImageStore(config.images_dir).usage().images == 0
