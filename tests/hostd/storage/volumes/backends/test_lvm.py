"""LVM's volumes where there is no device mapper: against what LVM really answered elsewhere.

`lvm.jsonl` is the record of `lvm_life` on Debian 12's kernel, one [arguments, status, answer] a line.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostd.spec import BackendSpec, ErrorCode, HostError
from hostd.storage.volumes.backend import Can, Extent
from hostd.storage.volumes.backends import lvm
from hostd.storage.volumes.backends.lvm import LvmBackend, differences
from hostd.storage.volumes.backends.tools import ToolFailed
from hostd.storage.volumes.volumes import Nobody
from tests.hostd.storage.volumes.backends.lvm_life import GROUP, MIB, POOL, VOLUME, live

RECORD = Path(__file__).with_name("lvm.jsonl")


def backend(path: Path, **options: str) -> LvmBackend:
    spec = BackendSpec(uuid=VOLUME, driver="lvm", options={"vg": GROUP, "pool": POOL, **options})
    return LvmBackend(spec, state=path, run=path, live=Nobody())


def test_a_life_is_told_to_lvm_as_it_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = [json.loads(line) for line in RECORD.read_text().splitlines()]

    def answer(*argv: str, **limits: object) -> str:
        wanted, status, said = record.pop(0)
        assert list(argv) == wanted
        if status:
            raise ToolFailed(argv[0], status, said)
        return str(said)

    monkeypatch.setattr(lvm, "ask", answer)
    monkeypatch.setattr(LvmBackend, "can", frozenset(Can))
    live(backend(tmp_path), lambda device, offset: None)
    assert record == []


def test_what_was_discarded_is_told_as_zeros() -> None:
    delta = """<superblock uuid="" time="2" transaction="5" data_block_size="128" nr_data_blocks="0">
      <diff left="1" right="2">
        <same begin="0" length="16"/><left_only begin="16" length="2"/>
        <different begin="18" length="1"/><right_only begin="1023" length="2"/>
      </diff>
    </superblock>"""
    assert list(differences(delta, size=64 * MIB)) == [
        Extent(offset=MIB, length=128 << 10, zero=True),
        Extent(offset=MIB + (128 << 10), length=64 << 10, zero=False),
        Extent(offset=64 * MIB - (64 << 10), length=64 << 10, zero=False),
    ]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('  Volume group "group-1" not found\n', ErrorCode.STORAGE),
        ("  Insufficient space: insufficient free space in pool\n", ErrorCode.DISK_FULL),
    ],
)
def test_what_lvm_complains_of_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: ErrorCode
) -> None:
    def fail(*argv: str, **limits: object) -> str:
        raise ToolFailed(argv[0], 5, said)

    monkeypatch.setattr(lvm, "ask", fail)
    with pytest.raises(HostError) as caught:
        backend(tmp_path).pool()
    assert caught.value.code is code
    assert caught.value.error.hint


@pytest.mark.parametrize("options", [{"vg": "a b"}, {"pool": "-x"}, {"vg": ""}])
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(HostError) as caught:
        backend(tmp_path, **options)
    assert caught.value.code is ErrorCode.PROTOCOL
