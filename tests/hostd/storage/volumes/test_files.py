"""Volumes in files: whatever is broken off is made good by asking for it again, under guests and without them."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from hostd.drivers import DiskSource, LiveDisks
from hostd.spec import BackendSpec, ErrorCode, HostError
from hostd.storage import qcow2
from hostd.storage.volumes import blockdev, layers, qemu_img
from hostd.storage.volumes.backends.files import FileBackend, NfsBackend
from hostd.storage.volumes.effects import Effects
from hostd.storage.volumes.locks import written
from hostd.storage.volumes.mounts import MARKER
from hostd.storage.volumes.volumes import Nobody

MIB = 1 << 20
SIZE = 16 * MIB

BACKEND = BackendSpec(uuid="44444444-0000-4000-8000-000000000001", driver="file")
ONE = "11111111-0000-4000-8000-000000000001"
TWO = "22222222-0000-4000-8000-000000000001"
OLD = "aaaaaaaa-0000-4000-8000-000000000001"
NEW = "bbbbbbbb-0000-4000-8000-000000000001"
DIGEST = "d" * 64


class Crash(BaseException):
    """The daemon dies here: nothing catches it."""


class Bomb:
    """Goes off at the n-th change of a file."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, _: str) -> None:
        if not self._left:
            raise Crash
        self._left -= 1


class Guest:
    """LiveDisks of one guest, whose QEMU is qemu-img and qemu-io."""

    def __init__(self, directory: Path, file: str = "disk.0.qcow2") -> None:
        self.directory = directory
        self.file = file
        self.on = True

    def holder(self, volume: str) -> str | None:
        return "guest" if self.on else None

    def opens(self, volume: str) -> Path | None:
        return self.directory / self.file

    def resize(self, volume: str, size: int) -> None:
        subprocess.run(["qemu-img", "resize", "-q", "-f", "qcow2", self._path, str(size)], check=True)

    def overlay(self, volume: str, top: Path, *, quiesce: bool) -> bool:
        self.file = top.name
        return quiesce

    def still(self, volume: str, *, quiesce: bool) -> contextlib.AbstractContextManager[bool | None]:
        return contextlib.nullcontext(quiesce)

    def merge(self, volume: str, *, top: Path, base: Path, progress: Callable[[int], None]) -> None:
        manifest = layers.read(self.directory)
        assert manifest is not None
        if top.name not in manifest.layers or self.file == base.name:
            return
        qemu_img.commit(layers.chain(self.directory, manifest, top.name), size=SIZE, progress=progress)
        if self.file == top.name:
            self.file = base.name
        else:
            above = self.directory / manifest.above(top.name)
            rebase = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", base.name, str(above)]
            subprocess.run(rebase, check=True)

    def write(self, at: int, pattern: int) -> None:
        io(["-f", "qcow2", self._path], f"write -P {pattern} {at * MIB} 1M")

    @property
    def _path(self) -> str:
        return str(self.directory / self.file)


def io(disk: list[str], *commands: str) -> str:
    argv = ["qemu-io", *itertools.chain.from_iterable(("-c", command) for command in commands), *disk]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def write(source: DiskSource, at: int, pattern: int) -> None:
    assert "wrote" in io([blockdev.name(source)], f"write -P {pattern} {at * MIB} 1M")


def shows(source: DiskSource, *patterns: int) -> bool:
    """Whether the first MiBs of a disk hold these bytes, one each."""
    reads = [f"read -P {pattern} {at * MIB} 1M" for at, pattern in enumerate(patterns)]
    said = io(["-r", blockdev.name(source)], *reads)
    assert said.count("bytes at offset") >= len(patterns), said
    return "verification failed" not in said


def quietly(percent: int) -> None: ...


def backend(state: Path, *, live: LiveDisks | None = None, at: Callable[[str], None] = quietly) -> FileBackend:  # type: ignore[assignment]
    return FileBackend(BACKEND, state=state, run=state, live=live or Nobody(), effects=Effects(at))


