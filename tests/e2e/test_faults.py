"""What machines do to a cloud: cables, daemons, disks and power that go away in the middle of something.

Each test prints how long it took until all was right again after the fault had stopped.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.compute import flavors
from core.errors import NoValidHost, Unavailable
from core.hosts import hosts
from core.hosts.link import LinkState
from core.identity import quotas
from core.operations.operations import Operation, State
from hostd.relay import STATE
from hostd.spec import Applied, Apply, ErrorCode, HostError, InstanceSpec, ObjectKind, PowerState, Want, dump
from tests.e2e.cloud import NANO, Cloud
from tests.e2e.conftest import EAST, WEST
from tests.e2e.raw import raw_link
from tests.lab.hosts import REPOSITORY

pytestmark = pytest.mark.e2e

GUEST = "guest"


@contextmanager
def recovery(cloud: Cloud, what: str) -> Iterator[None]:
    """All is right within 60 s of the fault's end; says how long it took."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    print(f"\n{what}: right again after {took:.2f} s", end="")
    assert took < 60
    assert cloud.verify() == []


def once(cloud: Cloud, operation: Operation, name: str) -> None:
    """A create came to its end, and made one guest on one host."""
    cloud.succeeded(operation.id)
    uuid = cloud.instance(name).id
    on = [host for host, seen in cloud.observe().items() if any(domain.uuid == uuid for domain in seen.domains)]
    assert on == [cloud.instance(name).host_id]


def in_step(cloud: Cloud, operation: Operation, step: str) -> Callable[[], bool]:
    return lambda: cloud.operation(operation.id).step == step


# ---------------------------------------------------------------------------- daemons


def test_libvirtd_is_killed_and_comes_back(cloud: Cloud) -> None:
    cloud.launch(GUEST, host=EAST)
    qemu = cloud.qemu(EAST, GUEST)
    host = cloud.hosts[EAST]
    host.run(["sh", "-c", "kill -9 $(cat /run/libvirtd.pid)"])
    cloud.until(lambda: _complains_of_libvirt(cloud), "the host says that libvirtd is down")
    assert cloud.host(EAST).state == "up", "its daemon is"
    operation = cloud.start_power(GUEST, "pause")
    cloud.until(lambda: cloud.operation(operation.id).error is not None, "the operation says what it waits for")
    host.run(["/usr/sbin/libvirtd", "-d", "-p", "/run/libvirtd.pid"])
    with recovery(cloud, "libvirtd restarted"):
        cloud.succeeded(operation.id)
        cloud.until(lambda: not cloud.findings(), "nothing is complained of any more")
    assert qemu.exists(), "the guest lived on"
    assert cloud.status(GUEST) == "PAUSED"


def _complains_of_libvirt(cloud: Cloud) -> bool:
    return any("libvirt" in finding.title for finding in cloud.findings())


def test_hostd_is_killed_in_the_middle_of_a_create(cloud: Cloud) -> None:
    file = cloud.arm_host(EAST, "instance.define:before")
    operation = cloud.create(GUEST, host=EAST).operations[0]
    cloud.until(lambda: not file.exists(), "hostd is dead", every=0.01)
    with recovery(cloud, "hostd killed"):
        once(cloud, operation, GUEST)


def test_hostd_is_killed_while_nothing_happens(cloud: Cloud) -> None:
    cloud.launch(GUEST, host=EAST)
    before = cloud.hostd_pid(EAST)
    cloud.kill_hostd(EAST)
    with recovery(cloud, "idle hostd killed"):
        cloud.until(lambda: cloud.hostd_pid(EAST) != before, "its relay brought another")
        cloud.until_up(EAST)
        cloud.succeeded(cloud.start_power(GUEST, "pause").id)


def test_the_engine_is_killed_in_the_middle_of_a_create(cloud: Cloud) -> None:
    operation = cloud.create(GUEST, host=EAST).operations[0]
    cloud.until(in_step(cloud, operation, "spawn"), "it is being made", every=0.005)
    cloud.kill_engine()
    with recovery(cloud, "engine killed"):
        cloud.start_engine()
        once(cloud, operation, GUEST)


