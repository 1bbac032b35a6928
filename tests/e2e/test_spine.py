"""A guest's whole life on two real hosts, as its user meets it: asked for here, made over SSH there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from core.compute import keypairs
from core.compute.instances import verbs
from core.errors import Conflict, QuotaExceeded
from core.hosts.drift import Finding
from hostd.network import names
from hostd.relay import STATE
from hostd.spec import PowerState
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import EAST, WEST

pytestmark = pytest.mark.e2e

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGvXcBo4b1qZP3Yh2o9g6c8V0R9t3mC6yVZ8w1x2y3zA me@home"


def ping(cloud: Cloud, host: str, name: str) -> int:
    """Ping a guest from its network's namespace on the host; the exit status of ping."""
    (port,) = cloud.ports(name)
    namespace = names.namespace(port.network_id)
    command = ["ip", "netns", "exec", namespace, "ping", "-c", "1", "-W", "2", cloud.address(name)]
    return cloud.hosts[host].run(command, check=False).returncode


@pytest.mark.parametrize("host", [EAST, WEST])
def test_a_guest_boots_answers_and_obeys_its_console(cloud: Cloud, host: str) -> None:
    began = time.monotonic()
    cloud.launch("one", host=host)
    active = time.monotonic() - began
    cloud.booted("one")
    print(f"\n{host}: ACTIVE after {active:.2f} s, booted after {time.monotonic() - began:.2f} s")
    assert "hello-42" in cloud.type("one", "echo hello-$((40+2))\n", "hello-42")
    assert ping(cloud, host, "one") == 0
    assert cloud.verify() == []


def test_guests_of_two_hosts_live_side_by_side(cloud: Cloud) -> None:
    for name, host in (("one", EAST), ("two", WEST)):
        cloud.launch(name, host=host)
    owners = {host: {domain.uuid for domain in seen.domains} for host, seen in cloud.observe().items()}
    for name, host in (("one", EAST), ("two", WEST)):
        assert owners[cloud.host(host).id] == {cloud.instance(name).id}
    assert cloud.verify() == []


def test_power_verbs_reach_the_guest(cloud: Cloud) -> None:
    cloud.launch("one", host=EAST)
    cloud.booted("one")
    for verb, status in (
        ("pause", "PAUSED"),
        ("unpause", "ACTIVE"),
        ("suspend", "SUSPENDED"),
        ("resume", "ACTIVE"),
        ("reboot_soft", "ACTIVE"),
        ("reboot_hard", "ACTIVE"),
        ("stop", "SHUTOFF"),
        ("start", "ACTIVE"),
    ):
        boots = cloud.boots("one")
        began = time.monotonic()
        cloud.succeeded(cloud.start_power("one", verb).id)
        print(f"\n{verb}: {time.monotonic() - began:.2f} s", end="")
        assert cloud.status("one") == status
        assert cloud.verify() == [], verb
        if verb.startswith("reboot"):
            cloud.booted("one", boots=boots + 1)
    with pytest.raises(Conflict):
        cloud.start_power("one", "unpause")


def test_its_name_metadata_and_lock_are_kept(cloud: Cloud) -> None:
    cloud.launch("one", host=EAST, properties={"role": "web"})
    cloud.ask(verbs.rename, "one", "uno")
    cloud.ask(verbs.set_properties, "uno", {"tier": "front"}, unset=("role",))
    cloud.ask(verbs.lock, "uno", reason="careful")
    row = cloud.instance("uno")
    assert (row.properties, row.locked, row.locked_reason) == ({"tier": "front"}, True, "careful")
    assert cloud.verify() == []
    cloud.ask(verbs.unlock, "uno")
    cloud.succeeded(cloud.start_power("uno", "pause").id)
    assert cloud.status("uno") == "PAUSED"


def test_three_at_once(cloud: Cloud) -> None:
    made = cloud.create("web", min_count=2, max_count=3)
    for operation in made.operations:
        cloud.succeeded(operation.id)
    assert [instance.name for instance in made.instances] == ["web-1", "web-2", "web-3"]
    assert {cloud.status(f"web-{number}") for number in (1, 2, 3)} == {"ACTIVE"}
    assert len({cloud.address(f"web-{number}") for number in (1, 2, 3)}) == 3
    assert cloud.verify() == []
    with pytest.raises(QuotaExceeded):
        cloud.create("more", min_count=50, max_count=50)
    assert len(cloud.instances()) == 3


