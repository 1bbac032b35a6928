"""One truth about the guest, in two layouts, on CDs that both kinds of reader find."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pycdlib
import pytest

from hostd.spec import ErrorCode, HostError
from hostd.storage import config_drive
from tests.hostd.specs import UUID, instance, metadata

NETWORK = {
    "links": [
        {"id": "tap1", "type": "phy", "ethernet_mac_address": "FA:16:3E:00:00:01", "mtu": 1450},
        {"id": "tap2", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:02"},
    ],
    "networks": [
        {
            "id": "network0",
            "type": "ipv4",
            "link": "tap1",
            "ip_address": "10.0.0.5",
            "netmask": "255.255.255.0",
            "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"}],
        },
        {"id": "network1", "type": "ipv6", "link": "tap1", "ip_address": "fd00::5/64"},
        {"id": "network2", "type": "ipv4_dhcp", "link": "tap2"},
        {"id": "network3", "type": "ipv6_slaac", "link": "tap2"},
    ],
    "services": [{"type": "dns", "address": "10.0.0.2"}],
}


def files(**changes: object) -> dict[str, bytes]:
    return config_drive.contents(instance(), metadata(**changes))


def test_openstack_layout() -> None:
    made = files(files={"/etc/motd": "aGk=", "/a": "YQ=="})
    for version in ("latest", "2018-08-27"):
        meta = json.loads(made[f"openstack/{version}/meta_data.json"])
        assert (meta["uuid"], meta["hostname"], meta["meta"]) == (UUID, "web", {"role": "front"})
        assert meta["public_keys"] == {"mine": "ssh-ed25519 AAAAC3Nza me@home"}
        assert meta["keys"] == [{"name": "mine", "type": "ssh", "data": "ssh-ed25519 AAAAC3Nza me@home"}]
        assert made[f"openstack/{version}/user_data"] == b"#cloud-config\n"
        assert json.loads(made[f"openstack/{version}/network_data.json"]) == {}
        assert made[f"openstack/{version}/vendor_data.json"] == made[f"openstack/{version}/vendor_data2.json"] == b"{}"
        for file, content in zip(meta["files"], (b"a", b"hi"), strict=True):
            assert made["openstack" + file["content_path"]] == content
        assert [file["path"] for file in meta["files"]] == ["/a", "/etc/motd"]


def test_nocloud_layout_has_the_same_identity() -> None:
    made = files()
    meta = json.loads(made["meta-data"])
    assert (meta["instance-id"], meta["local-hostname"]) == (UUID, "web")
    assert meta["public-keys"] == ["ssh-ed25519 AAAAC3Nza me@home"]
    assert made["user-data"] == b"#cloud-config\n"
    assert "network-config" not in made


def test_without_user_data_nocloud_still_has_its_file() -> None:
    # NoCloud takes a disk without one for somebody else's.
    made = files(user_data=None)
    assert made["user-data"] == b""
    assert not any(name.endswith("user_data") for name in made)


def test_network_data_becomes_netplan() -> None:
    assert config_drive.network_config(NETWORK) == {
        "version": 2,
        "ethernets": {
            "nic0": {
                "match": {"macaddress": "fa:16:3e:00:00:01"},
                "mtu": 1450,
                "addresses": ["10.0.0.5/24", "fd00::5/64"],
                "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}],
                "nameservers": {"addresses": ["10.0.0.2"]},
            },
            "nic1": {
                "match": {"macaddress": "fa:16:3e:00:00:02"},
                "dhcp4": True,
                "accept-ra": True,
                "nameservers": {"addresses": ["10.0.0.2"]},
            },
        },
    }


@pytest.mark.parametrize("changes", [{"user_data": "not base64!"}, {"files": {"/x": "%"}}])
def test_what_is_not_base64_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(HostError) as refused:
        files(**changes)
    assert refused.value.code is ErrorCode.PROTOCOL


def test_the_digest_is_of_names_and_contents() -> None:
    assert config_drive.digest({"a": b"bc"}) != config_drive.digest({"ab": b"c"})
    assert config_drive.digest({"a": b"b", "c": b""}) == config_drive.digest({"c": b"", "a": b"b"})


@pytest.mark.parametrize("label", [config_drive.OPENSTACK_LABEL, config_drive.NOCLOUD_LABEL])
def test_the_iso_holds_every_file_under_every_naming(tmp_path: Path, label: str) -> None:
    iso = tmp_path / "drive.iso"
    made = files(network_data=NETWORK, files={"/etc/motd": "aGk="})
    config_drive.write_iso(iso, label, made)
    probed = subprocess.run(
        ["blkid", "-p", "-s", "LABEL", "-o", "value", iso], capture_output=True, text=True, check=True
    )
    assert probed.stdout.strip() == label
    image = pycdlib.PyCdlib()
    image.open(str(iso))
    try:
        for name, content in made.items():
            for naming in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
                read = io.BytesIO()
                image.get_file_from_iso_fp(read, **naming)
                assert read.getvalue() == content, (name, naming)
    finally:
        image.close()
