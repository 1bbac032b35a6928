"""The host's figures out of /proc, and a guest's out of libvirt's numbers."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from hostd.metrics import Counting, guest_sample_of
from hostd.network.names import TAP_PREFIX
from hostd.spec.metrics import pack_guests, pack_host, unpack_guests, unpack_host
from tests.hostd.metrics.samples import ONE, SECOND, TWO, guest, host

NUMBERS = {
    "cpu.time": 5_000_000_000,
    "balloon.current": 131072,
    "balloon.maximum": 131072,
    "balloon.rss": 90000,
    "block.count": 2,
    "block.0.rd.bytes": 100,
    "block.0.rd.reqs": 1,
    "block.0.wr.bytes": 2000,
    "block.0.wr.reqs": 2,
    "block.1.rd.bytes": 11,
    "block.1.rd.reqs": 3,
    "block.1.wr.bytes": 7,
    "block.1.wr.reqs": 4,
    "net.count": 1,
    "net.0.rx.bytes": 50,
    "net.0.rx.pkts": 5,
    "net.0.tx.bytes": 60,
    "net.0.tx.pkts": 6,
}
AT = 1_700_000_000


def test_a_guests_numbers_are_summed_over_its_disks_and_interfaces() -> None:
    sample = guest_sample_of(ONE, NUMBERS, at_us=AT * SECOND, vcpus=2)
    assert sample == guest(
        at=AT,
        cpu_ns=5_000_000_000,
        vcpus=2,
        memory_used=90000 * 1024,
        memory_max=131072 * 1024,
        memory_guest=False,
        disk_read_bytes=111,
        disk_read_ops=4,
        disk_write_bytes=2007,
        disk_write_ops=6,
        net_rx_bytes=50,
        net_rx_packets=5,
        net_tx_bytes=60,
        net_tx_packets=6,
    )


def test_a_guests_own_word_on_its_memory_counts_while_it_is_fresh() -> None:
    told = NUMBERS | {"balloon.available": 120000, "balloon.unused": 70000, "balloon.last-update": AT - 10}
    for usable, used in (({}, 50000), ({"balloon.usable": 100000}, 20000), ({"balloon.usable": 130000}, 0)):
        sample = guest_sample_of(ONE, told | usable, at_us=AT * SECOND, vcpus=1)
        assert sample is not None
        assert (sample.memory_used, sample.memory_guest) == (used * 1024, True)
    late = guest_sample_of(ONE, told, at_us=(AT + 100) * SECOND, vcpus=1)
    assert late is not None
    assert (late.memory_used, late.memory_guest) == (90000 * 1024, False)


def test_numbers_that_libvirt_has_only_in_part_are_no_sample() -> None:
    busy = {key: value for key, value in NUMBERS.items() if not key.startswith("block.") or key == "block.count"}
    assert guest_sample_of(ONE, busy, at_us=AT * SECOND, vcpus=1) is None
    assert guest_sample_of(ONE, {}, at_us=AT * SECOND, vcpus=1) is None
    diskless = busy | {"block.count": 0}
    assert guest_sample_of(ONE, diskless, at_us=AT * SECOND, vcpus=1) is not None


def test_samples_cross_packed() -> None:
    guests = [guest(ONE, cpu_ns=1 << 60), guest(TWO, memory_guest=False, net_tx_packets=7)]
    assert unpack_guests(pack_guests(guests)) == guests
    hosts = [host(load1=1.25), attrs.evolve(host(), cpus=512)]
    assert unpack_host(pack_host(hosts)) == hosts
    assert unpack_guests("") == []


def test_the_hosts_figures(tmp_path: Path) -> None:
    proc, net = tmp_path / "proc", tmp_path / "net"
    (proc / "net").mkdir(parents=True)
    #                           user nice system idle iowait irq softirq steal guest guest_nice
    (proc / "stat").write_text("cpu  100 1 20 5000 300 2 3 40 60 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n")
    (proc / "loadavg").write_text("0.75 0.5 0.25 1/100 4711\n")
    lines = {"lo": (9, 9), "eth0": (1000, 2000), "eth1": (10, 20), f"{TAP_PREFIX}1": (5, 5), "br0": (1, 2)}
    (proc / "net/dev").write_text(
        "Inter-|\n face |\n" + "".join(f" {name}: {rx} 0 0 0 0 0 0 0 {tx} 0\n" for name, (rx, tx) in lines.items())
    )
    counting = Counting(disk=tmp_path, proc=proc, net=net)
    sample = counting.sample(AT * SECOND)
    assert sample.cpu_busy_ns == 126 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert (sample.memory_used, sample.memory_total) == (600 * 1024, 1000 * 1024)
    assert sample.load1 == 0.75
    assert 0 < sample.disk_used < sample.disk_total
    # Nothing is hardware here: all but loopback and guests' taps.
    assert (sample.net_rx_bytes, sample.net_tx_bytes) == (1011, 2022)
    for name in ("eth0", "eth1"):
        (net / name / "device").mkdir(parents=True)
    assert counting.sample(0).net_rx_bytes == 1010
    # And the real ones can be read.
    assert Counting(disk=tmp_path).sample(AT * SECOND).cpus == os.cpu_count()