def test_key_and_user_data_reach_the_guest(cloud: Cloud) -> None:
    cloud.ask(keypairs.create, name="mine", public_key=PUBLIC_KEY)
    script = (
        b"#!/bin/sh\necho user-data-ran-$((40+2))\ngrep -o 'ssh-ed25519 [A-Za-z0-9/+]*' /run/config/meta_data.json\n"
    )
    cloud.launch("one", host=WEST, key_name="mine", user_data=script, config_drive=True, properties={"role": "front"})
    cloud.booted("one")
    log = cloud.console_log("one")
    assert "user-data-ran-42" in log
    assert PUBLIC_KEY.rpartition(" ")[0] in log
    assert "SKYDECK hostname one" in log
    assert cloud.verify() == []
    cloud.clear()
    cloud.ask(keypairs.delete, "mine")


def test_a_guest_that_switches_itself_off_is_shutoff(cloud: Cloud) -> None:
    cloud.launch("one", host=EAST)
    cloud.booted("one")
    qemu = cloud.qemu(EAST, "one")
    cloud.type("one", "poweroff\n", "poweroff")
    cloud.until(lambda: not qemu.exists(), "its QEMU has ended", every=0.01)
    began = time.monotonic()
    cloud.until(lambda: cloud.status("one") == "SHUTOFF", "it is SHUTOFF")
    took = time.monotonic() - began
    print(f"\nSHUTOFF {took:.2f} s after its QEMU ended")
    assert took < 10
    assert cloud.verify() == []
    cloud.succeeded(cloud.start_power("one", "start").id)
    assert cloud.status("one") == "ACTIVE"


def test_a_guest_started_behind_our_back_is_a_finding_and_start_adopts_it(cloud: Cloud) -> None:
    uuid = cloud.launch("one", host=EAST)
    cloud.booted("one")
    cloud.succeeded(cloud.start_power("one", "stop").id)
    assert cloud.status("one") == "SHUTOFF"
    cloud.hosts[EAST].run(["virsh", "start", uuid])

    def found() -> list[Finding]:
        return [finding for finding in cloud.findings() if finding.kind == "started_elsewhere"]

    began = time.monotonic()
    cloud.until(lambda: bool(found()), "it is a finding")
    took = time.monotonic() - began
    print(f"\na finding after {took:.2f} s")
    assert took < 5, "an event told of it"
    assert found()[0].object_id == uuid
    assert cloud.status("one") == "SHUTOFF"
    qemu = cloud.qemu(EAST, "one")
    cloud.succeeded(cloud.start_power("one", "start").id)
    assert cloud.status("one") == "ACTIVE"
    assert cloud.qemu(EAST, "one") == qemu, "the running guest was taken as it is"
    cloud.until(lambda: not found(), "the finding is resolved")
    assert cloud.verify() == []


def test_delete_removes_exactly_its_files(cloud: Cloud) -> None:
    kept, gone = cloud.launch("kept", host=EAST), cloud.launch("gone", host=EAST)
    instances = cloud.inside(EAST, f"{STATE}/instances")

    def files() -> set[Path]:
        return set(instances.rglob("*"))

    before = files()
    cloud.succeeded(cloud.start_delete("gone").id)
    assert before - files() == {path for path in before if gone in path.parts}
    assert kept in {path.name for path in instances.iterdir()}
    seen = cloud.seen("kept")
    assert seen is not None
    assert seen.power is PowerState.RUNNING
    assert cloud.verify() == []


def test_the_last_guest_takes_its_network_along(cloud: Cloud) -> None:
    cloud.launch("one", host=EAST)
    (port,) = cloud.ports("one")
    cloud.succeeded(cloud.start_delete("one").id)
    links = cloud.hosts[EAST].run(["ip", "-br", "link"]).stdout
    assert names.bridge(port.network_id) not in links
    assert cloud.verify() == []
