"""`packet_tcp`, `packet_small`: what security groups cost on the path between two guests of a host.

Two namespaces on one bridge: bare, then with hostd's whole firewall for the two ports. TCP is bytes through one stream;
small packets are 64-byte UDP datagrams, and their cost the processor time of sender, kernel and receiver together.
"""

from __future__ import annotations

import resource
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from hostd.network import names, namespaces
from hostd.spec import NetworkingSpec
from tests.bench import networking
from tests.bench.common import record
from tests.e2e.sandbox import isolated

ROUNDS = 5
SECONDS = 1.0
DATAGRAMS = 60_000


def run() -> None:
    bare, guarded = [], []
    for _ in range(ROUNDS):
        with isolated():
            bare.append(_bare())
        with isolated(), tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            guarded.append(_guarded(Path(scratch)))
    for index, (name, unit) in enumerate((("packet_tcp", "Gbit/s"), ("packet_small", "µs"))):
        ours = statistics.median(one[index] for one in guarded)
        record(name, ours, unit, statistics.median(one[index] for one in bare), ROUNDS)


def _bare() -> tuple[float, float]:
    _sh("ip link add plain type bridge", "ip link set plain mtu 1450 up")
    for guest in (1, 2):
        _guest(
            guest, tap=f"tap{guest}", bridge="plain", address=f"10.0.0.1{guest - 1}/16", mac=f"fa:16:01:00:00:0{guest}"
        )
    return _measure("10.0.0.11")


def _guarded(scratch: Path) -> tuple[float, float]:
    networking.underlay()
    spec = networking.document(networks=1, ports=2, rules=networking.RULES)
    spec = networking.with_open_group(spec)
    with networking.Driver(scratch) as host:
        host.apply(spec)
        net = spec.networks[0]
        for guest, port in enumerate(spec.ports, start=1):
            _guest(
                guest, tap=names.tap(port.uuid), bridge=names.bridge(net.uuid), address=f"{port.addresses[0].ip}/16",
                mac=port.mac,
            )  # fmt: skip
        found = _measure(spec.ports[1].addresses[0].ip)
        host.apply(NetworkingSpec(uuid=networking.HOST))
        return found


def _guest(number: int, *, tap: str, bridge: str, address: str, mac: str) -> None:
    space = f"guest{number}"
    _sh(
        f"ip netns add {space}",
        f"ip link add {tap} type veth peer name eth0 netns {space} address {mac}",
        f"ip link set {tap} mtu 1450 master {bridge} up",
        f"ip -n {space} address add {address} dev eth0",
        f"ip -n {space} link set eth0 mtu 1450 up",
    )


def _measure(address: str) -> tuple[float, float]:
    """(Gbit/s of a TCP stream, µs of processor time a small datagram)."""
    with namespaces.inside("guest2"):
        listening = socket.create_server((address, 5001))
        hearing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        hearing.bind((address, 5002))
    with namespaces.inside("guest1"):
        stream = socket.create_connection((address, 5001), timeout=5)
        talking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other, _ = listening.accept()
    with listening, hearing, stream, talking, other:
        return _stream(stream, other), _datagrams(talking, hearing, address)


def _stream(sender: socket.socket, receiver: socket.socket) -> float:
    heard = 0

    def drain() -> None:
        nonlocal heard
        while data := receiver.recv(1 << 20):
            heard += len(data)

    thread = threading.Thread(target=drain)
    thread.start()
    block = bytes(1 << 18)
    begun = time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        sender.sendall(block)
    sender.shutdown(socket.SHUT_WR)
    thread.join()
    return heard * 8 / (time.perf_counter() - begun) / 1e9


def _datagrams(sender: socket.socket, receiver: socket.socket, address: str) -> float:
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    data = bytes(64)
    sender.connect((address, 5002))
    sender.send(data)
    receiver.recv(100)  # the way is known, its flow tracked
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(DATAGRAMS // 100):
        for _ in range(100):
            sender.send(data)
        for _ in range(100):
            receiver.recv(100)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return 1e6 * spent / DATAGRAMS


def _sh(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)