def directory(state: Path, volume: str = ONE) -> Path:
    return state / "volumes" / BACKEND.uuid / volume


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume over an image, with two snapshots (1 | 1 2 | 1 2 3), and one that was cloned from the first."""
    state = tmp_path_factory.mktemp("model")
    qcow2.create(state / DIGEST, size=SIZE // 2)
    image = DiskSource(type="file", format="qcow2", name=str(state / DIGEST))
    write(image, 5, 6)
    files = backend(state)
    files.create_over(ONE, SIZE, image, digest=DIGEST)
    write(files.source(ONE), 0, 1)
    files.snapshot(ONE, OLD, quiesce=False)
    write(files.source(ONE), 1, 2)
    files.snapshot(ONE, NEW, quiesce=False)
    write(files.source(ONE), 2, 3)
    files.clone(TWO, SIZE, of=ONE, snapshot=OLD, progress=quietly)
    write(files.source(TWO), 1, 8)
    return state


def copied(model: Path, to: Path) -> Path:
    """The model with its files, and which of them are the same."""
    subprocess.run(["cp", "-a", "--sparse=always", f"{model}/.", str(to)], check=True)
    return to


def image_of(source: DiskSource) -> DiskSource:
    """What a chain stands on."""
    while source.backing is not None:
        source = source.backing
    return attrs.evolve(source, name=os.path.realpath(source.name))


WORK: dict[str, Callable[[FileBackend], object]] = {
    "create": lambda files: files.create(NEW, SIZE, progress=quietly),
    "create_from": lambda files: files.create_from(NEW, SIZE, files.source(TWO), progress=quietly),
    "create_over": lambda files: files.create_over(NEW, SIZE, image_of(files.source(TWO)), digest=DIGEST),
    "clone": lambda files: files.clone(NEW, 2 * SIZE, of=ONE, snapshot=NEW, progress=quietly),
    "extend": lambda files: files.extend(ONE, 2 * SIZE),
    "snapshot": lambda files: files.snapshot(ONE, TWO, quiesce=False),
    "delete_snapshot": lambda files: files.delete_snapshot(ONE, OLD, progress=quietly),
    "delete_newest_snapshot": lambda files: files.delete_snapshot(ONE, NEW, progress=quietly),
    "revert": lambda files: files.revert(ONE, NEW),
    "delete": lambda files: files.delete(TWO),
}

STANDS = {
    "create": {NEW: (0, 0, 0)},
    "create_from": {NEW: (1, 8, 0, 0, 0, 6)},
    "create_over": {NEW: (0, 0, 0, 0, 0, 6)},
    "clone": {NEW: (1, 2, 0, 0, 0, 6)},
    "revert": {ONE: (1, 2, 0, 0, 0, 6)},
}
"""What volumes hold afterwards; else as in the model."""


@pytest.mark.parametrize("name", WORK)
def test_broken_off_anywhere_and_asked_again_it_is_done(name: str, model: Path, tmp_path: Path) -> None:
    contents = {ONE: (1, 2, 3, 0, 0, 6), TWO: (1, 8, 0, 0, 0, 6)} | STANDS.get(name, {})
    for count in itertools.count():
        state = copied(model, tmp_path / str(count))
        try:
            WORK[name](backend(state, at=Bomb(count)))
        except Crash:
            over = False
        else:
            over = True
        files = backend(state)
        half = files.seen(NEW) or files.seen(TWO)
        assert half is None or shows(files.source(half.uuid), *contents[half.uuid])
        if name != "revert":
            assert shows(files.source(ONE), *contents[ONE])
        WORK[name](files)
        for volume, patterns in contents.items():
            if (name, volume) != ("delete", TWO):
                assert shows(files.source(volume), *patterns), (count, volume)
        _is_tidy(files, state, name)
        shutil.rmtree(state)
        if over:
            break
    assert count >= 1


def _is_tidy(files: FileBackend, state: Path, name: str) -> None:
    """Nothing is there but what manifests name; snapshots that are to be there hold what they held."""
    for volume in os.listdir(state / "volumes" / BACKEND.uuid):
        manifest = layers.read(directory(state, volume))
        assert manifest is not None
        base = {manifest.image.file} if manifest.image else set()
        assert set(os.listdir(directory(state, volume))) == {*manifest.layers, *base, layers.MANIFEST}
    snapshots = {"snapshot": (OLD, NEW, TWO), "delete_snapshot": (NEW,), "delete_newest_snapshot": (OLD,)}
    seen = files.seen(ONE)
    assert seen is not None
    assert seen.snapshots == snapshots.get(name, (OLD, NEW))
    assert seen.size == (2 * SIZE if name == "extend" else SIZE)
    for snapshot, patterns in ((OLD, (1, 0, 0, 0, 0, 6)), (NEW, (1, 2, 0, 0, 0, 6)), (TWO, (1, 2, 3, 0, 0, 6))):
        if snapshot in seen.snapshots:
            assert shows(files.frozen(ONE, snapshot), *patterns)
    assert (files.seen(TWO) is None) == (name == "delete")


LIVE = {name: WORK[name] for name in ("extend", "snapshot", "delete_snapshot", "delete_newest_snapshot")}


@pytest.mark.parametrize("stops", [False, True], ids=["guest runs on", "guest stops meanwhile"])
@pytest.mark.parametrize("name", LIVE)
def test_under_a_guest_it_is_made_good_as_well(name: str, stops: bool, model: Path, tmp_path: Path) -> None:
    for count in itertools.count():
        state = copied(model, tmp_path / str(count))
        guest = Guest(directory(state), "disk.2.qcow2")
        try:
            LIVE[name](backend(state, live=guest, at=Bomb(count)))
            over = True
        except Crash:
            over = False
        guest.write(3, 4)  # hostd is dead, and the guest goes on
        guest.on = not stops
        files = backend(state, live=guest)
        if stops:
            assert shows(files.source(ONE), 1, 2, 3, 4, 0, 6), count  # what it would be started with
        LIVE[name](files)
        if guest.on:
            guest.write(4, 5)
            assert files.source(ONE).name == str(guest.opens(ONE))
        else:
            write(files.source(ONE), 4, 5)
        assert shows(files.source(ONE), 1, 2, 3, 4, 5, 6), count
        assert shows(files.source(TWO), 1, 8, 0, 0, 0, 6)
        seen = files.seen(ONE)
        assert seen is not None
        for snapshot, patterns in ((OLD, (1, 0, 0)), (NEW, (1, 2, 0))):
            if snapshot in seen.snapshots:
                assert shows(files.frozen(ONE, snapshot), *patterns)
        assert (TWO in seen.snapshots) == (name == "snapshot")
        shutil.rmtree(state)
        if over:
            break
    assert count >= 1


def test_what_somebody_has_open_is_left_alone(model: Path, tmp_path: Path) -> None:
    state = copied(model, tmp_path / "state")
    files = backend(state)
    path = files.source(TWO).name
    with subprocess.Popen(["qemu-io", "-f", "qcow2", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(b"length\n")
        other.stdin.flush()
        other.stdout.readline()
        assert written(Path(path))
        for work in (
            lambda: files.delete(TWO),
            lambda: files.snapshot(TWO, ONE, quiesce=False),
            lambda: files.extend(TWO, 2 * SIZE),
        ):
            with pytest.raises(HostError) as caught:
                work()
            assert caught.value.code is ErrorCode.BAD_STATE
            assert "open" in caught.value.error.message
        other.communicate(b"quit\n")
    assert not written(Path(path))
    files.delete(TWO)


def test_a_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    files = backend(tmp_path)
    files.pool()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    directory(tmp_path).symlink_to(elsewhere)
    for work in (lambda: files.delete(ONE), lambda: files.create(ONE, SIZE, progress=quietly)):
        with pytest.raises(HostError) as caught:
            work()
        assert caught.value.code is ErrorCode.BAD_STATE
    assert (elsewhere / "precious").exists()


def test_a_manifest_that_makes_no_sense_is_not_written_over(tmp_path: Path) -> None:
    files = backend(tmp_path)
    files.create(ONE, SIZE, progress=quietly)
    manifest = directory(tmp_path) / layers.MANIFEST
    for text in ("{", "{}", layers.text(layers.Manifest(format="qcow2", layers=("../../x",)))):
        manifest.write_text(text)
        for work in (lambda: files.create(ONE, SIZE, progress=quietly), lambda: files.delete(ONE)):
            with pytest.raises(HostError) as caught:
                work()
            assert caught.value.code is ErrorCode.STORAGE
    assert (directory(tmp_path) / "disk.0.qcow2").exists()
    assert list(files.volumes()) == []


def test_raw_volumes_say_that_they_have_no_snapshots(tmp_path: Path) -> None:
    spec = BackendSpec(uuid=BACKEND.uuid, driver="file", options={"format": "raw"})
    files = FileBackend(spec, state=tmp_path, run=tmp_path, live=Nobody())
    files.create(ONE, SIZE, progress=quietly)
    with pytest.raises(HostError) as caught:
        files.snapshot(ONE, OLD, quiesce=False)
    assert caught.value.code is ErrorCode.BAD_STATE


@pytest.mark.parametrize(
    "options", [{"path": "relative"}, {"path": "/a/../b"}, {"path": "/"}, {"format": "vmdk"}], ids=str
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        FileBackend(
            BackendSpec(uuid=BACKEND.uuid, driver="file", options=options), state=tmp_path, run=tmp_path, live=Nobody()
        )
    assert caught.value.code is ErrorCode.PROTOCOL


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "/a", "export": "host:/b"},
        {"export": "-o x"},
        {"export": "host:relative"},
        {"export": "host:/b", "mount_options": "a b"},
    ],
    ids=str,
)
def test_a_share_that_cannot_be_is_refused(options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        NfsBackend(
            BackendSpec(uuid=BACKEND.uuid, driver="nfs", options=options), state=tmp_path, run=tmp_path, live=Nobody()
        )
    assert caught.value.code is ErrorCode.PROTOCOL


def test_a_directory_is_one_backend_s_and_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "disk"

    def files(uuid: str = BACKEND.uuid) -> FileBackend:
        spec = BackendSpec(uuid=uuid, driver="file", options={"path": str(path)})
        return FileBackend(spec, state=tmp_path, run=tmp_path, live=Nobody())

    for uuid, there in ((BACKEND.uuid, False), (BACKEND.uuid, True), (TWO, True)):
        if not there or uuid == TWO:
            with pytest.raises(HostError, match="no directory" if not there else "belongs to backend"):
                files(uuid).create(ONE, SIZE, progress=quietly)
            path.mkdir(exist_ok=True)
        else:
            files(uuid).create(ONE, SIZE, progress=quietly)
    shutil.rmtree(path)
    path.mkdir()  # its disk is not mounted
    with pytest.raises(HostError, match="is not the directory of this backend"):
        files().seen(ONE)
    assert os.listdir(path) == []


def test_a_share_that_is_not_mounted_is_no_empty_share(tmp_path: Path) -> None:
    def reach(path: Path) -> ErrorCode:
        spec = BackendSpec(uuid=BACKEND.uuid, driver="nfs", options={"path": str(path)})
        share = NfsBackend(spec, state=tmp_path, run=tmp_path, live=Nobody())
        with pytest.raises(HostError) as caught:
            list(share.volumes())
        assert caught.value.error.hint
        return caught.value.code

    share = tmp_path / "share"
    assert reach(share) is ErrorCode.STORAGE
    share.mkdir()
    (share / "others").touch()
    assert reach(share) is ErrorCode.STORAGE
    (share / MARKER).write_text(TWO)
    assert reach(share) is ErrorCode.STORAGE
    (share / MARKER).write_text(BACKEND.uuid + "\n")
    spec = BackendSpec(uuid=BACKEND.uuid, driver="nfs", options={"path": str(share)})
    assert list(NfsBackend(spec, state=tmp_path, run=tmp_path, live=Nobody()).volumes()) == []
