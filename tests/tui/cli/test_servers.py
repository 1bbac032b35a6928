"""Servers from the command line: accepted, refused with the reason, waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.operations.operations import Operation
from tests.tui.cli.conftest import Cli

Start = Callable[[Callable[[Operation], dict[str, Any] | None]], None]


@pytest.fixture
def ready(cli: Cli) -> Cli:
    """A cloud with one host and one image."""
    cli.host("h1", vcpus=4, ram_mb=4096)
    cli.image()
    return cli


def create(cli: Cli, name: str, *more: str) -> Any:
    return cli.json("server", "create", "--flavor", "m1.tiny", "--image", "cirros", *more, name)


def test_a_server_is_printed_as_it_was_accepted(ready: Cli) -> None:
    made = create(ready, "web", "--property", "role=front")
    assert made["name"] == "web"
    assert made["status"] == "BUILD"
    assert made["OS-EXT-STS:task_state"] == "scheduling"
    assert made["OS-EXT-SRV-ATTR:host"] == "h1"
    assert made["addresses"] == {"default": ["10.0.0.3"]}
    assert made["properties"] == {"role": "front"}
    assert made["flavor"] == "m1.tiny (1)"
    assert made["created"].endswith("Z")
    assert ready.engines_asked == [ready.config]
    [listed] = ready.json("server", "list")
    assert listed == {
        "ID": made["id"],
        "Name": "web",
        "Status": "BUILD",
        "Networks": {"default": ["10.0.0.3"]},
        "Image": "cirros",
        "Flavor": "m1.tiny",
    }
    assert "default=10.0.0.3" in ready.ok("server", "list")
    assert ready.json("server", "list", "--status", "ACTIVE") == []
    assert ready.json("server", "list", "--host", "h1", "--long")[0]["Host"] == "h1"
    assert [row["Object"] for row in ready.json("operation", "list", "--server", "web")] == ["web"]


def test_everything_a_create_may_be_given(ready: Cli, tmp_path: Path) -> None:
    ready.ok("network", "create", "back")
    ready.ok("subnet", "create", "--network", "back", "--subnet-range", "10.7.0.0/24", "back")
    (tmp_path / "init").write_text("#cloud-config\n")
    made = create(
        ready, "db", "--network", "back", "--fixed-ip", "10.7.0.50", "--user-data", str(tmp_path / "init"),
        "--config-drive", "--file", f"/etc/motd={tmp_path / 'init'}", "--availability-zone", "nova:h1",
    )  # fmt: skip
    assert made["addresses"] == {"back": ["10.7.0.50"]}
    assert made["config_drive"] is True
    assert create(ready, "apart", "--no-network")["addresses"] == {}
    assert create(ready, "near", "--hint", "same_host=db", "--network", "none")["addresses"] == {}
    assert "contradict" in ready.refused(2, "server", "create", "--flavor", "1", "--no-network", "--network", "a", "x")
    assert "cannot be read" in ready.refused(2, "server", "create", "--flavor", "1", "--user-data", "/nope", "x")
    assert "an image is needed" in ready.refused(2, "server", "create", "--flavor", "1", "x")


def test_several_are_printed_as_a_list(ready: Cli) -> None:
    made = create(ready, "web", "--min", "2", "--max", "3")
    assert [row["Name"] for row in made] == ["web-1", "web-2", "web-3"]
    assert len(ready.json("server", "list", "--limit", "2")) == 2


def test_fewer_than_asked_for_is_said(ready: Cli) -> None:
    result = ready.run("server", "create", "--flavor", "m1.tiny", "--image", "cirros", "--min", "1", "--max", "9", "n")
    assert result.exit_code == 0
    assert "7 of 9 were made: there was room for no more" in result.stderr


def test_a_refused_create_prints_the_funnel_and_keeps_it(ready: Cli) -> None:
    ready.host("h2", zone="west")
    said = ready.refused(7, "server", "create", "--flavor", "m1.xlarge", "--image", "cirros", "big")
    lines = said.splitlines()
    assert lines[0] == "error: no valid host was found: 2 hosts, filtered: 2 by ram"
    assert lines[1].startswith("hint: ")
    table = [line.split(maxsplit=2) for line in lines if line.startswith("  ")]
    assert table[0] == ["host", "filter", "why"]
    assert {row[0] for row in table[1:]} == {"h1", "h2"}
    assert any("needs 16384 MiB" in row[2] for row in table[1:])
    shown = lines[-1].rpartition(" ")[2]
    kept = ready.json("operation", "show", shown)
    assert kept["state"] == "failed"
    assert set(kept["funnel"]["rejected"]) == {"h1", "h2"}
    assert "needs 16384 MiB" in ready.ok("operation", "show", shown)


def test_without_any_host_the_hint_is_to_add_one(cli: Cli) -> None:
    cli.image()
    said = cli.refused(7, "server", "create", "--flavor", "m1.tiny", "--image", "cirros", "x")
    assert "hint: Add one: skydeck host add ADDRESS." in said


def test_the_quota_refuses(ready: Cli) -> None:
    ready.ok("quota", "set", "admin", "--instances", "1")
    create(ready, "one")
    said = ready.refused(6, "server", "create", "--flavor", "m1.tiny", "--image", "cirros", "two")
    assert "quota exceeded for instances" in said


def test_verbs_obey_their_guards(ready: Cli) -> None:
    create(ready, "web")
    assert "never been launched" in ready.refused(5, "server", "stop", "web")
    ready.active("web")
    result = ready.run("server", "stop", "web")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("server web: stop accepted, operation ")
    assert "it must be SHUTOFF" in ready.refused(5, "server", "start", "web")
    assert "busy: powering-off" in ready.refused(5, "server", "stop", "web")
    ready.active("web")
    for verb in (["reboot"], ["reboot", "--hard"], ["pause"], ["suspend"]):
        ready.ok("server", *verb, "web")
        ready.active("web")
    kinds = {row["Kind"] for row in ready.json("operation", "list")}
    assert {"instance.reboot_soft", "instance.reboot_hard", "instance.pause", "instance.suspend"} <= kinds


def test_locks_names_and_properties(ready: Cli) -> None:
    create(ready, "web")
    ready.active("web")
    ready.ok("server", "lock", "--reason", "do not touch", "web")
    assert ready.json("server", "show", "web")["locked_reason"] == "do not touch"
    ready.ok("server", "unlock", "web")
    ready.ok("server", "set", "--name", "www", "--property", "a=b", "--property", "c=d", "web")
    ready.ok("server", "unset", "--property", "a", "www")
    assert ready.json("server", "show", "www")["properties"] == {"c": "d"}
    assert "nothing to set" in ready.refused(2, "server", "set", "www")
    actions = [row["Action"] for row in ready.json("server", "event", "list", "www")]
    assert actions == ["metadata", "rename", "metadata", "unlock", "lock", "create"]
    assert len(ready.json("server", "event", "list", "www", "--limit", "2", "--long")) == 2


def test_many_are_deleted_at_once_and_what_fails_is_named(ready: Cli) -> None:
    create(ready, "web", "--min", "2")
    result = ready.run("server", "delete", "web-1", "nope", "web-2")
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert lines[0].startswith("server web-1: delete accepted")
    assert lines[1] == "error: nope: no server 'nope'"
    assert lines[3].startswith("server web-2: delete accepted")


def test_waiting_ends_with_the_operations(ready: Cli, engine: Start) -> None:
    engine(lambda operation: None)
    result = ready.run("server", "create", "--flavor", "m1.tiny", "--image", "cirros", "--min", "2", "--wait", "web")
    assert result.exit_code == 0
    said = result.stderr.splitlines()
    assert "web-1: create: succeeded spawn (100%)" in said
    assert "web-2: create: succeeded spawn (100%)" in said
    ready.ok("server", "delete", "--wait", "web-1", "web-2")


def test_waiting_for_a_failure_ends_with_its_error(ready: Cli, engine: Start) -> None:
    engine(lambda operation: {"type": "HostFailed", "title": "QEMU said no", "hint": "Look at the host."})
    result = ready.run("server", "create", "--flavor", "m1.tiny", "--image", "cirros", "--wait", "-f", "json", "web")
    assert result.exit_code == 9
    assert '"name": "web"' in result.stdout
    assert result.stderr.endswith("error: web: create failed: QEMU said no\nhint: Look at the host.\n")
    [row] = ready.json("operation", "list", "--state", "failed")
    shown = ready.ok("operation", "show", row["ID"][:8])
    for word in ("QEMU said no", "Look at the host.", "spawn", "images: waiting"):
        assert word in shown


def test_an_interrupted_wait_leaves_the_operation_alone(ready: Cli) -> None:
    create(ready, "web")
    ready.active("web")
    program = (
        # A suite that runs in the background of a shell ignores SIGINT, and what it starts inherits that.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import core.serve, sys; core.serve.ensure = lambda config, wait=False: None\n"
        "from tui.__main__ import main; sys.exit(main())"
    )
    waiting = subprocess.Popen(
        [sys.executable, "-c", program, "server", "stop", "--wait", "web"],
        stderr=subprocess.PIPE,
        env=os.environ | {"SKYDECK_HOME": str(ready.home)},
    )
    assert waiting.stderr is not None
    with waiting:
        assert waiting.stderr.readline().startswith(b"server web: stop accepted")
        assert waiting.stderr.readline() == b"web: stop: ready (0%)\n"
        waiting.send_signal(signal.SIGINT)
        assert waiting.stderr.read().startswith(b"web: stop goes on: skydeck operation show ")
    assert waiting.returncode == 130
    [operation] = ready.json("operation", "list", "--state", "ready")
    assert operation["Kind"] == "instance.stop"


def test_operations_are_cancelled_and_retried(ready: Cli) -> None:
    create(ready, "web")
    [operation] = ready.json("operation", "list")
    ready.ok("operation", "cancel", operation["ID"])
    assert ready.json("operation", "show", operation["ID"])["cancel_asked"] is True
    ready.ok("operation", "retry", operation["ID"][:8])
    ready.active("web")
    assert "has succeeded already" in ready.refused(5, "operation", "cancel", operation["ID"])
    assert "no single operation" in ready.refused(3, "operation", "show", "nope")
