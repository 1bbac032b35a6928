"""Volumes of real guests: attached and pulled out while they run, booted from, limited, grown, layered, copied."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.compute import disk_xml, plugging
from hostd.compute.exports import ExportDriver
from hostd.drivers import DiskSource
from hostd.spec import DiskLimits, ErrorCode, ExportSpec, HostError, PowerState, VolumeDisk, Want
from tests.e2e.desk import PATIENCE, Desk, seated
from tests.e2e.files_storage import LOCAL, Files, qemu_img
from tests.hostd.specs import UUID
from tests.lab.guest import GuestImage
from tests.lab.hosts import Lab, LabHost

pytestmark = pytest.mark.e2e

RED, BLUE = "aaaaaaaa-1111-4222-8333-444444444444", "bbbbbbbb-1111-4222-8333-444444444444"
OTHER = UUID.replace("1", "7")


@pytest.fixture
def files(lab: Lab) -> Iterator[Files]:
    # Hosts have a /tmp of their own.
    with tempfile.TemporaryDirectory(prefix="v", dir=lab.directory.parent) as directory:
        yield Files(Path(directory))


@pytest.fixture
def desk(lab_hosts: tuple[LabHost, LabHost], guest_image: GuestImage, files: Files) -> Iterator[Desk]:
    with seated(lab_hosts[0], guest_image, storage=files) as desk:
        yield desk


def beside(desk: Desk, **changes: Any) -> Desk:
    """A second guest of the same host."""
    return attrs.evolve(desk, spec=attrs.evolve(desk.spec, uuid=OTHER, **changes))


def shell(desk: Desk, line: str) -> None:
    """Have the guest do it, and fail when it fails."""
    desk.type(f"if {line}; then echo all''-fine; else echo fai''led; fi", answer="all-fine")


def until_there(desk: Desk, volume: str) -> None:
    """Until the guest has the disk, which is then $d."""
    shell(desk, f"until d=/dev/$(grep -ls {volume[:20]} /sys/block/*/serial | cut -d/ -f4) && [ -b $d ]; do :; done")


def until_gone(desk: Desk, volume: str) -> None:
    shell(desk, f"while grep -qs {volume[:20]} /sys/block/*/serial; do :; done")


def live(desk: Desk) -> dict[str, disk_xml.Plugged]:
    return disk_xml.plugged(desk.host.run(["virsh", "dumpxml", desk.spec.uuid]).stdout)


def defined(desk: Desk) -> dict[str, disk_xml.Plugged]:
    return disk_xml.plugged(desk.host.run(["virsh", "dumpxml", "--inactive", desk.spec.uuid]).stdout)


def test_a_volume_goes_from_guest_to_guest_with_what_was_written(desk: Desk, files: Files) -> None:
    red, blue = files.make(RED), files.make(BLUE, kind="raw")
    desk.apply()
    # A guest hears of it once it has booted, and is asked until then.
    desk.apply(want=Want.PRESENT, volumes=(red,))
    assert desk.apply(want=Want.PRESENT, volumes=()) == ["detach_disks", "define"]
    assert live(desk) == {}
    desk.until_ready()
    assert desk.apply(want=Want.PRESENT, volumes=(red, blue))[-2:] == ["attach_disks", "define"]
    until_there(desk, RED)
    shell(desk, "echo written by the first | dd of=$d conv=fsync 2>/dev/null")
    names = {volume: disk.target for volume, disk in live(desk).items()}
    assert names == {volume: disk.target for volume, disk in defined(desk).items()}

    assert desk.apply(want=Want.PRESENT, volumes=(blue,)) == ["detach_disks", "define"]
    until_gone(desk, RED)
    assert {volume: disk.target for volume, disk in live(desk).items()} == {BLUE: names[BLUE]}

    second = beside(desk)
    second.apply(volumes=(red,))
    try:
        second.until_ready()
        until_there(second, RED)
        shell(second, "head -c 20 $d | grep 'written by the first'")
        # QEMU's own lock: what is open here is not opened there.
        with pytest.raises(HostError) as locked:
            desk.apply(want=Want.PRESENT, volumes=(blue, red))
        assert locked.value.code is ErrorCode.BAD_STATE
        assert f"volume {RED} is in use" in locked.value.error.message
        assert set(live(desk)) == set(defined(desk)) == {BLUE}
        desk.apply(want=Want.STOPPED, volumes=(blue,), hard=True)
        with pytest.raises(HostError) as started:
            desk.apply(volumes=(blue, red))
        assert started.value.code is ErrorCode.BAD_STATE
        desk.apply(volumes=(blue,))
    finally:
        second.apply(want=Want.ABSENT)
    assert desk.apply(volumes=(blue, red)) == ["attach_disks", "define"]
    assert live(desk)[BLUE].target == names[BLUE]
    assert desk.apply(want=Want.STOPPED, volumes=(red,), stop_timeout=20) == ["define", "stop"]
    assert set(defined(desk)) == {RED}


def test_a_backend_that_is_away_leaves_guests_as_they_are(desk: Desk, files: Files) -> None:
    red, blue = files.make(RED), files.make(BLUE)
    desk.apply(volumes=(red,))
    desk.until_ready()
    files.down = True
    for volumes in ((), (red, blue)):
        with pytest.raises(HostError) as away:
            desk.apply(want=Want.PRESENT, volumes=volumes)
        assert away.value.code is ErrorCode.STORAGE
        assert set(live(desk)) == set(defined(desk)) == {RED}
    assert desk.apply(volumes=(red,), ram_mb=160) == ["define"]
    with pytest.raises(HostError, match="away"):
        desk.driver.act("reboot_hard", UUID, {})
    assert desk.power() is PowerState.RUNNING
    desk.apply(want=Want.STOPPED, volumes=(red,), hard=True)
    with pytest.raises(HostError, match="away"):
        desk.apply(volumes=(red,))
    files.down = False
    del files.sources[RED]
    with pytest.raises(HostError, match=RED):
        desk.apply(volumes=(red,))
    assert desk.power() is PowerState.SHUTDOWN


def test_guests_share_a_disk_that_is_said_to_be_shared(desk: Desk, files: Files) -> None:
    shared = attrs.evolve(files.make(RED, kind="raw", size="8M"), shareable=True)
    second = beside(desk)
    desk.apply(volumes=(shared,))
    second.apply(volumes=(shared,))
    try:
        desk.driver.live_disks.resize(RED, 16 << 20)
        for each in (desk, second):
            each.until_ready()
            until_there(each, RED)
            shell(each, "until [ $(blockdev --getsize64 $d) = 16777216 ]; do :; done")
    finally:
        second.apply(want=Want.ABSENT)


def test_a_guest_that_never_lets_go_keeps_its_volume(desk: Desk, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugging, "TRIES", 1)
    monkeypatch.setattr(plugging, "PATIENCE", 1.0)
    red = files.make(RED)
    empty = {"image": None, "kernel": None, "ramdisk": None, "cmdline": ""}
    desk.apply(volumes=(red,), **empty)
    for _ in range(2):
        with pytest.raises(HostError) as deaf:
            desk.apply(want=Want.PRESENT, **empty)
        assert deaf.value.code is ErrorCode.BAD_STATE
        assert f"does not let go of its volume {RED}" in deaf.value.error.message
        assert set(live(desk)) == set(defined(desk)) == {RED}
    assert desk.apply(volumes=(red,), **empty) == []


def test_a_guest_without_a_free_slot_says_so_and_starts_with_all(desk: Desk, files: Files) -> None:
    many = tuple(files.make(f"{number:08x}-1111-4222-8333-444444444444", size="1M") for number in range(1, 21))
    desk.apply()
    with pytest.raises(HostError, match="no room for volume") as full:
        desk.apply(want=Want.PRESENT, volumes=many)
    assert full.value.code is ErrorCode.BAD_STATE
    plugged = live(desk)
    assert 8 <= len(plugged) < len(many)
    # Those that went before it are there, and the next apply says what shall become of them.
    assert set(plugged) == {disk.volume for disk in many[: len(plugged)]}
    desk.apply(want=Want.STOPPED, hard=True, volumes=many)
    desk.apply(volumes=many)
    assert len(live(desk)) == len(many)


def test_limits_change_under_the_guest(desk: Desk, files: Files) -> None:
    red = files.make(RED)
    slow = attrs.evolve(red, limits=DiskLimits(total_iops=100, write_bytes=1 << 20))
    desk.apply(volumes=(red,))
    for disk in (slow, attrs.evolve(red, limits=DiskLimits(read_iops=7)), red):
        assert desk.apply(want=Want.PRESENT, volumes=(disk,)) == ["limit_disks", "define"]
        told = desk.host.run(["virsh", "blkdeviotune", UUID, live(desk)[RED].target]).stdout
        numbers = {
            name.strip(): value.strip() for name, _, value in (line.partition(":") for line in told.splitlines())
        }
        assert numbers["total_iops_sec"] == str(disk.limits.total_iops)
        assert numbers["read_iops_sec"] == str(disk.limits.read_iops)
        assert numbers["write_bytes_sec"] == str(disk.limits.write_bytes)
        assert live(desk)[RED].limits == defined(desk)[RED].limits == disk.limits


def test_a_guest_boots_from_a_volume_and_on_other_hardware(desk: Desk, files: Files, guest_image: GuestImage) -> None:
    path = files.directory / "boot.qcow2"
    path.write_bytes(guest_image.disk.read_bytes())
    root = attrs.evolve(files.make(RED), boot_index=0)
    files.sources[RED] = attrs.evolve(files.sources[RED], name=str(path))
    blue = files.make(BLUE)
    hardware = attrs.evolve(desk.spec.hardware, disk_bus="scsi", machine="pc", vif_model="e1000")
    desk.apply(volumes=(root, blue), ephemeral_gb=1, hardware=hardware)
    desk.until_ready()
    assert "SKYDECK root /dev/sd" in desk.log()
    assert live(desk)[RED].target == "sda"
    assert not [disk for disk in desk.driver.observe(stats=False)[1] if disk.role == "root"]
    assert desk.driver.result(desk.spec)[1]["machine"].startswith("pc-i440fx-")
    assert desk.apply(want=Want.PRESENT, volumes=(root,), ephemeral_gb=1, hardware=hardware) == [
        "detach_disks",
        "define",
    ]
    until_gone(desk, BLUE)


def test_a_guest_starts_by_uefi(desk: Desk) -> None:
    uefi = {"hardware": attrs.evolve(desk.spec.hardware, firmware="uefi", video="virtio"), "ram_mb": 256}
    desk.apply(**uefi)
    desk.until_ready()
    shell(desk, "dmesg | grep -q 'efi: EFI v'")
    assert desk.apply(want=Want.STOPPED, hard=True) == ["cut", "define"]
    desk.apply(want=Want.ABSENT)


def test_layers_come_and_go_under_a_guest_that_writes(desk: Desk, files: Files) -> None:
    red = files.make(RED, size="8M")
    path = Path(files.sources[RED].name)
    disks = desk.driver.live_disks
    desk.apply(volumes=(red,))
    desk.until_ready()
    until_there(desk, RED)
    assert disks.holder(RED) == UUID
    assert disks.holder(BLUE) is None
    disks.resize(RED, 16 << 20)
    disks.resize(RED, 16 << 20)
    shell(desk, "until [ $(blockdev --getsize64 $d) = 16777216 ]; do :; done")
    # The same bytes again and again, for as long as it may.
    shell(
        desk,
        "dd if=/dev/urandom of=/tmp/p bs=64k count=32; "
        "(while [ ! -e /tmp/stop ]; do dd if=/tmp/p of=$d bs=64k conv=notrunc,fsync; done) >/dev/null 2>&1 & echo ok",
    )
    tops = []
    for _ in range(3):
        tops.append(files.layer(RED))
        assert disks.overlay(RED, tops[-1], quiesce=True) is False  # nobody answers in this guest
        assert disks.overlay(RED, tops[-1], quiesce=False) is False
        files.layered(RED, tops[-1])
        assert live(desk)[RED].source == defined(desk)[RED].source == files.sources[RED]
    percents: list[int] = []
    disks.merge(RED, top=tops[1], base=tops[0], progress=percents.append)
    disks.merge(RED, top=tops[1], base=tops[0])
    assert [source.name for source in live(desk)[RED].chain] == [str(tops[2]), str(tops[0]), str(path)]
    disks.merge(RED, top=tops[2], base=path)
    disks.merge(RED, top=tops[2], base=path)
    assert live(desk)[RED].source == defined(desk)[RED].source
    assert [source.name for source in live(desk)[RED].chain] == [str(path)]
    with pytest.raises(HostError, match="does not stand on"):
        disks.merge(RED, top=tops[2], base=tops[1])
    shell(desk, "touch /tmp/stop; wait; n=$(stat -c %s /tmp/p); head -c $n $d | cmp - /tmp/p")
    files.sources[RED] = attrs.evolve(files.sources[RED], name=str(path), backing=None)
    desk.apply(want=Want.STOPPED, volumes=(red,), hard=True)
    qemu_img("check", "-q", "-f", "qcow2", str(path))
    with pytest.raises(HostError) as off:
        disks.resize(RED, 1 << 30)
    assert off.value.code is ErrorCode.BAD_STATE


def test_a_copy_of_a_running_guest_is_what_it_had_at_that_moment(desk: Desk, files: Files) -> None:
    exports = ExportDriver(state=desk.state, guests=desk.driver)
    red = files.make(RED, size="16M")
    desk.apply(volumes=(red,))
    desk.until_ready()
    until_there(desk, RED)
    shell(desk, "dd if=/dev/urandom of=$d bs=64k count=32 conv=fsync 2>/dev/null; md5sum $d | tee /tmp/before; sync")
    path = export(desk, exports, volume=RED, quiesce=True)
    assert exports.result(exported(RED)) == (None, {"quiesced": False, "size": 16 << 20})
    shell(desk, "dd if=/dev/zero of=$d bs=64k count=16 conv=fsync 2>/dev/null")
    digest = md5(path, directory=files.directory)
    shell(desk, f"grep {digest} /tmp/before")
    assert "backing-filename" not in qemu_img("info", "--output=json", "-f", "qcow2", str(path))

    # Of the root disk, and again after a crash in the middle: what was left of the first try is taken for nothing.
    part = desk.state / "exports" / ROOT_COPY / "disk.qcow2.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    first = export(desk, exports, volume="root")
    desk.apply(want=Want.STOPPED, volumes=(red,), hard=True)
    off = attrs.evolve(exported("root"), uuid=RED.replace("1", "2"))
    for step in exports.plan(off, exports.seen(off.uuid)):
        exports.execute(step, off, desk)
    assert exports.plan(off, exports.seen(off.uuid)) == ()
    assert exports.result(off)[1] == {"quiesced": False, "size": 1 << 30}
    for copy in (first, exports.path_of(off.uuid)):
        qemu_img("check", "-q", "-f", "qcow2", str(copy))
        assert copy.stat().st_mode & 0o777 == 0o600

    gone = attrs.evolve(exported("root"), want=Want.ABSENT)
    for _ in range(2):
        for step in exports.plan(gone, exports.seen(gone.uuid)):
            exports.execute(step, gone, desk)
    with pytest.raises(HostError) as missing:
        exports.path_of(gone.uuid)
    assert missing.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(HostError, match="has no disk"):
        export(desk, exports, volume=BLUE)


AGENT = """\
exec 3<>$(echo /dev/vport*)
while read -r line <&3; do
    echo "$line" >>/tmp/asked
    id=${line##*:}
    case $line in
    *guest-sync*) echo "{\\"return\\":${id%%\\}*}}" >&3 ;;
    *) echo '{"return":1}' >&3 ;;
    esac
