"""Debian's own cloud-init accepts what we tell guests: over the network, on the config drive, and by the firmware."""

from __future__ import annotations

import io
import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from hostd.compute.domain_xml import Machinery, Places, render
from hostd.spec import Accel
from hostd.storage import config_drive
from tests.e2e.served import Services, lease, plug, serving
from tests.hostd.network.services.documents import document, port
from tests.hostd.specs import instance, metadata
from tests.lab.cloud_init import PYTHON, unpack

pytestmark = pytest.mark.e2e

READER = Path(__file__).with_name("cloud_init_reader.py")
UUID = port().device
KEY = "ssh-ed25519 AAAAC3Nza me@home"
NETWORK_DATA = {
    "links": [{"id": "tap1", "vif_id": port().uuid, "type": "phy", "mtu": 1450, "ethernet_mac_address": port().mac}],
    "networks": [
        {"id": "network0", "link": "tap1", "type": "ipv4_dhcp", "network_id": "n"},
        {"id": "network1", "link": "tap1", "type": "ipv6_slaac", "network_id": "n"},
    ],
    "services": [{"type": "dns", "address": "9.9.9.9"}],
}
TOLD = metadata(user_data="I2Nsb3VkLWNvbmZpZwo=", network_data=NETWORK_DATA, files={"/etc/motd": "aGk="}, image_id=UUID)


@pytest.fixture
def services() -> Iterator[Services]:
    with serving() as services:
        yield services


@pytest.fixture(scope="module")
def tree() -> Path:
    return unpack()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A guest's cloud directory, and its firmware as our domain describes it."""
    places = Places(directory=Path("/i"), console_socket=Path("/c"))
    domain = ET.fromstring(
        render(
            instance(uuid=UUID), Machinery(accel=Accel(mode="tcg", reason=""), type="pc-q35-7.2", cache="none"), places
        )
    )
    firmware = {entry.get("name"): entry.text or "" for entry in domain.iterfind("sysinfo/system/entry")}
    dmi = tmp_path / "dmi"
    dmi.mkdir()
    for file, entry in (("product_name", "product"), ("sys_vendor", "manufacturer"), ("product_uuid", "uuid")):
        (dmi / file).write_text(f"{firmware[entry]}\n")
    return tmp_path


def read(tree: Path, machine: Path, name: str, *, guest: str | None = None) -> dict[str, Any]:
    """What a datasource finds, in a guest's namespace or nowhere at all."""
    where = ["ip", "netns", "exec", guest] if guest else []
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tree / "usr/lib/python3/dist-packages"),
        "RES_OPTIONS": "timeout:1 attempts:1",  # it looks names up, and this machine's resolver is not in there
    }
    done = subprocess.run(
        [*where, PYTHON, "-P", str(READER), name, str(machine)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["accepted"], done.stderr
    return found


def seed(machine: Path, label: str, directory: str) -> None:
    """The files of a config drive where cloud-init looks for them first, read back from the CD that a guest gets."""
    made = machine / "drive.iso"
    config_drive.write_iso(made, label, config_drive.contents(instance(uuid=UUID), TOLD))
    disc = pycdlib.PyCdlib()
    disc.open(str(made))
    for folder, _, names in disc.walk(rr_path="/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            content = io.BytesIO()
            disc.get_file_from_iso_fp(content, rr_path=path)
            file = machine / "lib/seed" / directory / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.getvalue())
    disc.close()


def test_the_metadata_service_is_accepted(services: Services, tree: Path, machine: Path) -> None:
    services.told[UUID] = TOLD
    services.apply(document())
    guest = plug()
    lease(guest)
    found = read(tree, machine, "OpenStack", guest=guest)
    assert (found["instance_id"], found["hostname"], found["zone"]) == (UUID, "web", "nova")
    assert (found["keys"], found["user_data"], found["meta"]) == ([KEY], "#cloud-config\n", {"role": "front"})
    assert found["files"] == {"/etc/motd": "hi"}
    (link,) = [one for one in found["network"]["config"] if one["type"] == "physical"]
    assert (link["mac_address"], link["mtu"]) == (port().mac, 1450)
    assert [subnet["type"] for subnet in link["subnets"]] == ["dhcp4", "ipv6_slaac"]


def test_the_config_drive_is_accepted(services: Services, tree: Path, machine: Path) -> None:
    seed(machine, config_drive.OPENSTACK_LABEL, "config_drive")
    found = read(tree, machine, "ConfigDrive", guest=plug())
    assert (found["instance_id"], found["hostname"]) == (UUID, "web")
    assert (found["keys"], found["user_data"]) == ([KEY], "#cloud-config\n")
    assert found["files"] == {"/etc/motd": "hi"}


def test_the_other_config_drive_is_accepted(tree: Path, machine: Path) -> None:
    seed(machine, config_drive.NOCLOUD_LABEL, "nocloud")
    found = read(tree, machine, "NoCloud")
    assert (found["instance_id"], found["hostname"]) == (UUID, "web")
    assert (found["keys"], found["user_data"]) == ([KEY], "#cloud-config\n")
    assert found["network"]["ethernets"]["nic0"]["dhcp4"] is True


def test_the_firmware_tells_cloud_init_where_to_look(tree: Path, machine: Path) -> None:
    """ds-identify decides at boot, in a shell, which datasources are tried at all."""
    root = machine / "root"
    for directory in ("etc/cloud", "run", "proc/1", "sys/class", "dev", "var/lib/cloud"):
        (root / directory).mkdir(parents=True)
    (root / "sys/class/dmi").mkdir()
    (root / "sys/class/dmi/id").symlink_to(machine / "dmi")
    (root / "proc/cmdline").write_text("quiet\n")
    (root / "proc/1/cmdline").write_text("/sbin/init\n")
    (root / "proc/1/environ").write_text("")
    (root / "proc/uptime").write_text("1 1\n")
    virtual = machine / "bin/systemd-detect-virt"
    virtual.parent.mkdir()
    virtual.write_text("#!/bin/sh\necho kvm\n")
    virtual.chmod(0o755)
    path = f"{virtual.parent}:{os.environ['PATH']}"
    identify = ["sh", str(tree / "usr/lib/cloud-init/ds-identify"), "--force"]
    done = subprocess.run(identify, env={"PATH": path, "PATH_ROOT": str(root)}, capture_output=True, check=False)
    log = (root / "run/cloud-init/ds-identify.log").read_text()
    assert done.returncode == 0, log
    assert "OpenStack" in (root / "run/cloud-init/cloud.cfg").read_text(), log