def test_a_frozen_terminal_stalls_nothing(cloud: Cloud) -> None:
    command = ["server", "create", "--image", "tiny", "--flavor", NANO, "--wait", GUEST]
    terminal = subprocess.Popen(
        [sys.executable, "-m", "tui", *command],
        env=cloud.environ,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        cloud.until(lambda: bool(cloud.instances()), "it is accepted", every=0.005)
        terminal.send_signal(signal.SIGSTOP)
        with recovery(cloud, "terminal frozen"):
            cloud.until(lambda: cloud.status(GUEST) == "ACTIVE", "it is made all the same")
        terminal.send_signal(signal.SIGCONT)
        assert terminal.wait(30) == 0
    finally:
        terminal.kill()
        terminal.wait()


# ---------------------------------------------------------------------------- the network between


def test_the_cable_is_cut_in_the_middle_of_a_create(cloud: Cloud) -> None:
    host = cloud.hosts[EAST]
    operation = cloud.create(GUEST, host=EAST).operations[0]
    cloud.until(in_step(cloud, operation, "spawn"), "the host was asked", every=0.005)
    host.cut()
    cloud.until_down(EAST)
    host.heal()
    with recovery(cloud, "cable cut in a create"):
        once(cloud, operation, GUEST)


def test_the_ssh_session_is_killed_in_the_middle_of_a_create(cloud: Cloud) -> None:
    operation = cloud.create(GUEST, host=EAST).operations[0]
    cloud.until(in_step(cloud, operation, "spawn"), "the host was asked", every=0.005)
    _kill_sessions(cloud, EAST)
    with recovery(cloud, "SSH session killed in a create"):
        once(cloud, operation, GUEST)


def _kill_sessions(cloud: Cloud, host: str) -> int:
    """Kill every sshd of the host that serves a session; how many there were."""
    listener = cloud.inside(host, "/run/sshd.pid").read_text().strip()
    found = cloud.hosts[host].run(["pgrep", "-P", listener], check=False).stdout.split()
    cloud.hosts[host].run(["kill", "-9", *found])
    return len(found)


def test_the_cable_is_cut_in_the_middle_of_an_image(cloud: Cloud, tmp_path: Path) -> None:
    big = _add_image(cloud, tmp_path, "big", mib=200)
    cache = cloud.inside(EAST, f"{STATE}/images")
    operation = cloud.create(GUEST, host=EAST, image="big").operations[0]
    part = cache / f"{big}.part"
    cloud.until(lambda: part.exists() and part.stat().st_size > 20 << 20, "bytes are on their way", every=0.002)
    _kill_sessions(cloud, EAST)
    kept = part.stat().st_size
    assert 0 < kept < 200 << 20
    with recovery(cloud, f"SSH cut after {kept >> 20} of 200 MiB"):
        once(cloud, operation, GUEST)
    seen = next(image for image in cloud.observe()[cloud.host(EAST).id].images if image.digest == big)
    assert (seen.verified, seen.size) == (True, 200 << 20)
    assert _sha256(cache / big) == big
    cloud.clear()
    _drop_image(cloud, "big")


def _add_image(cloud: Cloud, directory: Path, name: str, *, mib: int) -> str:
    """A raw image of random bytes; its digest."""
    file = directory / name
    with file.open("wb") as out:
        for _ in range(mib):
            out.write(os.urandom(1 << 20))
    digest = cloud.add_image(name, file, disk_format="raw", virtual_size=mib << 20)
    file.unlink()
    return digest


def _drop_image(cloud: Cloud, name: str) -> None:
    """Out of the store and out of every cache."""
    digest = cloud.delete_image(name)
    for host in cloud.hosts:
        cloud.inside(host, f"{STATE}/images/{digest}").unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    return subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]


# ---------------------------------------------------------------------------- disks and power


@contextmanager
def small_image_store(cloud: Cloud, host: str, size: str) -> Iterator[None]:
    """The host keeps images on a file system of this size, empty at first."""
    machine = cloud.hosts[host]
    with without_daemons(cloud, host):
        machine.tmpfs(f"{STATE}/images", size)
    try:
        yield
    finally:
        with without_daemons(cloud, host):
            machine.run(["umount", f"{STATE}/images"])


@contextmanager
def without_daemons(cloud: Cloud, host: str) -> Iterator[None]:
    """Neither the engine nor the host's daemon runs."""
    cloud.stop_engine()
    daemon = cloud.inside(host, f"/proc/{cloud.hostd_pid(host)}")
    cloud.kill_hostd(host)
    cloud.until(lambda: not daemon.exists(), "hostd has ended")
    try:
        yield
    finally:
        cloud.restart_engine()


