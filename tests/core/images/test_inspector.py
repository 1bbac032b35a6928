"""The inspector on what qemu-img really writes, on what must never pass, and on garbage."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.images.inspector import FORMATS, ImageRejected, Inspected, inspect

MIB = 1024 * 1024
WRITTEN = {
    "raw": ("raw", ()),
    "qcow2": ("qcow2", ()),
    "qcow2 version 2": ("qcow2", ("-o", "compat=0.10")),
    "qcow2 zlib": ("qcow2", ("-c",)),
    "qcow2 zstd": ("qcow2", ("-c", "-o", "compression_type=zstd")),
    "qcow2 extended l2": ("qcow2", ("-o", "extended_l2=on,cluster_size=128k")),
    "qcow2 smallest clusters": ("qcow2", ("-o", "cluster_size=512")),
    "qcow2 largest clusters": ("qcow2", ("-o", "cluster_size=2M")),
    "vmdk": ("vmdk", ()),
    "vmdk stream": ("vmdk", ("-o", "subformat=streamOptimized")),
    "vhd": ("vpc", ()),
    "vhd fixed": ("vpc", ("-o", "subformat=fixed")),
    "vhd fixed to the byte": ("vpc", ("-o", "subformat=fixed,force_size=on")),
    "vhdx": ("vhdx", ()),
    "vhdx fixed": ("vhdx", ("-o", "subformat=fixed")),
    "vdi": ("vdi", ()),
    "vdi static": ("vdi", ("-o", "static=on")),
}


def qemu_img(*args: str | Path) -> str:
    return subprocess.run(["qemu-img", *map(str, args)], check=True, capture_output=True, text=True).stdout


def inspected(data: bytes | Path, declared: str) -> Inspected:
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
        return inspect(file, declared=declared)


def refusal(data: bytes | Path, declared: str) -> str:
    with pytest.raises(ImageRejected) as caught:
        inspected(data, declared)
    assert caught.value.hint
    return caught.value.title


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 MiB of raw disk with something in the middle."""
    path = tmp_path_factory.mktemp("source") / "disk.raw"
    path.write_bytes(bytes(MIB) + os.urandom(MIB) + bytes(MIB))
    return path


