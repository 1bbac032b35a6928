"""Guests that are namespaces on a bridge, with DHCP, DNS and metadata served to them and nothing else of hostd.

What leads there (bridge, service leg, router) is made by hand; clients are real: udhcpc, nslookup, and sockets opened
inside the guests.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hostd.drivers import Happened
from hostd.network import names, namespaces, rtnetlink
from hostd.network.document import Document
from hostd.network.part import World
from hostd.network.services import Dhcp, MetadataPart
from hostd.network.services.dnsmasq import Server
from hostd.spec import Metadata
from tests.e2e.sandbox import isolated
from tests.hostd.network.services.documents import NETWORK, ROUTER, port

RUN = Path("/run/skydeck")
ROUTER_SPACE = names.router(ROUTER)


def sh(command: str, *, check: bool = True) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout


class Services:
    """The two parts of one hostd, over service legs that stand already."""

    def __init__(self) -> None:
        self.happened: list[Happened] = []
        self.event = threading.Condition()
        self.told: dict[str, Metadata] = {}
        self.dhcp = Dhcp(RUN)
        self.metadata = MetadataPart()
        self.dhcp.start(self._heard)
        self.metadata.start(lambda uuid: self.told.get(uuid))

    def _heard(self, happened: Happened) -> None:
        with self.event:
            self.happened.append(happened)
            self.event.notify_all()

    def apply(self, wanted: Document) -> list[str]:
        """Converge both parts, as the driver does, and name the steps that were taken."""
        taken = []
        for part in (self.dhcp, self.metadata):
            for step in part.plan(wanted, part.seen(wanted, world(), deep=False)):
                part.execute(step, wanted)
                taken.append(step.name)
        return taken

    def faults(self, wanted: Document) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in (self.dhcp, self.metadata):
            found |= part.faults(wanted, part.seen(wanted, world(), deep=True))
        return found

    def pid(self, uuid: str = NETWORK) -> int | None:
        return Server(RUN / "dhcp" / uuid, namespace=names.namespace(uuid)).seen(deep=False).pid

    def stop(self) -> None:
        """As hostd ends: what it started for guests lives on."""
        self.metadata.stop()
        self.dhcp.stop()


@contextmanager
def serving() -> Iterator[Services]:
    """The parts over the bridge and the service leg of one network, in namespaces of the test's own."""
    with isolated():
        lay()
        services = Services()
        try:
            yield services
        finally:
            services.stop()
            kill_servers()


def kill_servers() -> None:
    for path in RUN.glob("dhcp/*/dnsmasq.pid"):
        os.kill(int(path.read_text()), signal.SIGKILL)


def lay(uuid: str = NETWORK, *addresses: str) -> None:
    """What the other parts make for a network: bridge, namespace, service leg."""
    bridge, leg, space = names.bridge(uuid), names.leg(uuid), names.namespace(uuid)
    sh(f"""ip link add {bridge} type bridge mcast_snooping 0; ip link set {bridge} up
        ip netns add {space}
        ip link add {leg} type veth peer name svc netns {space}
        ip link set {leg} master {bridge} up
        ip -n {space} link set lo up; ip -n {space} link set svc up""")
    for address in addresses or ("10.0.0.2/24", "169.254.169.254/32"):
        sh(f"ip -n {space} addr add {address} dev svc nodad")


def world() -> World:
    return World(links=rtnetlink.links(), namespaces=namespaces.names())


def plug(number: int = 1, *, uuid: str = NETWORK, tap: str = "") -> str:
    """A guest made of a namespace, on a network's bridge; its name. `tap`: how its cable is called on the host."""
    guest = f"guest-{uuid[:2]}-{number}"
    tap = tap or f"t-{uuid[:2]}-{number}"
    sh(f"""ip netns add {guest}
        ip link add {tap} mtu 1450 type veth peer name eth0 address {port(number).mac} netns {guest}
        ip link set {tap} master {names.bridge(uuid)} up
        ip -n {guest} link set lo up; ip -n {guest} link set eth0 up""")
    return guest


LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
env >/run/lease
ip addr flush dev eth0 scope global
ip addr add $ip/$mask dev eth0
ip link set eth0 mtu $mtu
set -- $staticroutes
while [ $# -ge 2 ]; do ip route replace $1 via $2 dev eth0; shift 2; done
"""


def lease(guest: str) -> dict[str, str]:
    """What DHCP gives the guest, which it takes; empty when nobody answers."""
    script = Path("/run/udhcpc")
    script.write_text(LEASE)
    script.chmod(0o755)
    Path("/run/lease").unlink(missing_ok=True)
    wants = "-O mtu -O staticroutes -O dns -O domain -O router -O hostname"
    sh(f"ip netns exec {guest} busybox udhcpc -i eth0 -n -q -f -t 3 -T 1 {wants} -s {script}", check=False)
    if not Path("/run/lease").exists():
        return {}
    return dict(line.split("=", 1) for line in Path("/run/lease").read_text().splitlines() if "=" in line)


def get(guest: str, path: str, *, address: str = "169.254.169.254") -> str:
    """What the metadata service says to the guest; empty when it says no, or nothing."""
    with namespaces.inside(guest):
        client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        target = (address, 80, 0, socket.if_nametoindex("eth0")) if ":" in address else (address, 80)
    with client:
        client.settimeout(3)
        try:
            client.connect(target)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
        except OSError:
            return ""
    return body.decode() if b" 200 " in head.splitlines()[0] else ""


def ask(guest: str, name: str, *, server: str = "10.0.0.2", kind: str = "a") -> list[str]:
    """The addresses DNS gives for a name."""
    shown = sh(f"ip netns exec {guest} busybox nslookup -type={kind} {name} {server}", check=False)
    answer = shown.partition("\n\n")[2]
    return [line.split()[1] for line in answer.splitlines() if line.startswith("Address")]


def wait(true: Callable[[], bool], *, seconds: float = 10) -> None:
    """dnsmasq tells nobody when it has read a file."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def lay_router() -> None:
    """A router's namespace, as the routers' part makes it, as far as metadata needs it."""
    space = ROUTER_SPACE
    sh(f"""ip netns add {space}; ip link add rr type veth peer name qr netns {space}
        ip link set rr master {names.bridge(NETWORK)} up; ip -n {space} link set lo up; ip -n {space} link set qr up
        ip -n {space} addr add 10.0.0.1/24 dev qr""")
