"""`server metrics` and `host metrics`: tables over time, from what was collected."""

from __future__ import annotations

import time

from core.metrics import files
from core.metrics.rates import Rate
from tests.tui.cli.conftest import Cli

SECOND = 1_000_000


def fill(cli: Cli, id: str, *, minutes: int, host: bool = False, memory_guest: bool = True) -> None:
    """A rate each ten seconds, until now: cpu grows from 0 to 50."""
    writer, now = files.Writer(cli.config), int(time.time()) // 10 * 10
    steps = minutes * 6
    for step in range(steps):
        rate = Rate(
            at=(now - 10 * (steps - 1 - step)) * SECOND,
            cpu=50 * step / steps,
            memory_used=1 << 30,
            memory_max=4 << 30,
            memory_guest=memory_guest,
            disk_write=1536.0,
            disk_used=10 << 30,
            disk_total=40 << 30,
            net_rx=100.0,
            net_tx=0.0,
        )
        writer.write(id, rate, host=host)


def test_what_a_server_and_a_host_used(cli: Cli) -> None:
    host = cli.host("kvm01")
    cli.ok("server", "create", "--image", cli.image(), "--flavor", "m1.tiny", "web")
    id = cli.json("server", "show", "web")["id"]

    nothing = cli.run("server", "metrics", "web")
    assert (nothing.exit_code, nothing.stdout.count("\n")) == (0, 4)
    assert "nothing is known of the last 10m" in nothing.stderr

    fill(cli, id, minutes=60, memory_guest=False)
    table = cli.run("server", "metrics", "web")
    assert 59 <= len(table.stdout.splitlines()) - 4 <= 60
    assert "1.5 KiB/s" in table.stdout
    assert "the guest does not say" in table.stderr
    hour = cli.json("server", "metrics", "web", "--span", "1h")
    assert len(hour) == 60
    assert hour[-1] == {
        "Time": hour[-1]["Time"],
        "CPU %": hour[-1]["CPU %"],
        "Memory %": 25.0,
        "Memory Used": 1 << 30,
        "Disk Read": 0,
        "Disk Write": 1536,
        "Network In": 100,
        "Network Out": 0,
    }
    assert 48 < hour[-1]["CPU %"] < 50
    assert cli.ok("server", "metrics", "web", "--span", "24h", "-f", "value", "-c", "Seen By").split() == ["host"] * 60

    fill(cli, host, minutes=10, host=True)
    last = cli.json("host", "metrics", "kvm01")[-1]
    assert (last["Disk Used"], last["Disk"]) == (10 << 30, 40 << 30)
    assert cli.run("server", "metrics", "nobody").exit_code == 3
    assert cli.run("host", "metrics", "--span", "5m", "kvm01").exit_code == 2
