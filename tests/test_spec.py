"""The wire refuses what it does not know, and gives back what it was given."""

import json

import pytest

from hostd.spec import (
    MAX_FRAME,
    Capacity,
    ErrorCode,
    HostError,
    InstanceSpec,
    Nic,
    Reply,
    Want,
    WireError,
    decode,
    digest,
    dump,
    frame,
    load,
)

SPEC = InstanceSpec(
    uuid="u",
    want=Want.RUNNING,
    name="n",
    project_id="p",
    vcpus=1,
    ram_mb=64,
    root_gb=1,
    nics=(Nic(port_id="a", network_id="n", mac="m", mtu=1450, ips=("10.0.0.3",)),),
)


def test_survives_json() -> None:
    assert load(InstanceSpec, json.loads(json.dumps(dump(SPEC)))) == SPEC


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": "red"}, "extra fields found (colour)"),
        ({"vcpus": "3"}, "$.vcpus"),
        ({"vcpus": True}, "$.vcpus"),
        ({"name": 3}, "$.name"),
        ({"want": "flying"}, "$.want"),
        ({"os_type": 3}, "os_type"),
        ({"nics": [{"port_id": "a"}]}, "$.nics[0]"),
    ],
)
def test_refuses_and_names_what_is_wrong(change: dict[str, object], named: str) -> None:
    with pytest.raises(HostError) as refused:
        load(InstanceSpec, dump(SPEC) | change)
    assert refused.value.code is ErrorCode.PROTOCOL
    assert named in str(refused.value)


def test_integers_are_floats_in_json() -> None:
    capacity = Capacity(arch="x86_64", cpu_model="", vcpus=1, ram_mb=1, ram_free_mb=1, disk_gb=1, disk_free_gb=1)
    assert load(Capacity, dump(capacity) | {"load1": 1}).load1 == 1.0


def test_errors_cross() -> None:
    reply = Reply(id=1, error=WireError(code=ErrorCode.CONFLICT, message="x"))
    assert load(Reply, json.loads(json.dumps(dump(reply)))) == reply


def test_digest_ignores_key_order() -> None:
    plain = dump(SPEC)
    assert digest(plain) == digest(dict(reversed(plain.items())))


def test_frames_are_bounded() -> None:
    with pytest.raises(HostError):
        frame(b"x" * (MAX_FRAME + 1))
    with pytest.raises(HostError):
        decode(b"[1]")