def test_a_full_disk_is_named_and_the_create_goes_elsewhere(cloud: Cloud) -> None:
    with small_image_store(cloud, EAST, "8m"):
        with recovery(cloud, "image store full"):
            forced = cloud.create("forced", host=EAST).operations[0]
            assert cloud.ended(forced.id).state == State.FAILED
        error = cloud.operation(forced.id).error
        assert error is not None
        assert error["code"] == ErrorCode.DISK_FULL
        assert "needs 14.2 MB" in error["title"]
        assert re.search(r"has 8\.\d MB left", error["title"])
        assert cloud.status("forced") == "ERROR"
        assert cloud.instance("forced").host_id is None

        cloud.ask(hosts.update_host, WEST, enabled=False)
        free = cloud.create("free").operations[0]
        cloud.ask(hosts.update_host, WEST, enabled=True)
        cloud.succeeded(free.id)
        assert cloud.instance("free").host_id == cloud.host(WEST).id, "a second attempt, on another host"
        assert cloud.host(EAST).failed_builds > 0
        assert cloud.verify() == []
        cloud.clear()
    cloud.launch(GUEST, host=EAST)  # and its consecutive failures are forgotten
    assert cloud.host(EAST).failed_builds == 0


def test_a_host_fails_a_guest_and_another_takes_it(cloud: Cloud) -> None:
    """Its QEMU is broken; the guest that is being made there is undone and made elsewhere."""
    machine, qemu = cloud.hosts[EAST], "/usr/bin/qemu-system-x86_64"
    machine.run(["mount", "--bind", "/bin/false", qemu])
    try:
        cloud.ask(hosts.update_host, WEST, enabled=False)
        operation = cloud.create(GUEST).operations[0]
        cloud.ask(hosts.update_host, WEST, enabled=True)
        cloud.until(lambda: cloud.operation(operation.id).lane == cloud.host(WEST).id, "it is sent elsewhere")
    finally:
        machine.run(["umount", qemu])
    with recovery(cloud, "rescheduled"):
        once(cloud, operation, GUEST)
    assert not cloud.inside(EAST, f"{STATE}/instances/{cloud.instance(GUEST).id}").exists()
    cloud.launch("again", host=EAST)


def test_a_power_failure(cloud: Cloud) -> None:
    cloud.launch(GUEST, host=EAST)
    cloud.launch("other", host=WEST)
    cloud.hosts[EAST].kill_power()
    cloud.until_down(EAST)
    assert cloud.status(GUEST) == "ACTIVE", "nothing is known of it"
    cloud.hosts[EAST].start()
    with recovery(cloud, "power failure"):
        cloud.until_up(EAST)
        cloud.until(lambda: cloud.status(GUEST) == "SHUTOFF", "the guest is known to be off")
        cloud.succeeded(cloud.start_power(GUEST, "start").id)
        cloud.booted(GUEST)
    assert cloud.status("other") == "ACTIVE"
    assert "skydeck" in cloud.type(GUEST, "ping -c1 10.0.0.2 >/dev/null && echo sky''deck\n", "skydeck")


def test_a_lost_journal_deletes_nothing(cloud: Cloud) -> None:
    uuid = cloud.launch(GUEST, host=EAST)
    qemu = cloud.qemu(EAST, GUEST)
    files = cloud.inside(EAST, f"{STATE}/instances/{uuid}")
    before = set(files.iterdir())
    with without_daemons(cloud, EAST):
        for file in cloud.inside(EAST, STATE).glob("journal.db*"):
            file.unlink()
    with recovery(cloud, "journal lost"):
        assert set(files.iterdir()) == before
        assert qemu.exists()
        cloud.succeeded(cloud.start_power(GUEST, "pause").id)
        cloud.launch("second", host=EAST)
        cloud.succeeded(cloud.start_delete(GUEST).id)
    assert not files.exists()


# ---------------------------------------------------------------------------- hosts that are away


def test_a_host_that_is_down_is_passed_over_and_its_deletes_wait(cloud: Cloud) -> None:
    uuid = cloud.launch(GUEST, host=EAST)
    host = cloud.hosts[EAST]
    host.cut()
    cloud.until_down(EAST)
    cloud.launch("meanwhile")
    assert cloud.instance("meanwhile").host_id == cloud.host(WEST).id
    with pytest.raises(NoValidHost) as refused:
        cloud.create("there", host=EAST)
    assert EAST in str(refused.value.funnel)
    operation = cloud.start_delete(GUEST)
    cloud.until(lambda: cloud.operation(operation.id).error is not None, "the delete says what it waits for")
    assert cloud.operation(operation.id).state == State.READY
    assert cloud.status(GUEST) == "ACTIVE"
    assert cloud.instance(GUEST).task_state == "deleting"
    host.heal()
    with recovery(cloud, "host came back"):
        cloud.succeeded(operation.id)
    assert not cloud.inside(EAST, f"{STATE}/instances/{uuid}").exists()


# ---------------------------------------------------------------------------- the wire


