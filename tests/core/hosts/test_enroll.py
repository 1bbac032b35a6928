"""Enrolment's decisions and messages: what a host must have, what is asked, what is said when a step fails."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest

from core import cloud
from core.context import Context
from core.errors import Conflict, Failed, HostFailed, Invalid, Refused, SkydeckError, Unavailable, Unknown
from core.hosts.enroll import Layout, Report, Verdict, add, enrolling, install, keys, remove
from core.hosts.enroll.look import SCRIPT, Facts, become_root, parse
from core.hosts.enroll.needs import STORAGE, TOOLS, judge
from core.hosts.enroll.prove import Proof
from core.hosts.enroll.target import COMMAND_TIMEOUT, LocalTarget, Lost, Result
from core.hosts.hosts import Claim, Host
from core.sql import select
from hostd.spec import PROTOCOL, Accel, Capacity, HelloReply, Observation
from tests.core.world import World

CLOUD = "0f8e5f7e-0000-4000-8000-000000000001"
HOST = "0f8e5f7e-0000-4000-8000-000000000002"
NOW = 1_700_000_000.0

GOOD = Facts(
    arch="x86_64",
    kernel="6.1.0",
    hostname="node1",
    distribution="debian",
    release="Debian GNU/Linux 12",
    packager="apt-get",
    init="other",
    machine_id="00112233445566778899aabbccddeeff",
    clock=str(int(NOW)),
    python="3.11.2",
    libvirt_module="yes",
    nbd_module="yes",
    libvirt="9.0.0",
    libvirtd="/usr/sbin/libvirtd",
    qemu="7.2.22",
    tools={tool: f"/usr/bin/{tool}" for tool in [*TOOLS, "mkfs.ntfs"]},
    netns="yes",
    bridge="yes",
    veth="yes",
    vxlan="yes",
    tun="yes",
    nf_tables="yes",
    kvm="yes",
    free_kib=str(50 << 20),
    authorized_keys_file=".ssh/authorized_keys .ssh/authorized_keys2",
    permit_root_login="without-password",
    pubkey_authentication="yes",
)


def without(facts: Facts, *tools: str) -> Facts:
    return attrs.evolve(facts, tools={tool: path for tool, path in facts.tools.items() if tool not in tools})


# ---------------------------------------------------------------------------- what a host must have


def test_a_good_host_passes_every_check() -> None:
    rows = judge(GOOD, now=NOW, over_ssh=True)
    assert {row.verdict for row in rows} == {Verdict.OK}


@pytest.mark.parametrize(
    ("facts", "check", "verdict", "says"),
    [
        (attrs.evolve(GOOD, arch="riscv64"), "architecture", Verdict.FAIL, "riscv64, and guests run on x86_64"),
        (attrs.evolve(GOOD, python="3.9.2"), "python3", Verdict.FAIL, "is 3.9.2, and hostd needs 3.11 or newer"),
        (attrs.evolve(GOOD, python="Illegal instruction"), "python3", Verdict.FAIL, "does not run: Illegal"),
        (attrs.evolve(GOOD, libvirt=""), "libvirt", Verdict.OK, "not running: will be started"),
        (attrs.evolve(GOOD, bridge="no", tun="no"), "kernel", Verdict.FAIL, "modprobe -a bridge tun"),
        (attrs.evolve(GOOD, netns="no"), "kernel", Verdict.FAIL, "no netns"),
        (attrs.evolve(GOOD, vxlan="no"), "vxlan", Verdict.WARN, "networks cannot span hosts"),
        (attrs.evolve(GOOD, kvm="no"), "/dev/kvm", Verdict.WARN, "emulated (TCG)"),
        (attrs.evolve(GOOD, free_kib="524288"), "disk", Verdict.FAIL, "0.5 GiB free for guests"),
        (attrs.evolve(GOOD, machine_id=""), "machine-id", Verdict.WARN, "systemd-machine-id-setup"),
        (attrs.evolve(GOOD, clock=str(int(NOW) - 90)), "clock", Verdict.WARN, "90 s behind"),
        (attrs.evolve(GOOD, clock=str(int(NOW) + 45)), "clock", Verdict.WARN, "45 s ahead"),
        (attrs.evolve(GOOD, permit_root_login="no"), "sshd", Verdict.FAIL, "forced-commands-only is enough"),
        (attrs.evolve(GOOD, pubkey_authentication="no"), "sshd", Verdict.FAIL, "PubkeyAuthentication no"),
        (attrs.evolve(GOOD, permit_root_login=""), "sshd", Verdict.OK, "did not tell"),
    ],
)
def test_each_lack_is_named_with_its_remedy(facts: Facts, check: str, verdict: Verdict, says: str) -> None:
    row = next(row for row in judge(facts, now=NOW, over_ssh=True) if row.check == check)
    assert row.verdict is verdict
    assert says in row.found


BARE = attrs.evolve(
    GOOD, python="", libvirt_module="", nbd_module="", libvirt="", libvirtd="", qemu="", tools={}, bridge=""
)


@pytest.mark.parametrize(
    ("facts", "packages"),
    [
        (
            BARE,
            "python3 python3-libvirt libvirt-daemon-system qemu-system-x86 qemu-utils e2fsprogs dosfstools util-linux "
            "ntfs-3g python3-libnbd dnsmasq-base nftables iproute2",
        ),
        (
            attrs.evolve(BARE, packager="dnf", arch="aarch64"),
            "python3 python3-libvirt libvirt-daemon-kvm qemu-kvm qemu-img e2fsprogs dosfstools util-linux "
            "util-linux-core python3-libnbd dnsmasq nftables iproute",
        ),
        (attrs.evolve(GOOD, arch="aarch64", qemu=""), "qemu-system-arm"),
        (without(GOOD, "nft"), "nftables"),
    ],
)
def test_what_is_missing_is_named_as_the_distribution_names_it(facts: Facts, packages: str) -> None:
    rows = judge(facts, now=NOW, over_ssh=True)
    assert not [row for row in rows if row.verdict is Verdict.FAIL]
    named = list(dict.fromkeys(package for row in rows for package in row.packages))
    assert sorted(named) == sorted(packages.split())


def test_without_a_known_package_manager_a_lack_is_in_the_way() -> None:
    rows = judge(attrs.evolve(without(GOOD, "dnsmasq"), packager="none"), now=NOW, over_ssh=False)
    assert [row.found for row in rows if row.verdict is Verdict.FAIL] == [
        "no dnsmasq, and there is neither apt nor dnf to install it with"
    ]


def test_storage_drivers_are_told_with_what_they_lack() -> None:
    told = {row.check: row for row in judge(GOOD, now=NOW, over_ssh=True)}["storage drivers"]
    assert (told.verdict, told.packages) == (Verdict.OK, ())
    assert told.found == (
        "file; installed when wanted: nfs (nfs-common), lvm (lvm2, thin-provisioning-tools), "
        "iscsi (qemu-block-extra), rbd (ceph-common, qemu-block-extra)"
    )
    ceph = attrs.evolve(GOOD, tools={**GOOD.tools, "rbd": "/usr/bin/rbd", "block-rbd": "/usr/lib/block-rbd.so"})
    told = {row.check: row for row in judge(ceph, now=NOW, over_ssh=True)}["storage drivers"]
    assert told.found.startswith("file, rbd; ")


def test_the_script_answers_every_field() -> None:
    done = LocalTarget().run(["sh", str(SCRIPT), "/nowhere/at/all", "/usr/bin/python3"])
    told = {line.partition("=")[0] for line in done.out.splitlines()}
    fields = {field.name for field in attrs.fields(Facts)} - {"tools"}
    assert fields <= told
    assert {*TOOLS, *(tool for tools in STORAGE.values() for tool in tools)} <= told
    facts = parse(done.out)
    assert facts.arch
    assert int(facts.free_kib) > 0


# ---------------------------------------------------------------------------- the key's line

KEY = f"ssh-ed25519 AAAAC3 skydeck-{CLOUD}"
RELAY = "/usr/local/lib/skydeck/hostd relay"
LINE = f'restrict,command="{RELAY}" {KEY}\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", LINE),
        ("ssh-rsa AAAA me@home", f"ssh-rsa AAAA me@home\n{LINE}"),
        (f"# mine\n{LINE}ssh-rsa AAAA me@home\n", f"# mine\n{LINE}ssh-rsa AAAA me@home\n"),
        (f"{LINE}{LINE}", LINE),
        (f"ssh-ed25519 AAAAold skydeck-{CLOUD}\nssh-ed25519 AAAAother skydeck-other\n",
         f"ssh-ed25519 AAAAother skydeck-other\n{LINE}"),
    ],
)  # fmt: skip
def test_the_key_stands_there_once(before: str, after: str) -> None:
    assert keys.with_key(before, public_key=KEY, command=RELAY) == after
    assert keys.with_key(after, public_key=KEY, command=RELAY) == after


def test_only_this_clouds_line_goes() -> None:
    assert keys.without_key(f"ssh-rsa AAAA me@home\n{LINE}", comment=keys.comment_of(CLOUD)) == "ssh-rsa AAAA me@home\n"


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("", "/root/.ssh/authorized_keys"),
        (".ssh/authorized_keys .ssh/authorized_keys2", "/root/.ssh/authorized_keys"),
        ("%h/keys", "/root/keys"),
        ("/etc/ssh/keys/%u", "/etc/ssh/keys/root"),
        ("/etc/ssh/%%u", "/etc/ssh/%u"),
        ("none", None),
    ],
)
def test_sshd_says_where_keys_are_read(pattern: str, path: str | None) -> None:
    assert keys.authorized_keys_path(attrs.evolve(GOOD, authorized_keys_file=pattern)) == path


def test_the_clouds_key_pair_is_made_once_and_is_the_owners_alone(world: World) -> None:
    line = keys.cloud_key(world.config, cloud=CLOUD)
    assert line.endswith(f" skydeck-{CLOUD}")
    assert keys.key_path(world.config).stat().st_mode & 0o777 == 0o600
    assert keys.cloud_key(world.config, cloud=CLOUD) == line
    keys.key_path(world.config).write_text("broken")
    with pytest.raises(Unavailable, match="cannot be used"):
        keys.cloud_key(world.config, cloud=CLOUD)


# ---------------------------------------------------------------------------- the whole, on a scripted machine


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """SQLite alone: enrolment's own reads and writes are core.hosts.hosts', which is tested on both."""
    shutil.copy(sqlite_template, tmp_path / "skydeck.db")
    return f"sqlite:///{tmp_path / 'skydeck.db'}"


@attrs.define
class FakeMachine:
    """Answers by what a command contains; everything else succeeds silently. The last matching rule wins."""

    facts: Facts
    rules: list[tuple[str, Result | Lost | Callable[[], Result]]] = attrs.field(factory=list)
    ran: list[str] = attrs.field(factory=list)
    name: str = "local"
    uid: str = "0"

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = COMMAND_TIMEOUT) -> Result:
        command = " ".join(argv)
        self.ran.append(command)
        for part, answer in reversed(self.rules):
            if part in command:
                if isinstance(answer, Lost):
                    raise answer
                return answer if isinstance(answer, Result) else answer()
        if argv[:2] == ["id", "-u"]:
            return good(self.uid)
        if "say arch" in command:
            return good(told(self.facts))
        return good("")

    def has_run(self, part: str) -> bool:
        return any(part in command for command in self.ran)


def good(out: str) -> Result:
    return Result(status=0, out=out, err="")


def bad(err: str, status: int = 1) -> Result:
    return Result(status=status, out="", err=err)


def told(facts: Facts) -> str:
    plain = attrs.asdict(facts)
    return "\n".join(f"{key}={value}" for key, value in (plain | plain.pop("tools")).items() if key != "tools")


PROOF = Proof(
    hello=HelloReply(
        protocol=PROTOCOL, host=HOST, hostname="node1", boot_id="b", journal_id="j", term=0, version="0.1.0",
        accel=Accel(mode="kvm", reason="kvm: probe booted in 0.8 s"), versions={"kernel": "6.1"}, last_seq=0,
    ),
    seen=Observation(
        at=NOW,
        capacity=Capacity(
            arch="x86_64", cpu_model="EPYC", vcpus=8, ram_mb=16384, ram_free_mb=15000, disk_gb=200, disk_free_gb=150
        ),
        accel=Accel(mode="kvm", reason="kvm: probe booted in 0.8 s"),
        domains=(), disks=(), images=(), networks=(), links=(),
    ),
)  # fmt: skip


class Stage:
    """A cloud and one scripted machine, enrolled as `local`."""

    def __init__(self, world: World, machine: FakeMachine) -> None:
        self.world = world
        self.machine = machine
        self.told: list[str] = []
        self.asked: list[str] = []
        self.answer = True

    def ask(self, question: str) -> bool:
        self.asked.append(question)
        return self.answer

    def add(self, *, assume_yes: bool = False, name: str | None = None, ctx: Context | None = None) -> Report:
        return add(
            self.world.store, self.world.config, ctx or self.world.admin, address="local", name=name,
            assume_yes=assume_yes, ask=self.ask, tell=self.told.append,
        )  # fmt: skip

    def refused(self, kind: type[SkydeckError], *, says: str) -> SkydeckError:
        with pytest.raises(kind, match=says) as caught:
            self.add()
        assert caught.value.hint
        return caught.value

    def host(self) -> Host:
        with self.world.store.read() as session:
            return session.execute(select(Host)).scalar_one()


@pytest.fixture
def stage(world: World, monkeypatch: pytest.MonkeyPatch) -> Stage:
    with world.store.read() as session:
        identity = cloud.identity(session)
    machine = FakeMachine(attrs.evolve(GOOD, cloud=identity))
    monkeypatch.setattr(enrolling, "LocalTarget", lambda: machine)
    monkeypatch.setattr("core.hosts.enroll.removing.LocalTarget", lambda: machine)
    monkeypatch.setattr(enrolling, "prove", lambda *_args, **_options: PROOF)
    monkeypatch.setattr(install, "bundle", lambda: b"#!hostd")
    return Stage(world, machine)


def test_an_enrolled_host_is_in_the_database_with_what_it_has(stage: Stage) -> None:
    report = stage.add(name="first")
    assert (report.host_id, report.name) == (HOST, "first")
    host = stage.host()
    assert (host.vcpus, host.ram_mb, host.disk_gb, host.cpu_model) == (8, 16384, 200, "EPYC")
    assert host.vcpus_cap == 32
    assert (host.address, host.socket) == ("", "/run/skydeck/hostd.sock")
    assert (host.accel, host.availability_zone) == ("kvm: probe booted in 0.8 s", "nova")
    names = [line.partition(":")[0] for line in stage.told]
    assert names == ["look", "look", "push", "push", "start", "start", "prove", "prove"]
    assert "capacity" in [row.check for row in report.rows]


def test_a_second_run_keeps_the_name_and_the_zone(stage: Stage) -> None:
    stage.add(name="first")
    assert stage.add().name == "first"
    with pytest.raises(Conflict, match="named 'first' exists"):
        add(
            stage.world.store, stage.world.config, stage.world.admin, address="other.example", name="first",
            ask=stage.ask, tell=stage.told.append,
        )  # fmt: skip


def test_an_address_that_became_another_host_is_not_taken_for_the_old_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.add(name="first")
    other = attrs.evolve(PROOF, hello=attrs.evolve(PROOF.hello, host=CLOUD))
    monkeypatch.setattr(enrolling, "prove", lambda *_args, **_options: other)
    error = stage.refused(Failed, says="was host first")
    assert "skydeck host remove first" in error.hint


def test_all_causes_are_told_at_once_and_nothing_is_changed(stage: Stage) -> None:
    stage.machine.facts = attrs.evolve(stage.machine.facts, arch="riscv64", python="3.9.2", free_kib="1")
    error = stage.refused(Unavailable, says="local cannot hold guests")
    for cause in ("riscv64", "3.9.2", "0.0 GiB free"):
        assert cause in error.title
    assert not stage.machine.has_run("sha256sum")
    assert stage.told[-1] == "look: failed"


def test_a_host_of_another_cloud_is_left_alone(stage: Stage) -> None:
    stage.machine.facts = attrs.evolve(GOOD, cloud=CLOUD)
    stage.refused(Conflict, says=f"belongs to another cloud \\({CLOUD}\\)")
    assert not stage.machine.has_run("sha256sum")


def test_a_user_without_root_is_told_both_ways(stage: Stage) -> None:
    stage.machine.uid = "1000"
    stage.machine.rules.append(("sudo -n", bad("sudo: a password is required")))
    error = stage.refused(Unavailable, says=r"not root \(uid 1000\).*a password is required")
    assert "NOPASSWD" in error.hint


def test_sudo_is_used_for_everything_once_it_works() -> None:
    machine = FakeMachine(GOOD, uid="1000")
    root = become_root(machine)
    install.push(root, Layout(), b"x")
    assert all(command.startswith("sudo -n -- ") for command in machine.ran[1:])


def test_the_local_machine_needs_root_itself(stage: Stage) -> None:
    stage.machine.uid = "1000"
    assert "root" in stage.refused(Unavailable, says="socket on this machine is root's alone").hint


def test_a_machine_that_runs_no_commands_says_so(stage: Stage) -> None:
    stage.machine.rules.append(("id -u", bad("This account is currently not available.")))
    stage.refused(Unavailable, says="runs no command: This account is currently not available")


def test_a_script_that_cannot_run_says_why(stage: Stage) -> None:
    stage.machine.rules.append(("say arch", bad("sh: awk: not found", 127)))
    stage.refused(Unavailable, says="could not be looked at: sh: awk: not found")


def test_missing_packages_are_asked_for_and_installed(stage: Stage) -> None:
    complete = stage.machine.facts
    stage.machine.facts = without(complete, "dnsmasq", "nft")

    def installed() -> Result:
        stage.machine.facts = complete
        return good("")

    stage.machine.rules.append(("apt-get install", installed))
    report = stage.add()
    assert stage.asked == ["local lacks packages. Run there: apt-get install dnsmasq-base nftables?"]
    assert {"dnsmasq-base", "nftables"} <= set(report.changed)


def test_yes_answers_for_packages(stage: Stage) -> None:
    complete = stage.machine.facts
    stage.machine.facts = without(complete, "nft")
    stage.machine.rules.append(("apt-get install", lambda: setattr(stage.machine, "facts", complete) or good("")))
    stage.add(assume_yes=True)
    assert not stage.asked


def test_no_is_no(stage: Stage) -> None:
    stage.machine.facts = without(stage.machine.facts, "nft")
    stage.answer = False
    error = stage.refused(Refused, says="nobody agreed to install them: nftables")
    assert "apt-get install nftables" in error.hint
    assert not stage.machine.has_run("exec apt-get")


def test_a_failed_installation_speaks_in_apts_words(stage: Stage) -> None:
    stage.machine.facts = without(stage.machine.facts, "nft")
    stage.machine.rules.append(("apt-get install", bad("E: Unable to locate package nftables", 100)))
    error = stage.refused(Failed, says="installing nftables on local failed: E: Unable to locate package nftables")
    assert "by hand" in error.hint


def test_packages_that_do_not_help_are_an_error(stage: Stage) -> None:
    stage.machine.facts = without(stage.machine.facts, "nft")
    stage.refused(Failed, says="apt-get installed nftables, and local still has no nft")


@pytest.mark.parametrize(
    ("part", "answer", "kind", "says"),
    [
        ("cat > ", bad("cat: write error: No space left on device"), Failed, "writing /usr/local/lib/skydeck/hostd"),
        ("ln -sfn", bad("ln: Read-only file system"), Failed, "linking /usr/local/bin/hostd failed: ln: Read-only"),
        ("hostd relay", bad("ImportError: libvirt"), Failed, "hostd does not start on local: ImportError: libvirt"),
        ("sha256sum", Lost("the connection to local was cut"), Unknown, r"was cut \(during push\)"),
        ("say arch", Lost("the connection to local was cut"), Unavailable, "was cut"),
    ],
)
def test_each_step_fails_with_its_cause_and_the_next_act(
    stage: Stage, part: str, answer: Result | Lost, kind: type[SkydeckError], says: str
) -> None:
    stage.machine.rules.append((part, answer))
    stage.refused(kind, says=says)
    assert stage.told[-1].endswith(": failed")


def test_libvirtd_is_started_when_it_does_not_run(stage: Stage) -> None:
    stage.machine.facts = attrs.evolve(stage.machine.facts, libvirt="")
    stage.machine.rules.append(("libvirtd -d", good("started\n")))
    assert "libvirtd" in stage.add().changed
    stage.machine.rules.append(("libvirtd -d", bad("libvirtd: port in use")))
    stage.refused(Failed, says="starting libvirtd failed: libvirtd: port in use")


def test_under_systemd_the_unit_keeps_hostd_and_leaves_guests_alone(stage: Stage) -> None:
    stage.machine.facts = attrs.evolve(stage.machine.facts, init="systemd")
    assert "unit" in stage.add().changed
    assert stage.machine.has_run("sh skydeck-hostd.service restart")
    text = Layout().unit_text
    assert "KillMode=process" in text
    assert "Restart=always" in text
    # With the same unit there and the daemon running, nothing is left to do.
    stage.machine.rules += [(f"sh {Layout().unit}", good(text)), ("-nt", bad(""))]
    assert not {"unit", "daemon"} & set(stage.add().changed)


def test_who_is_no_admin_is_refused_first(stage: Stage) -> None:
    with pytest.raises(Refused):
        stage.add(ctx=dataclasses.replace(stage.world.admin, roles=frozenset({"member"})))
    assert not stage.machine.ran


@pytest.mark.parametrize("address", ["", "root@", "a b", "http://host", "@"])
def test_what_is_no_address_is_refused(stage: Stage, address: str) -> None:
    with pytest.raises(Invalid, match="no address"):
        add(
            stage.world.store, stage.world.config, stage.world.admin, address=address, ask=stage.ask,
            tell=stage.told.append,
        )  # fmt: skip


# ---------------------------------------------------------------------------- removal


def leave(stage: Stage, *, assume_yes: bool = False, keep_data: bool = True) -> Report:
    return remove(
        stage.world.store, stage.world.config, stage.world.admin, "first", ask=stage.ask, tell=stage.told.append,
        assume_yes=assume_yes, keep_data=keep_data,
    )  # fmt: skip


def test_a_host_with_instances_stays(stage: Stage) -> None:
    stage.add(name="first")
    with stage.world.store.write() as session:
        session.add(Claim(id="c", host_id=HOST, instance_id="i", vcpus=1, ram_mb=1, disk_gb=1))
    with pytest.raises(Conflict, match="host first holds 1 instances"):
        leave(stage)
    assert stage.host().enabled


def test_data_of_guests_nobody_knows_of_is_not_deleted(stage: Stage, tmp_path: Path) -> None:
    stage.add(name="first")
    with stage.world.store.write() as session:
        session.execute(select(Host)).scalar_one().socket = str(tmp_path / "nobody.sock")
    with pytest.raises(HostFailed, match="their data is not deleted"):
        leave(stage, keep_data=False)
    assert not stage.machine.has_run("mindepth 1 -delete")
    host = stage.host()
    assert (host.enabled, host.disabled_reason) == (False, "being removed")
    stage.add()
    assert stage.host().enabled
    report = leave(stage)
    assert "hostd" in report.changed
    assert "journal" not in report.changed


def test_a_host_out_of_reach_may_be_forgotten(stage: Stage) -> None:
    stage.add(name="first")
    stage.machine.rules.append(("id -u", Lost("no answer")))
    stage.answer = False
    with pytest.raises(Unavailable, match="no answer"):
        leave(stage)
    assert "/var/lib/skydeck" in stage.asked[-1]
    report = leave(stage, assume_yes=True)
    assert [row.check for row in report.rows] == ["left behind"]
    with stage.world.store.read() as session:
        assert session.execute(select(Host)).first() is None
