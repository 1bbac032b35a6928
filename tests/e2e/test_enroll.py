"""A machine becomes a host, is repaired by a second run whatever was broken, and leaves with nothing of ours on it."""

from __future__ import annotations

import functools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import cloud
from core.config import Config
from core.context import Context
from core.errors import Conflict, Refused, Unavailable
from core.hosts.enroll import Report, Verdict, add, install, remove
from core.hosts.hosts import Host
from core.sql import select
from core.store import Store
from tests.lab.hosts import Lab, LabHost

pytestmark = pytest.mark.e2e

PROGRAM = "usr/local/lib/skydeck/hostd"

SYSTEMCTL = """\
#!/bin/sh
# A service manager of one unit, for machines whose PID 1 is none.
unit=/etc/systemd/system/skydeck-hostd.service
alive() { [ -e /run/unit.pid ] && kill -0 "$(cat /run/unit.pid)" 2>/dev/null; }
start() {
    alive && return
    setsid $(sed -n 's/^ExecStart=//p' $unit) </dev/null >/dev/null 2>&1 &
    echo $! >/run/unit.pid
}
stop() { alive && kill "$(cat /run/unit.pid)"; while alive; do sleep 0.05; done; rm -f /run/unit.pid; }
case "$*" in
    daemon-reload) ;;
    "is-active --quiet skydeck-hostd.service") alive ;;
    "is-enabled --quiet skydeck-hostd.service") [ -e /run/enabled ] ;;
    "enable --quiet skydeck-hostd.service") touch /run/enabled ;;
    "disable --now skydeck-hostd.service") rm /run/enabled; stop ;;
    "start skydeck-hostd.service") start ;;
    "restart skydeck-hostd.service") stop; start ;;
    "cat skydeck-hostd.service") cat $unit ;;
    *) echo "systemctl $*?" >&2; exit 2 ;;
esac
"""


class Operator:
    """A person with a cloud of their own, at the lab's gateway."""

    def __init__(self, home: Path, lab: Lab) -> None:
        self.config = Config(home=home, database_url=f"sqlite:///{home / 'skydeck.db'}")
        self.store: Store = cloud.open_store(self.config)
        self.identity = lab.ssh_key
        self.asked: list[str] = []
        with self.store.read() as session:
            self.cloud = cloud.identity(session)
            self.ctx: Context = cloud.context(session, self.config, source="cli")

    def add(self, host: LabHost, *, host_key: str | None = None, name: str | None = None) -> Report:
        return add(
            self.store, self.config, self.ctx, address=f"root@{host.address}", name=name, host_key=host_key,
            identity=self.identity, ask=self._no, tell=print,
        )  # fmt: skip

    def remove(self, host: LabHost, *, keep_data: bool = True, assume_yes: bool = False) -> Report:
        return remove(
            self.store, self.config, self.ctx, host.name, identity=self.identity, keep_data=keep_data,
            assume_yes=assume_yes, ask=self._no, tell=print,
        )  # fmt: skip

    def hosts(self) -> list[Host]:
        with self.store.read() as session:
            return list(session.execute(select(Host)).scalars())

    def _no(self, question: str) -> bool:
        self.asked.append(question)
        return False


@pytest.fixture
def machine(lab: Lab) -> Iterator[LabHost]:
    """A machine without hostd, which no other test uses."""
    (host,) = lab.up(["enroll"])
    host.heal()
    yield host
    host.kill_power()
    # From outside: only what is the host's own can be met there.
    for place in ("var/lib/skydeck", "usr/local/lib/skydeck"):
        shutil.rmtree(host.root / place, ignore_errors=True)
    (host.root / "var/lib/skydeck").mkdir()
    (host.root / "usr/local/bin/hostd").unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def _one_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """hostd's source may be edited while these tests run; the installation under test does not change."""
    monkeypatch.setattr(install, "bundle", functools.cache(install.bundle))


@pytest.fixture
def operator(lab: Lab, tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path / "home", lab)
    yield operator
    operator.store.close()


def hostd_pid(host: LabHost) -> int:
    return int(host.run(["cat", "/run/skydeck/hostd.pid"]).stdout)


def authorized_keys(host: LabHost) -> str:
    return (host.root / "root/.ssh/authorized_keys").read_text()


