"""A project network in a real kernel: addresses by DHCP, repair, anti-spoofing, removal."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.drivers import StepContext
from hostd.network import names, namespaces
from hostd.network.driver import NetworkDriver
from hostd.spec import DhcpHost, HostError, NetworkSpec, Want
from tests.e2e.sandbox import isolated
from tests.hostd.network.samples import HOST_A, HOST_B, NETWORK, PORT_A, SUBNET, UUID, with_hosts
from tests.lab.guest import GuestImage

pytestmark = pytest.mark.e2e

STATE = Path("/run/state")
RUN = Path("/run/skydeck")
ABSENT = attrs.evolve(NETWORK, want=Want.ABSENT, subnets=())


class Unwatched:
    """A StepContext nobody looks at."""

    cache: Any = None

    def progress(self, percent: int) -> None: ...


CONTEXT: StepContext = Unwatched()


@pytest.fixture
def driver() -> Iterator[NetworkDriver]:
    with isolated():
        driver = NetworkDriver(state=STATE, run=RUN)
        driver.start(lambda happened: None)
        yield driver
        for path in RUN.glob("networks/*/dnsmasq.pid"):
            os.kill(int(path.read_text()), signal.SIGKILL)
        driver.stop()


def apply(driver: NetworkDriver, spec: NetworkSpec) -> list[str]:
    """Converge, as the daemon does, and name the steps that were taken."""
    steps = driver.plan(spec, driver.seen(spec.uuid))
    for step in steps:
        driver.execute(step, spec, CONTEXT)
    return [step.name for step in steps]


def sh(command: str, *, check: bool = True) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout


def plug(host: DhcpHost) -> str:
    """A guest made of a namespace: its cable's host side is called as a tap is. Gives the namespace's name."""
    tap = names.tap(host.port_id)
    guest = f"guest-{host.port_id[0]}"
    sh(f"""ip netns add {guest}
        ip link add {tap} mtu 1450 type veth peer name eth0 address {host.mac} netns {guest}
        ip link set {tap} master {names.bridge(UUID)} up
        ip -n {guest} link set lo up; ip -n {guest} link set eth0 up""")
    return guest


def lease(guest: str) -> dict[str, str]:
    """What DHCP gives the guest; empty when nobody answers. The address is not configured."""
    script = Path("/run/udhcpc")
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && env >/run/lease\nexit 0\n')
    script.chmod(0o755)
    Path("/run/lease").unlink(missing_ok=True)
    sh(
        f"ip netns exec {guest} busybox udhcpc -i eth0 -n -q -f -t 3 -T 1 -O mtu -O staticroutes -s {script}",
        check=False,
    )
    if not Path("/run/lease").exists():
        return {}
    return dict(line.split("=", 1) for line in Path("/run/lease").read_text().splitlines() if "=" in line)


def test_a_guest_gets_its_address(driver: NetworkDriver) -> None:
    assert apply(driver, NETWORK) == ["record", "firewall", "bridge", "service", "dhcp"]
    assert apply(driver, NETWORK) == []
    got = lease(plug(HOST_A))
    assert (got["ip"], got["mask"], got["mtu"]) == ("10.0.0.10", "24", "1450")
    assert (got["router"], got["staticroutes"]) == ("10.0.0.1", "0.0.0.0/0 10.0.0.1")
    assert (got["dns"], got["hostname"], got["serverid"]) == ("9.9.9.9", "web-1", "10.0.0.2")


def test_the_bridge_is_as_designed(driver: NetworkDriver) -> None:
    apply(driver, NETWORK)
    shown = sh(f"ip -d link show {names.bridge(UUID)}")
    for detail in ("group 93", "mtu 1450", "addrgenmode none", "mcast_snooping 0", f"altname skb-{UUID}", "02:5d:"):
        assert detail in shown
    assert "inet" not in sh(f"ip addr show {names.bridge(UUID)}")


def test_a_real_guest_boots_into_the_network(driver: NetworkDriver, guest_image: GuestImage) -> None:
    apply(driver, NETWORK)
    tap = names.tap(PORT_A)
    sh(f"""ip tuntap add {tap} mode tap vnet_hdr
        ip link set {tap} mtu 1450 master {names.bridge(UUID)} up""")
    card = f"virtio-net-pci,netdev=n,mac={HOST_A.mac},host_mtu=1450"
    guest = subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg,tb-size=32", "-machine", "q35", "-cpu", "qemu64", "-m", "128",
         "-nodefaults", "-display", "none", "-serial", "stdio",
         "-kernel", str(guest_image.kernel), "-initrd", str(guest_image.ramdisk), "-append", guest_image.cmdline,
         "-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no", "-device", card],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert guest.stdout is not None
        console = []
        for line in guest.stdout:
            console.append(line.decode(errors="replace").strip())
            if "SKYDECK ready" in console[-1]:
                break
        assert any("SKYDECK address eth0 10.0.0.10/24 mtu 1450" in line for line in console), console
        inside = f"nsenter --net={namespaces.path(names.namespace(UUID))}"
        assert "1 received" in sh(f"{inside} ping -c 1 -W 5 10.0.0.10")
    finally:
        guest.kill()
        guest.communicate()


def test_leases_come_and_go_without_a_restart(driver: NetworkDriver) -> None:
    apply(driver, NETWORK)
    pid = driver.seen(UUID).server.pid
    started = time.perf_counter()
    assert apply(driver, with_hosts(HOST_A, HOST_B)) == ["record", "firewall", "dhcp"]
    assert time.perf_counter() - started < 1, "a new lease must be cheap"
    guest = plug(HOST_B)
    assert lease(guest)["ip"] == "10.0.0.11"
    moved = attrs.evolve(HOST_B, ip="10.0.0.99")
    apply(driver, with_hosts(HOST_A, moved))
    assert lease(guest)["ip"] == "10.0.0.99"
    apply(driver, with_hosts(HOST_A))
    # The tap is known to nobody now: neither a lease nor a frame.
    assert lease(guest) == {}
    assert driver.seen(UUID).server.pid == pid


def test_damage_is_seen_and_mended(driver: NetworkDriver) -> None:
    apply(driver, NETWORK)
    guest = plug(HOST_A)
    pid = driver.seen(UUID).server.pid
    assert pid is not None
    descriptor = os.pidfd_open(pid)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)
    while driver.seen(UUID).server.pid:
        time.sleep(0.01)
    ((network,), _, _) = driver.observe()
    assert not network.healthy
    assert "dhcp" in network.detail
    assert apply(driver, NETWORK) == ["dhcp"]
    assert lease(guest)["ip"] == "10.0.0.10"
    sh(f"ip link delete {names.leg(UUID)}; nft delete table bridge skydeck")
    assert apply(driver, NETWORK) == ["firewall", "service", "dhcp"]
    assert lease(guest)["ip"] == "10.0.0.10"
    assert driver.observe()[0][0].healthy


def test_a_guest_cannot_lie_about_itself(driver: NetworkDriver) -> None:
    apply(driver, with_hosts(HOST_A, HOST_B))
    a, b = plug(HOST_A), plug(HOST_B)
    sh(f"ip -n {a} addr add 10.0.0.10/24 dev eth0; ip -n {b} addr add 10.0.0.11/24 dev eth0")
    ping = "ip netns exec {} ping -c 2 -i 0.2 -W 1 {} >/dev/null && echo ok"
    assert sh(ping.format(a, "10.0.0.11"), check=False) == "ok\n"
    assert sh(ping.format(a, "10.0.0.2"), check=False) == "ok\n"
    sh(f"ip -n {a} addr add 10.0.0.50/24 dev eth0")
    assert sh(ping.format(a, "-I 10.0.0.50 10.0.0.11"), check=False) == ""
    sh(f"ip -n {a} link set eth0 address fa:16:3e:00:00:ff")
    assert sh(ping.format(a, "10.0.0.11"), check=False) == ""
    # The host itself, on an address of its own that has nothing to do with this network.
    sh(f"ip addr add 10.0.0.77/32 dev lo; ip -n {b} neigh add 10.0.0.77 dev eth0 lladdr {names.mac('bridge', UUID)}")
    assert sh(ping.format(b, "10.0.0.77"), check=False) == ""


def test_absent_removes_everything_of_that_network_alone(driver: NetworkDriver) -> None:
    other = attrs.evolve(
        NETWORK,
        uuid="ffffffff-0000-4000-8000-000000000000",
        subnets=(attrs.evolve(SUBNET, hosts=(attrs.evolve(HOST_A, port_id="c" + PORT_A[1:]),)),),
    )
    apply(driver, NETWORK)
    apply(driver, other)
    guest = plug(HOST_A)
    with pytest.raises(HostError, match="still attached"):
        apply(driver, ABSENT)
    sh(f"ip netns delete {guest}; ip link delete {names.tap(PORT_A)} 2>/dev/null || true")
    assert apply(driver, ABSENT) == ["remove"]
    assert apply(driver, ABSENT) == []
    found = driver.seen(UUID)
    assert not found.anything
    networks, links, problems = driver.observe()
    assert [(network.uuid, network.healthy) for network in networks] == [(other.uuid, True)]
    assert {link.network for link in links} == {other.uuid}
    assert problems == ()
    assert apply(driver, other) == []


def test_strays_are_reported(driver: NetworkDriver) -> None:
    sh("ip link add skb-00000000001 type bridge; ip link add odd group 93 type bridge; ip netns add skn-00000000001")
    _, links, problems = driver.observe()
    assert {link.name for link in links} == {"skb-00000000001", "odd"}
    assert len(problems) == 3
    assert namespaces.exists("skn-00000000001")


def test_a_network_survives_hostd(driver: NetworkDriver) -> None:
    apply(driver, NETWORK)
    pid = driver.seen(UUID).server.pid
    again = NetworkDriver(state=STATE, run=RUN)
    again.start(lambda happened: None)
    assert apply(again, NETWORK) == []
    assert again.seen(UUID).server.pid == pid
    again.stop()