done
"""
"""As much of a guest agent as it takes to freeze file systems."""


def test_file_systems_are_frozen_by_an_agent_that_answers(desk: Desk, files: Files) -> None:
    red = files.make(RED)
    desk.apply(volumes=(red,))
    desk.until_ready()
    shell(desk, f"echo {base64.b64encode(AGENT.encode()).decode()} | base64 -d >/tmp/agent")
    shell(desk, "(sh /tmp/agent </dev/null >/dev/null 2>&1 &)")
    assert desk.driver.libvirt.wait(lambda: "state='connected'" in desk.driver.libvirt.live_xml(UUID), timeout=PATIENCE)
    top = files.layer(RED)
    assert desk.driver.live_disks.overlay(RED, top, quiesce=True) is True
    files.layered(RED, top)
    exports = ExportDriver(state=desk.state, guests=desk.driver)
    export(desk, exports, volume=RED, quiesce=True)
    assert exports.result(exported(RED))[1]["quiesced"] is True
    shell(desk, "[ $(grep -c freeze-freeze /tmp/asked) = 2 ] && [ $(grep -c freeze-thaw /tmp/asked) -ge 2 ]")


def test_what_was_begun_before_a_crash_is_brought_to_its_end(desk: Desk, files: Files) -> None:
    red = files.make(RED)
    base = Path(files.sources[RED].name)
    disks = desk.driver.live_disks
    desk.apply(volumes=(red,))
    desk.until_ready()
    top = files.layer(RED)
    disks.overlay(RED, top, quiesce=False)
    files.layered(RED, top)
    # The daemon ended between the beginning and the pivot, and so did libvirtd.
    desk.host.run(["virsh", "blockcommit", UUID, live(desk)[RED].target, "--active", "--base", str(base)])
    desk.host.run(["sh", "-c", "kill -9 $(cat /run/libvirtd.pid)"])
    desk.until_told(lambda event: event.detail.get("what") == "libvirt_down")
    with pytest.raises(HostError) as down:
        disks.merge(RED, top=top, base=base)
    assert down.value.code is ErrorCode.LIBVIRT_DOWN
    before = len(desk.told)
    desk.host.run(["libvirtd", "-d", "-p", "/run/libvirtd.pid"])
    desk.until_told(lambda event: event.detail.get("what") == "libvirt_up", since=before)
    disks.merge(RED, top=top, base=base)
    files.sources[RED] = attrs.evolve(files.sources[RED], name=str(base), backing=None)
    assert live(desk)[RED].source == defined(desk)[RED].source == files.sources[RED]

    # A copy of a hostd that is no more; and a snapshot of a volume whose guest is suspended.
    exports = ExportDriver(state=desk.state, guests=desk.driver)
    part = desk.state / "exports" / RED / "disk.qcow2.part"
    part.parent.mkdir(parents=True)
    (files.directory / "backup.xml").write_text(
        f"<domainbackup><disks><disk name='vda' backup='no'/><disk name='{live(desk)[RED].target}' type='file'>"
        f"<driver type='qcow2'/><target file='{part}'/></disk></disks></domainbackup>"
    )
    desk.host.run(["virsh", "backup-begin", UUID, str(files.directory / "backup.xml")])
    export(desk, exports, volume=RED)
    assert desk.apply(want=Want.SUSPENDED, volumes=(red,)) == ["suspend"]
    again = files.layer(RED)
    files.layered(RED, again)
    assert desk.apply(volumes=(red,)) == ["define", "resume"]
    assert live(desk)[RED].source == files.sources[RED]


SECRET = "dddddddd-1111-4222-8333-444444444444"
IQN = "iqn.2026-11.dev.skydeck:volumes"


@pytest.fixture
def target(lab_hosts: tuple[LabHost, LabHost], files: Files) -> Iterator[DiskSource]:
    """An iSCSI target on the host, with a user, whose password libvirt knows."""
    host = lab_hosts[0]
    path = files.directory / "lun.raw"
    path.write_bytes(bytes(16 << 20))
    host.run(["tgtd", "-C", "7", "--pid-file", "/run/tgtd.pid", "--iscsi", "portal=127.0.0.1:3260"])
    try:
        for line in (
            f"--mode target --op new --tid 1 -T {IQN}",
            f"--mode logicalunit --op new --tid 1 --lun 1 -b {path}",
            "--mode account --op new --user sky --password not-so-secret",
            "--mode account --op bind --tid 1 --user sky",
            "--mode target --op bind --tid 1 -I ALL",
        ):
            host.run(["tgtadm", "-C", "7", "--lld", "iscsi", *line.split()])
        usage = "<usage type='iscsi'><target>t</target></usage>"
        secret = f"<secret ephemeral='yes' private='yes'><uuid>{SECRET}</uuid>{usage}</secret>"
        host.run(["virsh", "secret-define", "/dev/stdin"], input=secret)
        host.run(["virsh", "secret-set-value", SECRET, base64.b64encode(b"not-so-secret").decode()])
        yield DiskSource(
            type="iscsi",
            format="raw",
            name=f"{IQN}/1",
            hosts=(("127.0.0.1", 3260),),
            options={"user": "sky", "secret": SECRET},
        )
    finally:
        host.run(["sh", "-c", "kill -9 $(cat /run/tgtd.pid)"])


def test_a_volume_of_an_iscsi_target_comes_with_its_user_and_goes(desk: Desk, files: Files, target: DiskSource) -> None:
    red = VolumeDisk(volume=RED, backend=LOCAL)
    files.sources[RED] = target
    desk.apply()
    desk.until_ready()
    assert desk.apply(want=Want.PRESENT, volumes=(red,)) == ["attach_disks", "define"]
    until_there(desk, RED)
    shell(desk, "echo over the network | dd of=$d conv=fsync 2>/dev/null")
    assert live(desk)[RED].source == defined(desk)[RED].source == target
    assert desk.apply(want=Want.PRESENT) == ["detach_disks", "define"]
    until_gone(desk, RED)
    assert (files.directory / "lun.raw").read_bytes().startswith(b"over the network")
    # A target that is gone: the guest is as it was.
    files.sources[RED] = attrs.evolve(target, hosts=(("127.0.0.1", 3261),))
    with pytest.raises(HostError, match=RED):
        desk.apply(want=Want.PRESENT, volumes=(red,))
    assert live(desk) == defined(desk) == {}
    shell(desk, "true")


ROOT_COPY = "ffffffff-1111-4222-8333-444444444444"


def exported(disk: str) -> ExportSpec:
    return ExportSpec(uuid=ROOT_COPY if disk == "root" else disk, want=Want.PRESENT, instance=UUID, disk=disk)


def export(desk: Desk, exports: ExportDriver, *, volume: str, quiesce: bool = False) -> Path:
    spec = attrs.evolve(exported(volume), quiesce=quiesce)
    for step in exports.plan(spec, exports.seen(spec.uuid)):
        exports.execute(step, spec, desk)
    assert exports.plan(spec, exports.seen(spec.uuid)) == ()
    return exports.path_of(spec.uuid)


def md5(path: Path, *, directory: Path) -> str:
    raw = directory / "raw"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", str(path), str(raw))
    with raw.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