def test_a_machine_is_enrolled_repaired_and_removed(machine: LabHost, operator: Operator) -> None:
    mine = authorized_keys(machine)
    report = operator.add(machine, host_key=machine.fingerprint)
    assert set(report.changed) == {"hostd", "hostd command", "key", "daemon"}
    assert not [row for row in report.rows if row.verdict in (Verdict.FAIL, Verdict.MISSING)]
    (host,) = operator.hosts()
    assert (host.id, host.name, host.host_key) == (report.host_id, "enroll", machine.host_key)
    assert host.vcpus > 0
    assert host.ram_mb_cap > 0
    assert host.accel
    assert {"kernel", "libvirt", "qemu"} <= host.versions.keys()
    assert not operator.asked

    # All is so already: the pinned key is enough, and nothing is touched.
    pid = hostd_pid(machine)
    assert operator.add(machine).changed == ()
    assert hostd_pid(machine) == pid

    # A killed daemon comes back.
    machine.run(["kill", f"-{signal.SIGKILL}", str(pid)])
    assert operator.add(machine).changed == ("daemon",)

    # A damaged program is replaced, and the daemon runs the sound one.
    pid = hostd_pid(machine)
    journal = (machine.root / "var/lib/skydeck/host.uuid").read_text()
    with (machine.root / PROGRAM).open("ab") as file:
        file.write(b"rot")
    assert set(operator.add(machine).changed) == {"hostd", "daemon"}
    assert hostd_pid(machine) != pid
    assert (machine.root / "var/lib/skydeck/host.uuid").read_text() == journal

    # A key that was taken away, or may be read by others, is put right.
    (machine.root / "root/.ssh/authorized_keys").write_text(mine)
    assert operator.add(machine).changed == ("key",)
    (machine.root / "root/.ssh/authorized_keys").chmod(0o644)
    assert operator.add(machine).changed == ("key",)
    assert (machine.root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert authorized_keys(machine).count(operator.cloud) == 1

    (again,) = operator.hosts()
    assert again.id == host.id

    report = operator.remove(machine)
    assert {"daemon", "hostd", "key", "journal"} <= set(report.changed)
    assert authorized_keys(machine) == mine
    assert (
        machine.run(["sh", "-c", "ls /run/skydeck /usr/local/lib/skydeck /usr/local/bin/hostd"], check=False).stdout
        == ""
    )
    assert (machine.root / "var/lib/skydeck/host.uuid").exists()
    assert operator.hosts() == []


def test_under_systemd_the_unit_keeps_hostd(machine: LabHost, operator: Operator) -> None:
    systemctl = machine.root / "usr/local/bin/systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    unit = machine.root / "etc/systemd/system/skydeck-hostd.service"
    machine.run(["mkdir", "-p", "/run/systemd/system"])

    assert {"unit", "daemon"} <= set(operator.add(machine, host_key=machine.host_key).changed)
    assert str(hostd_pid(machine)) == machine.run(["cat", "/run/unit.pid"]).stdout.strip()
    assert operator.add(machine).changed == ()
    machine.run(["rm", "/run/enabled"])
    assert operator.add(machine).changed == ("daemon",)
    machine.run(["kill", f"-{signal.SIGKILL}", str(hostd_pid(machine))])
    assert operator.add(machine).changed == ("daemon",)
    unit.write_text("[Service]\nExecStart=/bin/false\n")
    assert operator.add(machine).changed == ("unit", "daemon")
    assert "KillMode=process" in unit.read_text()

    operator.remove(machine)
    assert not unit.exists()
    assert machine.run(["sh", "-c", "ls /run/enabled /run/unit.pid"], check=False).stdout == ""
    systemctl.unlink()
    machine.run(["rm", "-r", "/run/systemd"])


def test_the_wrong_machine_is_not_touched(machine: LabHost, operator: Operator, tmp_path: Path) -> None:
    wrong = "SHA256:" + "A" * 43
    with pytest.raises(Conflict, match="--host-key says SHA256:AAAA"):
        operator.add(machine, host_key=wrong)
    with pytest.raises(Refused, match="was not accepted"):
        operator.add(machine)
    assert machine.fingerprint in operator.asked[0]
    assert not (machine.root / PROGRAM).exists()
    assert operator.hosts() == []


def test_a_host_of_one_cloud_joins_another_only_after_it_left(
    machine: LabHost, operator: Operator, lab: Lab, tmp_path: Path
) -> None:
    operator.add(machine, host_key=machine.host_key)
    other = Operator(tmp_path / "other", lab)
    with pytest.raises(Conflict, match=f"belongs to another cloud \\({operator.cloud}\\)"):
        other.add(machine, host_key=machine.host_key)
    assert other.cloud not in authorized_keys(machine)
    operator.remove(machine, keep_data=False)
    assert not (machine.root / "var/lib/skydeck/host.uuid").exists()
    assert other.add(machine, host_key=machine.host_key).name == "enroll"
    other.store.close()


def test_a_host_that_is_gone_can_be_forgotten(machine: LabHost, operator: Operator) -> None:
    operator.add(machine, host_key=machine.host_key)
    machine.kill_power()
    with pytest.raises(Unavailable, match="port 22"):
        operator.remove(machine)
    assert "Forget host enroll all the same?" in operator.asked[-1]
    (host,) = operator.hosts()
    assert not host.enabled
    report = operator.remove(machine, assume_yes=True)
    assert [row.verdict for row in report.rows] == [Verdict.WARN]
    assert operator.hosts() == []
    machine.start()
