"""Guests that are only a network namespace: a port of the cloud, plugged in on its host as QEMU would be.

The port is made and bound by core's verbs and told to its host by the engine; the station gets its address by DHCP from
the host. What is sent and heard is real.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from sqlmodel import Session

from core.network import ports
from core.network.tables import GUEST, Port
from hostd.network import names
from tests.e2e.cloud import Cloud
from tests.lab.hosts import LabHost

LEASE_SCRIPT = """#!/bin/sh
# Takes what DHCP says, as a distribution's own script would.
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
/sbin/ip address replace "$ip/$mask" dev eth0
[ -z "$mtu" ] || /sbin/ip link set eth0 mtu "$mtu"
set -- $staticroutes
if [ $# -eq 0 ]; then for hop in $router; do /sbin/ip route replace default via "$hop"; done; fi
while [ $# -ge 2 ]; do
  if [ "$2" = 0.0.0.0 ]; then /sbin/ip route replace "$1" dev eth0
  else /sbin/ip route replace "$1" via "$2" dev eth0 onlink; fi
  shift 2
done
printf '%s\\n' "$dns" > "/run/dns-$interface-$ip"
"""


class Station:
    """One namespace guest on a lab host."""

    def __init__(self, cloud: Cloud, host: str, port: Port) -> None:
        self.cloud = cloud
        self.host: LabHost = cloud.hosts[host]
        self.port = port.id
        self.mac = port.mac
        self.device = port.device_id
        self.namespace = f"st-{names.short(port.id)}"
        self.tap = names.tap(port.id)
        self.network = port.network_id
        self.ip = cloud.port_address(port.id)

    def plug(self) -> None:
        """The tap on its bridge and the guest's end of it in a namespace, without an address."""
        peer = f"sp-{names.short(self.port)}"
        for command in (
            ["ip", "netns", "add", self.namespace],
            ["ip", "link", "add", self.tap, "type", "veth", "peer", "name", peer, "address", self.mac],
            ["ip", "link", "set", peer, "netns", self.namespace],
            ["ip", "-n", self.namespace, "link", "set", peer, "name", "eth0"],
            ["ip", "-n", self.namespace, "link", "set", "lo", "up"],
            ["ip", "-n", self.namespace, "link", "set", "eth0", "up"],
            ["ip", "link", "set", self.tap, "mtu", "1450", "master", names.bridge(self.network)],
            ["ip", "link", "set", self.tap, "addrgenmode", "none", "up"],
        ):
            self.host.run(command)

    def lease(self) -> None:
        """An address, routes and MTU by DHCP. Raises LabError when nobody answers."""
        script = f"/run/{self.namespace}.sh"
        self.host.run(["tee", script], input=LEASE_SCRIPT)
        self.host.run(["chmod", "755", script])
        self.run(["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", script])

    def unplug(self) -> None:
        self.host.run(["ip", "netns", "delete", self.namespace], check=False)
        self.host.run(["ip", "link", "delete", self.tap], check=False)

    def enter(self, argv: Sequence[str]) -> list[str]:
        return self.host.enter(["ip", "netns", "exec", self.namespace, *argv])

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float = 30) -> str:
        return self.host.run(["ip", "netns", "exec", self.namespace, *argv], check=check, timeout=timeout).stdout

    def start(self, argv: Sequence[str], **more: Any) -> subprocess.Popen[str]:
        """A process in the station, its output piped; the caller ends it."""
        return subprocess.Popen(self.enter(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)

    def hears(self, address: str, *, size: int = 56, count: int = 1) -> bool:
        """Whether an address answers a ping, unfragmented."""
        flags = ["-M", "do", "-s", str(size), "-c", str(count), "-i", "0.2", "-W", "1"]
        return (
            self.host.run(
                ["ip", "netns", "exec", self.namespace, "ping", "-q", *flags, address], check=False
            ).returncode
            == 0
        )

    def talks(self, address: str, port: int) -> str:
        """What a TCP server says first; empty when there is no way to it within a second."""
        reply = self.host.run(
            ["ip", "netns", "exec", self.namespace, "timeout", "3", "busybox", "nc", "-w", "1", address, str(port)],
            check=False,
            input="",
        )
        return reply.stdout.strip()

    @contextmanager
    def serves(self, port: int, text: str) -> Iterator[None]:
        """A TCP server that greets everybody with `text`, and listens for as long as this lasts."""
        code = (
            "import socket,sys\n"
            "s=socket.create_server(('',int(sys.argv[1])))\n"
            "print('listening',flush=True)\n"
            "while True:\n"
            " c,_=s.accept(); c.sendall(sys.argv[2].encode()); c.close()\n"
        )
        with self.start(["python3", "-c", code, str(port), text]) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == "listening\n"
                yield
            finally:
                server.kill()

    def forget_neighbours(self) -> None:
        self.run(["ip", "neigh", "flush", "all"])


class Stations:
    """Makes stations and takes them away again."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.all: list[Station] = []

    def add(self, host: str, network: str, *, ctx: Any = None, lease: bool = True, **more: Any) -> Station:
        """A station on `host` with a port of its own on `network`; `more` goes to `ports.add`."""
        cloud = self.cloud
        who = ctx or cloud.ctx
        row = cloud.host(host)

        def make(session: Session) -> Port:
            port = ports.add(session, who, network=network, **more)
            port.device_id, port.device_owner = str(uuid4()), f"{GUEST}nova"
            session.flush()
            ports.bind(session, port.device_id, row.id)
            return port

        with cloud.store.write() as session:
            port = make(session)
        cloud.until_wired(port.id)
        station = Station(cloud, host, port)
        self.all.append(station)
        station.plug()
        if lease:
            station.lease()
        return station

    def move(self, station: Station, host: str) -> Station:
        """The same port, on another host."""
        self.all.remove(station)
        station.unplug()
        row = self.cloud.host(host)
        with self.cloud.store.write() as session:
            ports.bind(session, station.device, row.id)
        self.cloud.until_wired(station.port)
        with self.cloud.store.read() as session:
            moved = Station(self.cloud, host, session.get_one(Port, station.port))
        self.all.append(moved)
        moved.plug()
        moved.lease()
        return moved

    def clear(self) -> None:
        for station in self.all:
            station.unplug()
            with self.cloud.store.write() as session:
                ports.release(session, station.device)
                port = session.get(Port, station.port)
                if port is not None:
                    ports.delete(session, self.cloud.ctx, port.id)
        self.all.clear()


def counter(host: LabHost, link: str, name: str = "tx_packets") -> int:
    """A link's counter on a host."""
    links = json.loads(host.run(["ip", "-j", "-s", "link", "show", "dev", link]).stdout)
    direction, _, what = name.partition("_")
    return int(links[0]["stats64"][direction][what])
