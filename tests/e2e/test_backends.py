"""Backends that are services: a real Ceph, a real iSCSI target, LVM on a kernel that has it, a directory that two hosts
share. What all promise is in tests/contract/backends; here guests have their volumes, and the services fail."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import attrs
import pytest

from hostd.compute import disk_xml
from hostd.drivers import DiskSource
from hostd.spec import BackendSpec, ErrorCode, HostError, VolumeDisk, Want
from hostd.storage.volumes.volumes import Volumes
from tests.contract.backends.stores import MIB, holds, write
from tests.e2e.desk import Desk, seated
from tests.lab.ceph import USER, Ceph
from tests.lab.guest import GuestImage
from tests.lab.hosts import REPOSITORY, Lab, LabHost
from tests.lab.nfs import shared
from tests.lab.other_kernel import Extra, run
from tests.lab.tgt import Tgt

pytestmark = pytest.mark.e2e

BACKEND = "44444444-0000-4000-8000-000000000001"
RED = "aaaaaaaa-1111-4222-8333-444444444444"
BLUE = "bbbbbbbb-1111-4222-8333-444444444444"
SNAPSHOT = "cccccccc-1111-4222-8333-444444444444"
SIZE = 64 * MIB

PYTHON = (
    "env", f"PYTHONPATH={REPOSITORY}:{sysconfig.get_path('purelib')}", "PYTHONDONTWRITEBYTECODE=1", "/usr/bin/python3",
    "-c",
)  # fmt: skip
"""The distribution's, as on every host: the hosts do not see where another is."""

LIMIT = 10.0
"""Seconds after which a person would wonder."""


@attrs.frozen(kw_only=True)
class Service:
    """One backend with what serves it."""

    spec: BackendSpec
    prepare: Callable[[LabHost], None]
    """What an operator does on every host."""
    kill: Callable[[], None]
    live: bool
    """Whether it snapshots and grows under a guest."""


@contextmanager
def ceph(directory: Path, address: str) -> Iterator[Service]:
    with Ceph(directory / "ceph", address=address) as cluster:
        key = directory / "key"
        key.write_text(cluster.ceph("auth", "get-key", f"client.{USER}"))
        secret = directory / "secret.xml"
        secret.write_text(
            f"<secret ephemeral='no' private='yes'><uuid>{BACKEND}</uuid>"
            f"<usage type='ceph'><name>client.{USER}</name></usage></secret>"
        )

        def prepare(host: LabHost) -> None:
            host.run(["virsh", "secret-define", str(secret)])
            host.run(["virsh", "secret-set-value", BACKEND, "--file", str(key)])

        yield Service(
            spec=BackendSpec(uuid=BACKEND, driver="rbd", options=cluster.options), prepare=prepare,
            kill=lambda: cluster.kill("osd"), live=True,
        )  # fmt: skip


@contextmanager
def iscsi(directory: Path, address: str) -> Iterator[Service]:
    with Tgt(directory / "tgt", address=address) as target:
        yield Service(
            spec=BackendSpec(uuid=BACKEND, driver="iscsi", options=target.options), prepare=lambda host: None,
            kill=target.kill, live=False,
        )  # fmt: skip


@pytest.fixture
def directory(lab: Lab) -> Iterator[Path]:
    """Seen by the lab's hosts under the same name, which a /tmp is not."""
    lab.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="s", dir=lab.directory.parent) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def quietly(percent: int) -> None: ...


