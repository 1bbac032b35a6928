"""Flows from the first key to the last on a real terminal, as far as they go without a host: launch, one that fails
and why, bulk stop, security rule, volume, floating IP, console. Those that need a guest are in tests/e2e."""

from __future__ import annotations

from typing import Any

import pytest

from core import cloud
from core import listing as lists
from core.config import Config
from core.lists import LISTINGS
from core.store import Store
from tests.tui.test_pty import Shown

Cloud = tuple[Config, Store]


@pytest.fixture
def shown(seeded: Cloud) -> Any:
    terminal = Shown(seeded[0].home)
    terminal.until("T:2 running")
    yield terminal
    terminal.child.send("\x11")
    terminal.child.expect(r"\x1b\[\?1049l")
    terminal.child.close()


def _rows(seeded: Cloud, kind: str, **where: str) -> list[dict[str, Any]]:
    config, store = seeded
    with store.read() as session:
        ctx = cloud.context(session, config, source="app")
        return lists.page(session, ctx, LISTINGS[kind], where=where)


def test_launch_in_two_keys_and_why_another_has_no_host(seeded: Cloud, shown: Shown) -> None:
    config, store = seeded
    from core.identity import quotas

    with store.write() as session:
        ctx = cloud.context(session, config, source="app")
        quotas.update(session, ctx, ctx.project_id, ctx.project_name, {"instances": 100, "cores": 400, "ram": -1})
    shown.child.send("n\x13")  # typed ahead: sent as soon as there is something to send
    shown.until("Instances(admin) 25")
    assert len(_rows(seeded, "instance")) == 25
    shown.child.send(":i /lb-03\r")
    shown.until(" 1/25")
    shown.child.send("W")
    shown.until("no valid host was found")
    shown.until("2 by ram, 1 by up")
    shown.child.send("q")


def test_many_are_stopped_by_one_answer(seeded: Cloud, shown: Shown) -> None:
    shown.child.send("/web\r")
    shown.until(" 4/24")
    shown.child.send("*S")  # typed ahead of the marks it is meant for: never about the cursor's object alone
    shown.until("marks:4")
    shown.settle()
    assert "Stop web-00?" not in "\n".join(shown.screen.display)
    if "[N] cancel" not in "\n".join(shown.screen.display):
        shown.child.send("S")
    shown.until("Stop 4 marked")
    shown.child.send("y")
    shown.until("stopping")
    shown.settle()
    # The administrator may stop the locked one too.
    assert sum(row["kind"] == "instance.stop" for row in _rows(seeded, "operation")) == 4


def test_a_rule_a_volume_and_a_floating_ip(seeded: Cloud, shown: Shown) -> None:
    shown.child.send(":sg /web\r")
    shown.until("Security groups(admin) 1/")
    shown.child.send("A\x13")
    shown.until("ssh allowed")
    shown.child.send(":vol /scratch\r")
    shown.until("Volumes(admin) 1/")
    shown.child.send("A")
    shown.until("Who has: scratch")
    shown.child.send("web-06")
    shown.until("1 of 16")
    shown.child.send("\r")
    shown.until("changing who has scratch")
    shown.child.send(":fip /203.0.113.3\r")
    shown.until("Floating IPs(admin) 1/")
    shown.child.send("F")
    shown.until("Where to put: 203.0.113.3")
    shown.child.send("web-06")
    shown.until("1 of 16")
    shown.child.send("\r")
    shown.until("changed 203.0.113.3")
    found = _rows(seeded, "security_group_rule", security_group="web", port_range_min="22")
    assert {rule["ethertype"] for rule in found} == {"IPv4", "IPv6"}
    assert _rows(seeded, "floating_ip", address="203.0.113.3")[0]["server"] == "web-06"
    [plug] = [row for row in _rows(seeded, "operation") if row["kind"] == "instance.attach_volume"]
    assert plug["state"] == "ready"


def test_a_console_without_an_engine_says_so_and_gives_the_terminal_back(seeded: Cloud, shown: Shown) -> None:
    shown.child.send("/web-00\r")
    shown.until(" 1/24")
    shown.child.send("o")
    shown.until("engine")
    shown.settle()
    shown.child.send("\x1d")  # Ctrl+] leaves, whatever it was waiting for
    shown.settle()
    shown.child.send("q")
    shown.until("Instances(admin)")
