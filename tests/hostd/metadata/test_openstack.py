"""OpenStack's metadata tree: what is in which version, and what is in the files."""

from __future__ import annotations

import json

import pytest

from hostd.metadata import openstack
from tests.hostd.specs import UUID, metadata

KEY = "ssh-ed25519 AAAAC3Nza me@home"


def answer(path: str, **changes: object) -> bytes | None:
    return openstack.answer(path, UUID, metadata(**changes))


@pytest.mark.parametrize("path", ["", "/", "//"])
def test_the_versions_are_a_line_each(path: str) -> None:
    shown = answer(path)
    assert shown is not None
    assert shown.decode().splitlines() == [
        "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
        "latest",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "files"),
    [
        ("2012-08-10", ["meta_data.json", "user_data"]),
        ("2013-04-04", ["meta_data.json", "user_data", "password"]),
        ("2013-10-17", ["meta_data.json", "user_data", "password", "vendor_data.json"]),
        ("2016-06-30", ["meta_data.json", "user_data", "password", "vendor_data.json", "network_data.json"]),
        ("latest", ["meta_data.json", "user_data", "password", "vendor_data.json", "network_data.json",
                    "vendor_data2.json"]),
    ],
)  # fmt: skip
def test_a_file_is_in_the_version_that_brought_it_and_in_later_ones(version: str, files: list[str]) -> None:
    shown = answer(version)
    assert shown is not None
    assert shown.decode().splitlines() == files
    for name in ("meta_data.json", "user_data", "password", "vendor_data.json", "network_data.json"):
        assert (answer(f"{version}/{name}") is not None) == (name in files)


def test_without_user_data_there_is_no_such_file() -> None:
    assert answer("latest/user_data") == b"#cloud-config\n"
    assert answer("latest/user_data", user_data=None) is None
    assert b"user_data" not in (answer("latest", user_data=None) or b"")


def test_meta_data() -> None:
    told = {"name": "Web 1", "launch_index": 2, "files": {"/etc/motd": "aGk=", "/a": "YQ=="}}
    meta = json.loads(answer("latest/meta_data.json", **told) or b"")
    assert meta == {
        "uuid": UUID,
        "name": "Web 1",
        "hostname": "web",
        "availability_zone": "nova",
        "project_id": "0" * 32,
        "launch_index": 2,
        "devices": [],
        "meta": {"role": "front"},
        "public_keys": {"mine": KEY},
        "keys": [{"name": "mine", "type": "ssh", "data": KEY}],
        "files": [
            {"path": "/a", "content_path": "/content/0000"},
            {"path": "/etc/motd", "content_path": "/content/0001"},
        ],
    }
    assert answer("content/0001", **told) == b"hi"
    assert answer("content/0002", **told) is None


def test_a_name_that_is_not_told_is_the_hostname() -> None:
    assert json.loads(answer("latest/meta_data.json") or b"")["name"] == "web"


def test_the_rest_of_the_files() -> None:
    assert json.loads(answer("latest/network_data.json", network_data={"links": []}) or b"") == {"links": []}
    assert answer("latest/vendor_data.json") == answer("latest/vendor_data2.json") == b"{}"
    assert answer("latest/password") == b""


@pytest.mark.parametrize(
    "path", ["2011-01-01", "latest/meta_data", "latest/meta_data.json/x", "../etc/passwd", "content"]
)
def test_what_is_not_there(path: str) -> None:
    assert answer(path) is None