@pytest.mark.parametrize("serve", [ceph, iscsi])
def test_a_guest_has_a_volume_of_a_service(
    lab: Lab,
    lab_hosts: tuple[LabHost, LabHost],
    guest_image: GuestImage,
    directory: Path,
    serve: Callable[[Path, str], AbstractContextManager[Service]],
) -> None:
    volumes = Volumes(state=directory, run=directory)
    with (
        serve(directory, lab.gateway) as service,
        seated(lab_hosts[0], guest_image, storage=volumes) as desk,
    ):
        volumes.live = desk.driver.live_disks
        service.prepare(lab_hosts[0])
        backend = volumes.backend(service.spec)
        backend.create(RED, SIZE, progress=quietly)
        red = VolumeDisk(volume=RED, backend=service.spec)
        desk.apply()
        desk.until_ready()
        desk.apply(want=Want.PRESENT, volumes=(red,))
        until(desk, f"d=/dev/$(grep -ls {RED[:20]} /sys/block/*/serial | cut -d/ -f4) && [ -b $d ]")
        desk.type(f"{fill('A')}; echo writ''ten", answer="written")
        with pytest.raises(HostError) as open_:
            backend.delete(RED)
        assert open_.value.code is ErrorCode.BAD_STATE
        if service.live:
            # It has no agent that could freeze it.
            assert backend.snapshot(RED, SNAPSHOT, quiesce=True) is False
            backend.extend(RED, 2 * SIZE)
            until(desk, f"[ $(cat /sys/block/${{d#/dev/}}/size) = {2 * SIZE // 512} ]")
            desk.type(f"{fill('B')}; echo writ''ten-again",
                      answer="written-again")  # fmt: skip
            assert holds(backend.frozen(RED, SNAPSHOT), 0, ord("A"))
        else:
            with pytest.raises(HostError, match="open at") as busy:
                backend.extend(RED, 2 * SIZE)
            assert busy.value.code is ErrorCode.BAD_STATE
        assert set(disk_xml.plugged(desk.host.run(["virsh", "dumpxml", desk.spec.uuid]).stdout)) == {RED}
        assert desk.apply(want=Want.PRESENT) == ["detach_disks", "define"]
        assert holds(backend.source(RED), 0, ord("B" if service.live else "A"))
        if service.live:
            backend.delete_snapshot(RED, SNAPSHOT, progress=quietly)
        backend.delete(RED)
        assert list(backend.volumes()) == []


@pytest.mark.parametrize("serve", [ceph, iscsi])
def test_a_service_that_is_gone_is_told_in_time(
    directory: Path, serve: Callable[[Path, str], AbstractContextManager[Service]]
) -> None:
    volumes = Volumes(state=directory, run=directory)
    with serve(directory, "127.0.0.1") as service:
        backend = volumes.backend(service.spec)
        backend.create(RED, SIZE, progress=quietly)
        (seen,) = volumes.seen([service.spec])
        assert seen.reachable
        service.kill()
        for work in (
            lambda: backend.source(RED),
            lambda: backend.create(BLUE, SIZE, progress=quietly),
            lambda: backend.snapshot(RED, SNAPSHOT, quiesce=False),
            lambda: backend.delete(RED),
        ):
            assert failure(work) is ErrorCode.STORAGE
        began = time.monotonic()
        (seen,) = volumes.seen([service.spec])
        assert time.monotonic() - began < LIMIT + 1
        assert not seen.reachable
        assert seen.detail
        assert seen.hint


def test_a_full_directory_behind_a_target_is_told(directory: Path) -> None:
    source = DiskSource(type="file", format="raw", name=str(directory / "source.raw"))
    (directory / "source.raw").write_bytes(b"x" * 32 * MIB)
    with Tgt(directory / "tgt") as target:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs", str(target.path)], check=True)
        try:
            backend = Volumes(state=directory, run=directory).backend(
                BackendSpec(uuid=BACKEND, driver="iscsi", options=target.options)
            )
            room = backend.pool().free
            assert failure(lambda: backend.create_from(RED, SIZE, source, progress=quietly)) is ErrorCode.DISK_FULL
            assert backend.seen(RED) is None
            backend.delete(RED)
            assert backend.pool().free == room
        finally:
            # The daemon has its files open.
            target.kill()
            subprocess.run(["umount", str(target.path)], check=True)


def test_a_pool_that_is_full_is_told(directory: Path) -> None:
    with Ceph(directory / "ceph") as cluster:
        backend = Volumes(state=directory, run=directory).backend(
            BackendSpec(uuid=BACKEND, driver="rbd", options=cluster.options)
        )
        backend.create(RED, SIZE, progress=quietly)
        cluster.fill()
        assert failure(lambda: backend.create(BLUE, SIZE, progress=quietly)) is ErrorCode.DISK_FULL
        assert backend.seen(RED) is not None


