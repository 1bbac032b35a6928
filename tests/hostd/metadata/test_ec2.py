"""EC2's metadata tree, as nova shows it."""

from __future__ import annotations

import pytest

from hostd.metadata import ec2
from hostd.metadata.ec2 import Caller
from tests.hostd.specs import UUID, metadata

CALLER = Caller(device=UUID, mac="fa:16:3e:00:00:01", ipv4="10.0.0.10", public_ipv4="203.0.113.50")
TOLD = {
    "image_id": "abcdef01-2345-4678-9abc-def012345678",
    "instance_type": "m1.small",
    "reservation_id": "r-abcdefgh",
    "launch_index": 3,
    "security_groups": ("default", "web"),
    "public_keys": {"mine": "ssh-ed25519 A me", "other": "ssh-ed25519 B you"},
}


def answer(path: str, **changes: object) -> str | None:
    shown = ec2.answer(path, CALLER, metadata(**{**TOLD, **changes}))
    return None if shown is None else shown.decode()


def test_the_versions() -> None:
    assert (answer("/") or "").splitlines()[-2:] == ["2009-04-04", "latest"]


def test_folders_list_what_is_in_them() -> None:
    assert answer("/latest") == answer("/latest/") == "meta-data/\nuser-data"
    assert answer("/latest", user_data=None) == "meta-data/"
    assert (answer("/2009-04-04/meta-data/") or "").splitlines() == [
        "ami-id", "ami-launch-index", "ami-manifest-path", "block-device-mapping/", "hostname", "instance-action",
        "instance-id", "instance-type", "local-hostname", "local-ipv4", "mac", "placement/", "public-hostname",
        "public-ipv4", "public-keys/", "reservation-id", "security-groups",
    ]  # fmt: skip
    assert answer("/latest/meta-data/public-keys/") == "0=mine\n1=other"
    assert answer("/latest/meta-data/public-keys/0") == "openssh-key"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ami-id", "ami-abcdef01"),
        ("ami-launch-index", "3"),
        ("instance-id", "i-11111111"),
        ("hostname", "web"),
        ("local-ipv4", "10.0.0.10"),
        ("public-ipv4", "203.0.113.50"),
        ("public-keys/1/openssh-key", "ssh-ed25519 B you"),
        ("placement/availability-zone", "nova"),
        ("security-groups", "default\nweb"),
        ("instance-type", "m1.small"),
        ("reservation-id", "r-abcdefgh"),
        ("mac", "fa:16:3e:00:00:01"),
        ("public-keys/2", None),
        ("public-keys/0/_name", None),
        ("hostname/x", None),
        ("nothing", None),
    ],
)
def test_values(path: str, value: str | None) -> None:
    assert answer(f"/latest/meta-data/{path}") == value


def test_user_data() -> None:
    assert answer("/latest/user-data") == "#cloud-config\n"
    assert answer("/latest/user-data", user_data=None) is None


@pytest.mark.parametrize("path", ["/latest/api/token", "/1999-01-01/meta-data", "/../etc/passwd"])
def test_what_is_not_there(path: str) -> None:
    assert answer(path) is None