@pytest.fixture(scope="module")
def images(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file for each of WRITTEN."""
    folder = tmp_path_factory.mktemp("images")
    made = {}
    for name, (kind, options) in WRITTEN.items():
        made[name] = folder / name.replace(" ", "-")
        qemu_img("convert", "-f", "raw", "-O", kind, *options, disk, made[name])
    return made


def with_bytes(path: Path, offset: int, patch: bytes) -> bytes:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(patch)] = patch
    return bytes(data)


def an_iso(*, system_area: bytes = b"", blocks: int = 20, label: bytes = b"CONFIG") -> bytes:
    primary = bytearray(2048)
    primary[0:7] = b"\x01CD001\x01"
    primary[40:72] = label.ljust(32)
    primary[80:88] = struct.pack("<I", blocks) + struct.pack(">I", blocks)
    primary[128:132] = struct.pack("<H", 2048) + struct.pack(">H", 2048)
    return system_area.ljust(32768, b"\0") + bytes(primary) + b"\xffCD001\x01".ljust(2048, b"\0") + bytes(2048 * 2)


def a_kernel() -> bytes:
    data = bytearray(4096)
    data[0x1FE:0x200] = b"\x55\xaa"
    data[0x202:0x208] = b"HdrS" + struct.pack("<H", 0x20F)
    return bytes(data)


def a_partitioned_disk() -> bytes:
    sector = bytearray(512)
    sector[446:462] = struct.pack("<B3xB3xII", 0x80, 0x83, 2048, 4096)
    sector[510:] = b"\x55\xaa"
    return bytes(sector) + bytes(MIB)


# ---------------------------------------------------------------------------- what passes


@pytest.mark.parametrize("name", WRITTEN)
def test_accepts_what_qemu_img_writes(images: dict[str, Path], name: str) -> None:
    kind = WRITTEN[name][0]
    seen = inspected(images[name], kind)
    told = json.loads(qemu_img("info", "--output=json", "-f", kind, images[name]))
    assert (seen.format, seen.virtual_size, seen.size) == (kind, told["virtual-size"], images[name].stat().st_size)


def test_vhd_is_another_name_of_vpc(images: dict[str, Path]) -> None:
    assert inspected(images["vhd"], "vhd").format == "vpc"


def test_accepts_iso_kernel_and_ramdisk() -> None:
    assert inspected(an_iso(), "iso").details == {"label": "CONFIG"}
    assert inspected(an_iso(system_area=a_partitioned_disk()[:512]), "iso").format == "iso", "hybrid ISOs boot from USB"
    assert inspected(a_kernel(), "aki").details == {"kind": "bzImage, boot protocol 2.15"}
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", 2, 62) + bytes(64)
    assert inspected(elf, "aki").details == {"kind": "ELF, machine 62"}
    for magic, kind in ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"070701", "cpio")):
        assert inspected(magic + bytes(64), "ari").details == {"kind": kind}


def test_a_partitioned_raw_disk_is_raw() -> None:
    assert inspected(a_partitioned_disk(), "raw").details == {"partition_table": "mbr"}


# ---------------------------------------------------------------------------- what must never pass


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "raw"])
def test_no_image_passes_for_another_format(images: dict[str, Path], name: str) -> None:
    for declared in set(FORMATS) - {WRITTEN[name][0]}:
        assert "declared" in refusal(images[name], declared)


def test_refuses_a_qcow2_with_a_backing_file(images: dict[str, Path], tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    qemu_img("create", "-f", "qcow2", "-b", images["qcow2"], "-F", "qcow2", overlay)
    assert "backing file" in refusal(overlay, "qcow2")


def test_refuses_a_qcow2_with_a_data_file(tmp_path: Path) -> None:
    path = tmp_path / "split"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", path, "1M")
    assert "another file" in refusal(path, "qcow2")
    # The same with the feature bit cleared, as an attacker would: the name alone is refused.
    assert "data file" in refusal(with_bytes(path, 72, bytes(8)), "qcow2")


def test_refuses_an_encrypted_qcow2(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret = ("--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")
    qemu_img("create", "-f", "qcow2", *secret, path, "1M")
    assert "encrypted" in refusal(path, "qcow2")


@pytest.mark.parametrize(
    ("offset", "patch", "reason"),
    [
        (4, struct.pack(">I", 1), "version 1"),
        (4, struct.pack(">I", 4), "version 4"),
        (8, struct.pack(">Q", 200), "backing file"),
        (16, struct.pack(">I", 8), "backing file"),
        (20, struct.pack(">I", 8), "cluster size"),
        (20, struct.pack(">I", 22), "cluster size"),
        (20, struct.pack(">I", 0xFFFFFFFF), "cluster size"),
        (24, struct.pack(">Q", 0), "no bytes"),
        (24, struct.pack(">Q", 2**63), "beyond"),
        (24, struct.pack(">Q", 2**45), "L1 table has"),
        (32, struct.pack(">I", 1), "encrypted"),
        (36, struct.pack(">I", 0xFFFFFFFF), "L1 table has"),
        (40, struct.pack(">Q", 65536 + 8), "misplaced"),
        (40, struct.pack(">Q", 2**60), "misplaced"),
        (40, struct.pack(">Q", 0), "misplaced"),
        (48, struct.pack(">Q", 2**60), "refcount table"),
        (56, struct.pack(">I", 0), "refcount table"),
        (56, struct.pack(">I", 2**31), "refcount table"),
        (60, struct.pack(">I", 5) + struct.pack(">Q", 2**60), "snapshot table"),
        (72, struct.pack(">Q", 1 << 1), "corrupt"),
        (72, struct.pack(">Q", 1 << 2), "another file"),
        (72, struct.pack(">Q", 1 << 3), "compression type"),
        (72, struct.pack(">Q", 1 << 5), "unknown incompatible"),
        (72, struct.pack(">Q", 1 << 63), "unknown incompatible"),
        (88, struct.pack(">Q", 1 << 1), "another file"),
        (96, struct.pack(">I", 7), "refcount order"),
        (100, struct.pack(">I", 96), "header length"),
        (100, struct.pack(">I", 2**31), "header length"),
        (112, struct.pack(">II", 0xE2792ACA, 0), "backing format"),
        (112, struct.pack(">II", 0x12345678, 0xFFFFFFFF), "leaves the first cluster"),
    ],
)
def test_refuses_a_qcow2_header_that_lies(images: dict[str, Path], offset: int, patch: bytes, reason: str) -> None:
    assert reason in refusal(with_bytes(images["qcow2"], offset, patch), "qcow2")


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_refuses_a_vmdk_of_several_files(tmp_path: Path, subformat: str) -> None:
    path = tmp_path / "disk.vmdk"
    qemu_img("create", "-f", "vmdk", "-o", f"subformat={subformat}", path, "1M")
    assert "other files" in refusal(path, "vmdk")
    assert "looks like vmdk" in refusal(path, "raw")


def test_refuses_a_vmdk_with_a_parent(images: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "child.vmdk"
    qemu_img("create", "-f", "vmdk", "-b", images["vmdk"], "-F", "vmdk", path)
    refusal(path, "vmdk")


def descriptor_with(path: Path, change: Callable[[str], str]) -> bytes:
    """The vmdk with its embedded descriptor rewritten."""
    data = path.read_bytes()
    offset, length = (512 * value for value in struct.unpack_from("<QQ", data, 28))
    text = change(data[offset : offset + length].rstrip(b"\0").decode())
    return data[:offset] + text.encode().ljust(length, b"\0") + data[offset + length :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace('SPARSE "', 'SPARSE "/etc/passwd'), "names a path"),
        (lambda text: text.replace('SPARSE "', 'SPARSE "..\\'), "names a path"),
        (lambda text: text.replace("SPARSE", "FLAT"), "reads another file"),
        (lambda text: text.replace("SPARSE", "VMFSRDM"), "reads another file"),
        (lambda text: text.replace("RW 6144", "RW 6144000"), "contradicts"),
        (lambda text: text.replace("RW 6144", "RW x"), "cannot be read"),
        (lambda text: text + 'RW 6144 SPARSE "second.vmdk"\n', "2 extents"),
        (lambda text: "\n".join(line for line in text.split("\n") if not line.startswith("RW")), "0 extents"),
        (lambda text: text.replace("parentCID=ffffffff", "parentCID=00000001"), "parent"),
        (lambda text: text + 'parentFileNameHint="/dev/sda"\n', "another file"),
        (lambda text: text.replace("monolithicSparse", "monolithicFlat"), "not supported"),
        (lambda text: text.replace("createType", "created"), "not supported"),
        (lambda text: text + 'createType="monolithicFlat"\n', "twice"),
        (lambda text: text + "something else\n", "cannot be read"),
        (lambda text: text.replace("# Disk DescriptorFile", "#"), "title"),
        (lambda text: text + '\0\nRW 1 FLAT "/etc/passwd"\n', "hides text"),
    ],
)
def test_refuses_a_vmdk_descriptor_that_reaches_out(
    images: dict[str, Path], change: Callable[[str], str], reason: str
) -> None:
    assert reason in refusal(descriptor_with(images["vmdk"], change), "vmdk")


def test_a_vmdk_keeps_the_tail_of_a_longer_descriptor(images: dict[str, Path]) -> None:
    # QEMU writes each new content id over the old one, and few digits leave a few bytes of the old text behind.
    def shorter(text: str) -> str:
        return re.sub(r"\bCID=[0-9a-f]+", "CID=12", text, count=1) + "\0" + text[-4:]

    assert inspected(descriptor_with(images["vmdk"], shorter), "vmdk").virtual_size == 3 * MIB


def test_refuses_vmdk_headers_that_lie(images: dict[str, Path]) -> None:
    plain = images["vmdk"]
    assert "no capacity" in refusal(with_bytes(plain, 12, bytes(8)), "vmdk")
    assert "unknown features" in refusal(with_bytes(plain, 8, struct.pack("<I", 1 << 30)), "vmdk")
    assert "version 4" in refusal(with_bytes(plain, 4, struct.pack("<I", 4)), "vmdk")
    assert "grain of" in refusal(with_bytes(plain, 20, struct.pack("<Q", 3)), "vmdk")
    assert "descriptor of sane size" in refusal(with_bytes(plain, 36, struct.pack("<Q", 2**40)), "vmdk")
    assert "grain directory" in refusal(with_bytes(plain, 56, struct.pack("<Q", 2**50)), "vmdk")


def test_a_vmdk_footer_must_repeat_the_header(images: dict[str, Path]) -> None:
    header = images["vmdk stream"].read_bytes()[:512]
    directory_at_end = with_bytes(images["vmdk stream"], 56, b"\xff" * 8)

    def with_footer(footer: bytes) -> bytes:
        return directory_at_end + bytes(512) + footer + bytes(512)

    assert inspected(with_footer(header), "vmdk").virtual_size == 3 * MIB
    bigger = header[:12] + struct.pack("<Q", 2**30) + header[20:]
    assert "footer" in refusal(with_footer(bigger), "vmdk")
    assert "version" in refusal(with_footer(bytes(512)), "vmdk")


def vhd_patched(path: Path, offset: int, patch: bytes, *, both: bool = True) -> bytes:
    """The vhd with a footer field changed and its checksum set right, in the copy as well."""
    data = bytearray(path.read_bytes())
    footer = bytearray(data[-512:])
    footer[offset : offset + len(patch)] = patch
    footer[64:68] = bytes(4)
    footer[64:68] = struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
    data[-512:] = footer
    if both:
        data[:512] = footer
    return bytes(data)


def test_refuses_a_vhd_that_lies(images: dict[str, Path]) -> None:
    dynamic, fixed = images["vhd"], images["vhd fixed"]
    assert "parent disk" in refusal(vhd_patched(dynamic, 60, struct.pack(">I", 4)), "vpc")
    assert "type 9" in refusal(vhd_patched(dynamic, 60, struct.pack(">I", 9)), "vpc")
    assert "contradicts" in refusal(vhd_patched(dynamic, 48, struct.pack(">Q", MIB), both=False), "vpc")
    assert "must not begin" in refusal(vhd_patched(fixed, 8, struct.pack(">I", 2)), "vpc")
    assert "less than" in refusal(vhd_patched(fixed, 48, struct.pack(">Q", 2**30), both=False), "vpc")
    assert "checksum" in refusal(with_bytes(fixed, fixed.stat().st_size - 400, b"x"), "vpc")
    parent_named = bytearray(dynamic.read_bytes())
    parent_named[512 + 64 : 512 + 68] = b"\0p\0q"
    header = bytearray(parent_named[512:1536])
    header[36:40] = bytes(4)
    parent_named[512 + 36 : 512 + 40] = struct.pack(">I", ~sum(header) & 0xFFFFFFFF)
    assert "names a parent" in refusal(bytes(parent_named), "vpc")


def test_refuses_a_vhdx_with_a_log_a_parent_or_damage(images: dict[str, Path]) -> None:
    path = images["vhdx"]
    data = path.read_bytes()
    regions = [struct.unpack_from("<16sQI", data, 192 * 1024 + 16 + 32 * index) for index in range(2)]
    metadata = next(offset for guid, offset, _ in regions if guid.startswith(bytes.fromhex("06a27c8b")))
    parameters = metadata + struct.unpack_from("<I", data, metadata + 32 + 16)[0]
    assert "parent" in refusal(with_bytes(path, parameters + 4, struct.pack("<I", 2)), "vhdx")
    assert "checksum" in refusal(with_bytes(with_file(path, 65536 + 48, b"log"), 131072 + 48, b"log"), "vhdx")
    assert "region table" in refusal(with_bytes(path, 192 * 1024 + 40, b"\xff"), "vhdx")
    assert "contradicts its copy" in refusal(with_bytes(path, 256 * 1024 + 40, b"\xff"), "vhdx")
    assert "metadata" in refusal(with_bytes(path, metadata, b"nonsense"), "vhdx")


def with_file(path: Path, offset: int, patch: bytes) -> Path:
    changed = path.with_suffix(".changed")
    changed.write_bytes(with_bytes(path, offset, patch))
    return changed


def test_refuses_a_vdi_that_lies(images: dict[str, Path]) -> None:
    path = images["vdi"]
    assert "parent" in refusal(with_bytes(path, 440, b"\x01"), "vdi")
    assert "parent" in refusal(with_bytes(path, 424, b"\x01"), "vdi")
    assert "type 4" in refusal(with_bytes(path, 76, struct.pack("<I", 4)), "vdi")
    assert "version" in refusal(with_bytes(path, 68, struct.pack("<I", 7)), "vdi")
    assert "too short" in refusal(with_bytes(path, 384, struct.pack("<I", 1)), "vdi")
    assert "outside" in refusal(with_bytes(path, 340, struct.pack("<II", 512 * 2**20, 512 * 2**21)), "vdi")


def test_refuses_polyglots(images: dict[str, Path]) -> None:
    qcow2 = images["qcow2"].read_bytes()
    assert "at once" in refusal(an_iso(system_area=qcow2[:32768]), "iso")
    assert "at once" in refusal(an_iso(system_area=qcow2[:32768]), "qcow2")
    assert "at once" in refusal(with_bytes(images["qcow2"], 446, a_partitioned_disk()[446:512]), "qcow2")
    assert "at once" in refusal(qcow2 + images["vhd fixed"].read_bytes()[-512:], "vpc")
    assert "at once" in refusal(qcow2 + images["vhd fixed"].read_bytes()[-512:], "qcow2")
    assert "looks like vdi" in refusal(with_bytes(images["raw"], 64, b"\x7f\x10\xda\xbe"), "raw")


def test_refuses_truncated_isos_and_other_things() -> None:
    assert "declares" in refusal(an_iso(blocks=4000), "iso")
    assert "ari" in refusal(b"\x1f\x8b" + bytes(600), "raw")
    assert "zip" in refusal(b"PK\x03\x04" + bytes(600), "raw")
    assert "empty" in refusal(b"", "raw")
    assert "no image format" in refusal(b"", "docx")


# ---------------------------------------------------------------------------- garbage


class Counted(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def survives(data: bytes, declared: str) -> None:
    file = Counted(data)
    with contextlib.suppress(ImageRejected):
        seen = inspect(file, declared=declared)
        assert 0 < seen.virtual_size <= 64 * 1024**4
    assert file.taken <= 4 * MIB


MAGICS = (b"", b"QFI\xfb\0\0\0\x03", b"QFI\xfb\0\0\0\x02", b"KDMV\x01\0\0\0", b"conectix", b"vhdxfile", b"\x7fELF")


@given(st.sampled_from(FORMATS), st.sampled_from(MAGICS), st.binary(max_size=4096))
def test_random_bytes_are_only_ever_rejected(declared: str, magic: bytes, rest: bytes) -> None:
    survives(magic + rest, declared)


_SEEDS: dict[str, bytes] = {}


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "raw"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_headers_are_only_ever_rejected(images: dict[str, Path], name: str, data: st.DataObject) -> None:
    kind = WRITTEN[name][0]
    seed = _SEEDS.setdefault(name, images[name].read_bytes()[:MIB])
    mutated = bytearray(seed)
    regions = [0, 65536, 192 * 1024] if kind == "vhdx" else [0, 512]
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.sampled_from([*regions, len(seed) - 1024])) + data.draw(st.integers(0, 600))
        patch = data.draw(st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x7f" * 4]) | st.binary(min_size=1, max_size=8))
        mutated[at : at + len(patch)] = patch
    survives(bytes(mutated[: data.draw(st.sampled_from([len(seed), 4096, 600, 100]))]), kind)
