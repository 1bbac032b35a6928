"""A cloud of its own for each test, and the command line run against it: in this process, or as a real one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from core import cloud
from core.config import Config, load
from core.hosts import hosts
from core.images import images
from core.operations import operations
from core.operations.operations import Operation, State
from core.store import Store

DIGEST = "ab" * 32


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new cloud's database, made once: migrations take longer than most tests."""
    home = tmp_path_factory.mktemp("fresh")
    cloud.open_store(load({"SKYDECK_HOME": str(home)})).close()
    return home / "skydeck.db"


@dataclasses.dataclass
class Cli:
    """The command line at one cloud."""

    home: Path
    config: Config
    store: Store
    engines_asked: list[Config] = dataclasses.field(default_factory=list)

    def run(self, *arguments: str, input: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
        from tui.cli.root import app

        result = CliRunner().invoke(app, list(arguments), input=input, env=env, catch_exceptions=False)
        assert "Traceback" not in result.stderr
        return result

    def ok(self, *arguments: str, input: str | bytes | None = None) -> str:
        """The output of a command that must succeed."""
        result = self.run(*arguments, input=input)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "-f", "json"))

    def refused(self, status: int, *arguments: str) -> str:
        """What a command says that must fail with this exit status."""
        result = self.run(*arguments)
        assert result.exit_code == status, (result.exit_code, result.stdout, result.stderr)
        return result.stderr

    def process(self, *arguments: str, input: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        """The same as a real process."""
        return subprocess.run(
            [sys.executable, "-m", "tui", *arguments],
            input=input,
            capture_output=True,
            env={**os.environ, "SKYDECK_HOME": str(self.home), **env},
            timeout=60,
            check=False,
        )

    def host(self, name: str, *, vcpus: int = 4, ram_mb: int = 8192, disk_gb: int = 100, zone: str = "nova") -> str:
        """A host that is up."""
        with self.store.write() as session:
            ctx = cloud.context(session, self.config, source="cli")
            host = hosts.enroll(
                session, ctx, self.config, id=self.store.clock.uuid(), name=name, address="192.0.2.1", port=22,
                ssh_user="root", host_key="", socket="", availability_zone=zone,
            )  # fmt: skip
            host.state, host.state_reason = "up", ""
            host.vcpus, host.ram_mb, host.disk_gb = vcpus, ram_mb, disk_gb
            host.refresh_caps()
            return host.id

    def image(self, name: str = "cirros", *, size: int = 1 << 20, digest: str = DIGEST) -> str:
        """An active image; its bytes are nowhere."""
        with self.store.write() as session:
            ctx = cloud.context(session, self.config, source="cli")
            image = images.create(session, ctx, name=name, disk_format="qcow2")
            images.begin(session, ctx, image.id)
            images.activate(session, ctx, image.id, digest=digest, size=size, virtual_size=size)
            return image.id

    def set_instance(self, name: str, **values: Any) -> None:
        """What an engine would have written."""
        from core.compute.instances import verbs

        with self.store.write() as session:
            ctx = cloud.context(session, self.config, source="cli")
            instance = verbs.find(session, ctx, name)
            for key, value in values.items():
                setattr(instance, key, value)

    def active(self, name: str) -> None:
        self.set_instance(name, vm_state="active", task_state=None, power_state=1, launched_at=1)
        with self.store.write() as session:
            while (operation := operations.claim(session, owner="test")) is not None:
                operations.finish(session, operation, State.SUCCEEDED)


@pytest.fixture
def cli(tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(fresh_database, home / "skydeck.db")
    monkeypatch.setenv("SKYDECK_HOME", str(home))
    for variable in ("SKYDECK_PROJECT", "SKYDECK_DATABASE_URL", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    config = load()
    store = cloud.open_store(config)
    made = Cli(home, config, store)
    monkeypatch.setattr("core.serve.ensure", lambda config, wait=False: made.engines_asked.append(config))
    yield made
    store.close()


@pytest.fixture
def engine(cli: Cli) -> Iterator[Callable[[Callable[[Operation], dict[str, Any] | None]], None]]:
    """Starts a thread that ends every operation: the judge answers None for success, or the error."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def work(judge: Callable[[Operation], dict[str, Any] | None]) -> None:
        while not stop.wait(0.02):
            with cli.store.write() as session:
                operation = operations.claim(session, owner="test")
                if operation is not None:
                    operations.write(session, operation, step="spawn", progress=40)
            if operation is None:
                continue
            error = judge(operation)
            with cli.store.write() as session:
                operations.finish(session, operation, State.FAILED if error else State.SUCCEEDED, error=error)

    def start(judge: Callable[[Operation], dict[str, Any] | None]) -> None:
        thread = threading.Thread(target=work, args=(judge,))
        threads.append(thread)
        thread.start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()