def test_duplicate_and_reordered_applies(cloud: Cloud) -> None:
    uuid = "5ad0c1e4-0000-4000-8000-0000000000aa"

    def apply(generation: int, want: Want) -> Apply:
        spec = InstanceSpec(
            uuid=uuid, want=want, name="raw", project_id="0" * 32, vcpus=1, ram_mb=64, root_gb=1, stop_timeout=1
        )
        return Apply(kind=ObjectKind.INSTANCE, uuid=uuid, generation=generation, spec=dump(spec))

    async def scenario() -> None:
        async with raw_link(cloud, EAST) as link:
            await link.wait_up(20)
            both = await asyncio.gather(*(link.call("apply", apply(1, Want.RUNNING)) for _ in range(2)))
            first: Applied = both[0]
            assert both[1] == first
            assert first.power is PowerState.RUNNING
            assert await link.call("apply", apply(1, Want.RUNNING)) == first, "a repeat is answered, not done"
            with pytest.raises(HostError) as conflict:
                await link.call("apply", apply(1, Want.STOPPED))
            assert conflict.value.code is ErrorCode.CONFLICT
            assert (await link.call("apply", apply(3, Want.STOPPED))).power is PowerState.SHUTDOWN
            with pytest.raises(HostError) as old:
                await link.call("apply", apply(2, Want.RUNNING))
            assert old.value.code is ErrorCode.OLD_GENERATION
            gone: Applied = await link.call("apply", apply(4, Want.ABSENT))
            assert gone.power is None

    asyncio.run(scenario())
    assert uuid not in cloud.hosts[EAST].run(["virsh", "list", "--all", "--uuid"]).stdout


def test_a_stale_controller_is_refused(cloud: Cloud) -> None:
    async def scenario() -> None:
        async with raw_link(cloud, EAST, term=0) as link:
            with pytest.raises(Unavailable):
                await link.wait_up(20)
            assert (link.status.state, link.status.code) == (LinkState.ENDED, ErrorCode.STALE_CONTROLLER)

    asyncio.run(scenario())
    cloud.launch(GUEST, host=EAST)


# ---------------------------------------------------------------------------- many at once

CREATOR = """
import sys
from core import cloud, config
from core.compute.instances import create
from core.errors import NoValidHost
settings = config.load()
store = cloud.open_store(settings)
with store.read() as session:
    ctx = cloud.context(session, settings, source="cli")
sys.stdin.readline()
for number in range(2):
    spec = create.CreateSpec(name=f"{sys.argv[1]}-{number}", flavor="claim", image="tiny")
    try:
        create.create(store, settings, ctx, spec)
    except NoValidHost as refused:
        assert refused.operation_id, "the funnel is kept"
        print("refused", refused.title)
    else:
        print("placed")
store.close()
"""


def test_eight_processes_place_exactly_ten(cloud: Cloud) -> None:
    """Room is counted, not the guests' weight: each claims a gigabyte of disk and uses next to nothing of it."""
    cloud.ask(flavors.create, name="claim", ram_mb=64, disk_gb=1, vcpus=1)
    cloud.ask(quotas.update, cloud.ctx.project_id, "admin", {"instances": -1, "cores": -1, "ram": -1})
    cloud.ask(hosts.update_host, WEST, enabled=False)
    total = cloud.host(EAST).disk_gb
    cloud.ask(hosts.update_host, EAST, reserved={"disk_gb": total - 10}, ratios={"cpu": 64.0})
    try:
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", CREATOR, f"racer-{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=cloud.environ,
                cwd=REPOSITORY,
                text=True,
            )
            for number in range(8)
        ]
        said = "".join(out for out, _ in [racer.communicate("go\n", timeout=60) for racer in racers])
        assert all(racer.returncode == 0 for racer in racers)
        assert said.count("placed") == 10, said
        assert said.count("refused") == 6
        assert said.count("disk") >= 6, "the funnel names what is short"
        assert len(cloud.instances()) == 10
        with recovery(cloud, "ten creates"):
            cloud.until(lambda: not cloud.open_operations(), "all have ended")
            assert {cloud.status(uuid) for uuid in cloud.instances()} == {"ACTIVE"}
            cloud.clear()
    finally:
        cloud.ask(hosts.update_host, WEST, enabled=True)
        cloud.ask(hosts.update_host, EAST, reserved={"disk_gb": 0}, ratios={"cpu": 4.0})
        cloud.ask(quotas.update, cloud.ctx.project_id, "admin", {"instances": 10, "cores": 20, "ram": 51200})
        cloud.clear()
        cloud.ask(flavors.delete, "claim")
