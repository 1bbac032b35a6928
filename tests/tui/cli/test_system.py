"""The commands that reach beyond the store: the app, the engine, verify, enrolment; and what a terminal sees."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from core.config import Config
from core.context import Context
from core.hosts.enroll import Report, Row, Verdict
from core.operations import operations
from core.operations.operations import Operation, State
from core.store import Store
from core.verify import Violation
from tests.tui.cli.conftest import Cli

Start = Callable[[Callable[[Operation], dict[str, Any] | None]], None]


@pytest.mark.parametrize(
    ("arguments", "locator", "settings"),
    [
        ([], None, {}),
        ([":inst", "/web"], ":inst /web", {}),
        ([":inst /web"], ":inst /web", {}),
        (["--read-only", "--theme", "light", ":inst", "/web"], ":inst /web", {"read_only": True, "theme": "light"}),
        (["--ascii", "--theme=grey"], None, {"ascii_only": True, "theme": "grey"}),
    ],
)
def test_alone_or_with_a_locator_it_opens_the_app(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], locator: str | None, settings: dict[str, Any]
) -> None:
    from tui.__main__ import main

    opened: list[tuple[str | None, dict[str, Any]]] = []
    app = types.ModuleType("tui.app")
    app.run = lambda locator, **settings: opened.append((locator, settings))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tui.app", app)
    monkeypatch.setattr(sys, "argv", ["skydeck", *arguments])
    assert main() == 0
    assert opened == [(locator, settings)]


def test_serve_is_the_engine(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Path, bool]] = []
    monkeypatch.setattr("core.serve.run", lambda config, *, background: ran.append((config.home, background)))
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    cli.ok("serve")
    cli.ok("serve", "--background")
    assert ran == [(cli.home, False), (cli.home, True)]


def test_verify_tells_every_violation_and_fails(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Violation(invariant=4, title="host h1 is overcommitted", evidence="vcpus 9 of 8")]
    monkeypatch.setattr("core.verify.verify", lambda store, config: found)
    result = cli.run("verify", "-f", "json")
    assert result.exit_code == 1
    assert '"Invariant": 4' in result.stdout
    assert "host h1 is overcommitted" in cli.run("verify").stdout
    found.clear()
    result = cli.run("verify")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "everything holds\n")
    assert cli.json("verify") == []


@dataclasses.dataclass
class Enrolment:
    """What enrolment was asked for."""

    calls: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    answers: list[bool] = dataclasses.field(default_factory=list)

    def add(self, store: Store, config: Config, ctx: Context, **asked: Any) -> Report:
        asked.pop("tell")("reach: 192.0.2.9")
        self.answers.append(asked.pop("ask")("Host key SHA256:abc\nTrust it?"))
        self.calls.append(asked)
        rows = (Row("python3", "3.11.2"), Row("kvm", "absent", Verdict.WARN))
        return Report(host_id="11", name="h9", rows=rows, changed=("hostd",))

    def remove(self, store: Store, config: Config, ctx: Context, name: str, **asked: Any) -> Report:
        asked.pop("tell"), asked.pop("ask")
        self.calls.append({"name": name, **asked})
        return Report(host_id="11", name=name, rows=(), changed=())


@pytest.fixture
def enrolment(monkeypatch: pytest.MonkeyPatch) -> Enrolment:
    fake = Enrolment()
    monkeypatch.setattr("core.hosts.enroll.add", fake.add)
    monkeypatch.setattr("core.hosts.enroll.remove", fake.remove)
    return fake


def test_a_host_is_added_and_what_was_found_is_printed(cli: Cli, enrolment: Enrolment) -> None:
    result = cli.run("host", "add", "root@192.0.2.9", "--port", "2222", "--name", "h9", "--az", "west", "-f", "json")
    assert result.exit_code == 0
    assert '"Verdict": "warn"' in result.stdout
    assert result.stderr.splitlines() == [
        "reach: 192.0.2.9",
        "Host key SHA256:abc",
        "Trust it?",
        "host h9 (11): changed hostd",
    ]
    assert enrolment.answers == [False]  # without a terminal nobody agreed
    assert enrolment.calls == [
        {
            "address": "root@192.0.2.9",
            "port": 2222,
            "name": "h9",
            "zone": "west",
            "host_key": None,
            "identity": None,
            "assume_yes": False,
        }
    ]


def test_hosts_are_removed(cli: Cli, enrolment: Enrolment) -> None:
    cli.ok("host", "remove", "--yes", "--delete-data", "a", "b")
    assert [(call["name"], call["assume_yes"], call["keep_data"]) for call in enrolment.calls] == [
        ("a", True, False),
        ("b", True, False),
    ]


def test_an_engine_that_cannot_start_is_a_warning(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.errors import Unavailable

    def fail(config: Config, wait: bool = False) -> None:
        raise Unavailable("the engine did not start", hint="See the log.")

    monkeypatch.setattr("core.serve.ensure", fail)
    cli.host("h1")
    result = cli.run("host", "repair", "--networking", "h1")
    assert result.exit_code == 0
    assert "warning: accepted, but no engine works on it: the engine did not start" in result.stderr


def test_a_blocked_operation_ends_the_waiting(cli: Cli) -> None:
    cli.host("h1")
    cli.image()
    made = cli.json("server", "create", "--flavor", "m1.tiny", "--image", "cirros", "web")
    [row] = cli.json("operation", "list", "--server", made["id"])
    with cli.store.write() as session:
        operation = operations.claim(session, owner="test")
        assert operation is not None
        operations.finish(session, operation, State.BLOCKED, error={"title": "host h1 is down", "hint": "Wake it."})

    from tui.cli import wait
    from tui.cli.caller import Caller

    caller = Caller()
    [ended] = wait.watch(caller, [operation])
    assert ended.state == State.BLOCKED
    shown = cli.ok("operation", "show", row["ID"])
    assert "host h1 is down" in shown
    caller.close()


@pytest.fixture
def engine_lock(cli: Cli) -> Iterator[None]:
    """As if an engine ran: processes of this test start none."""
    cli.config.run_dir.mkdir(mode=0o700)
    lock = os.open(cli.config.run_dir / "serve.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield
    os.close(lock)


@pytest.mark.usefixtures("engine_lock")
def test_a_terminal_sees_a_bar_and_a_table_that_fits(cli: Cli, engine: Start) -> None:
    cli.host("h1")
    cli.image()
    engine(lambda operation: None)
    command = ["-m", "tui", "server", "create", "--flavor", "m1.tiny", "--image", "cirros", "--wait", "web"]
    # A parallel test run tells its workers a width; the terminal's own is what counts here.
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    terminal = pexpect.spawn(
        sys.executable,
        command,
        env=environment | {"SKYDECK_HOME": str(cli.home), "TERM": "xterm", "NO_COLOR": "1"},
        dimensions=(40, 60),
        encoding="utf-8",
    )
    terminal.expect_exact("web: create")
    terminal.expect("100%|succeeded")
    terminal.expect(pexpect.EOF)
    assert terminal.before is not None
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.before)
    table = [line for line in plain.splitlines() if line.startswith(("|", "+"))]
    assert table
    assert max(len(line) for line in table) <= 60, table
    terminal.close()
    assert terminal.exitstatus == 0