def test_an_initiator_opens_what_the_keeper_made_and_changes_nothing(
    lab: Lab, lab_hosts: tuple[LabHost, LabHost], directory: Path
) -> None:
    keeper, other = lab_hosts
    with Tgt(directory / "tgt", address=lab.gateway) as target:
        made = Volumes(state=directory, run=directory).backend(
            BackendSpec(uuid=BACKEND, driver="iscsi", options=target.options)
        )
        made.create(RED, SIZE, progress=quietly)
        write(made.source(RED), 0, 1)
        program = (
            "import sys; from pathlib import Path; from hostd.spec import BackendSpec, HostError;"
            "from hostd.storage.volumes.volumes import Volumes;"
            "backend = Volumes(state=Path('/run'), run=Path('/run')).backend("
            f"BackendSpec(uuid={BACKEND!r}, driver='iscsi', options={target.options!r}));"
            f"print(backend.pool(), backend.source({RED!r}).name);"
            "\ntry:\n"
            f" backend.delete({RED!r})\nexcept HostError as bad:\n print(bad.code)\n"
            f"try:\n backend.source({BLUE!r})\nexcept HostError as bad:\n print(bad.code)\n"
        )
        for host in (keeper, other):
            told = host.run([*PYTHON, program]).stdout.split("\n")
            assert told[0] == f"Pool(total=0, free=0) iqn.2024-01.skydeck:volume-{RED}/1"
            assert told[1:3] == ["bad_state", "not_found"]


def test_two_hosts_share_a_directory(lab_hosts: tuple[LabHost, LabHost], directory: Path) -> None:
    with shared(directory / "export", lab_hosts) as place:
        program = (
            "import sys; from pathlib import Path; from hostd.spec import BackendSpec;"
            "from hostd.storage.volumes.volumes import Volumes;"
            "backend = Volumes(state=Path('/run'), run=Path('/run')).backend("
            f"BackendSpec(uuid={BACKEND!r}, driver='nfs', options={{'path': {str(place)!r}}}));"
        )
        first, second = lab_hosts
        first.run([*PYTHON, program + f"backend.create({RED!r}, {SIZE}, progress=print)"])
        seen = second.run([*PYTHON, program + f"print(backend.seen({RED!r}).size)"])
        assert seen.stdout.split() == [str(SIZE)]


LVM = Path(__file__).parent / "lvm"
LVM_EXTRA = Extra(
    modules=("dm-mod", "dm-thin-pool", "dm-snapshot"),
    commands=(
        "lvm", "lvs", "lvcreate", "lvchange", "lvextend", "lvconvert", "lvremove", "lvrename", "vgcreate", "vgremove",
        "dmsetup", "qemu-img", "qemu-io", "setpriv", "prlimit",
    ),
    packages=("thin-provisioning-tools",),
    scratch_mib=512,
)  # fmt: skip


@pytest.mark.timeout(900)
def test_lvm_keeps_the_contract_on_a_kernel_that_has_it() -> None:
    pytest_ = [sys.executable, "-m", "pytest", "-q", "--color=no", "--noconftest", "-c", str(LVM / "pytest.ini")]
    done = run(["PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", *pytest_, str(LVM / "lvm.py")], timeout=800, extra=LVM_EXTRA)
    assert done.status == 0, done.output[-6000:]


def failure(work: Callable[[], object]) -> ErrorCode:
    """How it fails, which is soon."""
    began = time.monotonic()
    with pytest.raises(HostError) as caught:
        work()
    assert time.monotonic() - began < LIMIT
    assert caught.value.error.hint
    return caught.value.code


def fill(letter: str) -> str:
    """A line for the guest's shell: a MiB of the disk $d holds nothing else, and is on it."""
    return f"head -c {MIB} /dev/zero | tr '\\0' {letter} >$d; sync"


def until(desk: Desk, line: str) -> None:
    desk.type(f"until {line}; do :; done; echo reach''ed", answer="reached")
