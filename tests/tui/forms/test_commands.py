"""The command that a form shows does what the form does: both are done, and the database is the same after either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core import listing, rehearsal
from core.errors import Invalid
from core.lists import LISTINGS
from tests.tui.driving import Cloud
from tests.tui.forms.cases import Case, dump, forms, ids
from tui import registry
from tui.cli import root
from tui.cli.caller import Caller
from tui.forms import derived

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUK8CTPBsvT2Yo2Sv6GmIsCLd8X5bpWbtf6Xg1d9C1f alice@desk"

CASES = [
    Case("instance", "new"),
    Case("instance", "new", typed={"name": "n-{1..3}", "network": "~app+backup", "groups": "~default+web"}),
    Case("instance", "new", typed={"boot": "~a new volume of the image, gone", "size": "5", "zone": "nova"}),
    Case("instance", "new", typed={"count": "2", "key": "", "flavor": "m1.small"}),
    Case("instance", "clone", {"name": "web-06"}),
    Case("instance", "edit", {"name": "web-00"}, {"name": "www", "properties": "tier=web, new=1"}),
    Case("instance", "image", {"name": "web-00"}),
    Case("image", "launch"),
    Case("flavor", "launch", {"name": "m1.small"}),
    Case("flavor", "new", typed={"name": "big", "public": "no", "specs": "hw:mem_page_size=large", "description": "x"}),
    Case("flavor", "clone", {"name": "m1.tiny"}),
    Case("flavor", "edit", {"name": "m1.tiny"}, {"description": "small", "specs": "a=1, b=2"}),
    Case("network", "new", typed={"name": "lab", "dns": "9.9.9.9", "router": "~gate"}),
    Case("network", "new", typed={"name": "lab", "router": "~a new one"}),
    Case("network", "new", typed={"name": "lab", "cidr": ""}),
    Case("network", "clone", {"name": "app"}),
    Case("network", "subnet", {"name": "backup"}, {"cidr": "10.77.0.0/24", "gateway": "none", "dhcp": "no"}),
    Case("network", "edit", {"name": "app"}, {"mtu": "1400", "up": "False", "description": "-x", "domain": "a.test."}),
    Case("subnet", "new", typed={"network": "~backup", "cidr": "fd00:1::/64", "ipv6": "slaac"}),
    Case(
        "subnet",
        "edit",
        {"name": "backup"},
        {"dns": "9.9.9.9", "pools": "172.16.0.20-172.16.0.99", "routes": "192.0.2.0/24 via 172.16.0.9", "dhcp": "no"},
    ),
    Case("port", "new", typed={"name": "p", "network": "~app", "ips": "10.0.9.9", "groups": "~web", "in": "10M"}),
    Case("port", "new", typed={"name": "p", "network": "~app"}),
    Case("port", "edit", {"device": "web-00", "network": "app"}, {"groups": "~web", "pairs": "10.0.0.9", "out": "1G"}),
    Case("port", "edit", {"device": "web-00", "network": "app"}, {"security": "False", "name": "eth"}),
    Case("port", "edit", {"device": "web-00", "network": "app"}, {"ips": "10.0.1.11, 10.0.7.8", "up": "False"}),
    Case("router", "new", typed={"name": "r", "gateway": "~public", "snat": "False", "description": "d"}),
    Case("router", "edit", {"name": "gate"}, {"snat": "False", "routes": "192.0.2.0/24 via 10.0.0.9", "up": "False"}),
    Case("router", "edit", {"name": "gate"}, {"name": "door", "description": "d"}),
    Case("floating_ip", "new", typed={"address": "203.0.113.77", "description": "d"}),
    Case("security_group", "new", typed={"name": "g", "description": "d"}),
    Case("security_group", "clone", {"name": "web"}),
    Case("security_group", "edit", {"name": "web"}, {"name": "www", "description": ""}),
    Case("security_group", "rule", {"name": "web"}, {"what": "other", "other": "udp 53-60", "from": "10.0.0.0/8"}),
    Case("security_group_rule", "new", typed={"group": "~web", "what": "ping", "from": "default", "description": "d"}),
    Case("keypair", "new", typed={"name": "k", "public_key": KEY}),
    Case("project", "edit", {"name": "other"}, {"name": "lab", "description": "d", "enabled": "False"}),
    Case("project", "quotas", {"name": "other"}, {"cores": "40", "ram": "-1", "floating_ips": "5"}),
    Case("project", "new", typed={"name": "lab", "description": "d"}),
    Case("volume", "new", typed={"name": "data", "size": "7", "description": "d"}),
    Case("volume", "new", typed={"name": "root", "source": "~image debian", "size": "9"}),
    Case("volume", "clone", {"status": "available"}),
    Case("volume", "edit", {"status": "available"}, {"name": "other", "bootable": "True", "read_only": "True"}),
    Case("volume", "edit", {"status": "available"}, {"type": "~ssd", "move": "on-demand"}),
    Case("volume", "extend", {"status": "available"}, {"size": "90"}),
    Case("volume", "snapshot", {"status": "in-use"}),
    Case("volume", "backup", {"status": "in-use"}, {"incremental": "False"}),
    Case("volume", "image", {"status": "available"}, {"format": "raw", "visibility": "public"}),
    Case("volume", "offer", {"status": "available"}),
    Case("image", "volume", {"name": "debian-13"}),
    Case("image", "share", {"name": "debian-13"}, {"project": "other"}),
    Case("image", "edit", {"name": "debian-13"}, {"visibility": "public", "protected": "True", "properties": "a=b"}),
    Case("image", "edit", {"name": "debian-13"}, {"name": "deb", "hidden": "True", "min_ram": "512"}),
    Case("image_member", "new", typed={"project": "other"}),
    Case("snapshot", "new"),
    Case("snapshot", "volume", {"status": "available"}),
    Case("snapshot", "edit", typed={"name": "kept", "description": "d"}),
    Case("backup", "new", typed={"name": "b"}),
    Case("backup", "restore", {"status": "available"}, {"name": "again"}),
    Case("backup", "edit", typed={"name": "kept", "description": "d"}),
    Case("volume_type", "new", typed={"name": "fast", "shared": "True", "public": "False", "description": "d"}),
    Case(
        "volume_type", "edit", {"name": "ssd"}, {"name": "nvme", "public": "False", "qos": "~gold", "description": "d"}
    ),
    Case("transfer", "new", typed={"name": "gift"}),
    Case("qos", "new", typed={"name": "slow", "consumer": "both", "specs": "read_iops_sec=10, write_iops_sec=20"}),
    Case("qos", "clone", {"name": "gold"}),
    Case("qos", "edit", {"name": "gold"}, {"specs": "read_iops_sec=10"}),
    Case("host", "edit", {"name": "kvm01"}, {"cpu": "8", "reserved_disk": "5", "physnets": "physnet2=eth2"}),
    Case("aggregate", "new", typed={"name": "fast", "properties": "ssd=true, gpu=a100"}),
    Case("backend", "new", typed={"name": "b2", "options": "path=/srv/b2", "over": "3"}),
    Case("backend", "edit", {"driver": "file"}, {"over": "4", "hosts": "~kvm01", "description": "d"}),
]


APART = {("transfer", "accept"), ("keypair", "generate")}
"""Forms that are more than the database: each has a test of its own below."""


def test_every_form_is_among_the_cases() -> None:
    known = {(case.kind, case.verb) for case in CASES} | APART
    left = [(kind, verb) for kind, verb, form in forms() if (kind, verb) not in known and not form.handed]
    assert left == []


@pytest.fixture(scope="module")
def before(cloud: Cloud) -> tuple[set[str], dict[str, list[str]]]:
    """(ids that are there, rows that are there)."""
    with cloud[1].read() as session:
        known = ids(session)
        return known, dump(session, known)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_command_does_what_the_form_does(
    case: Case,
    cloud: Cloud,
    before: tuple[set[str], dict[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, store, ctx = *cloud, _context(cloud)
    known, was = before
    with store.read() as session:
        loaded, values = case.opened(session, ctx)
    lines = derived.commands(registry.VIEWS[case.kind], case.form, loaded, values)
    assert lines

    with rehearsal.of(store) as trial, trial.read() as session:
        case.form.submit(trial, config, ctx, values)
        by_form = dump(session, known)
    assert by_form != was

    with rehearsal.of(store) as trial, trial.read() as session:
        monkeypatch.setattr(Caller, "store", property(lambda caller: trial))
        monkeypatch.setattr(Caller, "config", property(lambda caller: config))
        for line in lines:
            status = root.main([*line])
            assert status == 0, f"{line}\n{capsys.readouterr().err}"
        by_command = dump(session, known)
    for table in was:
        assert _news(by_command[table], was[table]) == _news(by_form[table], was[table]), (table, lines)


def _news(after: list[str], before: list[str]) -> list[str]:
    return [line for line in after if line not in before]


def _context(cloud: Cloud) -> Any:
    from core import cloud as clouds

    config, store = cloud
    with store.read() as session:
        return clouds.context(session, config, source="app")


# ---------------------------------------------------------------------- forms that do more than the database shows


@pytest.fixture
def command(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], int]:
    """The command line at a rehearsal of the cloud: answers the exit status."""
    config, store = cloud

    def run(line: Sequence[str]) -> int:
        with rehearsal.of(store) as trial:
            monkeypatch.setattr(Caller, "store", property(lambda caller: trial))
            monkeypatch.setattr(Caller, "config", property(lambda caller: config))
            return root.main([*line])

    return run


def _line(cloud: Cloud, case: Case) -> list[str]:
    config, store = cloud
    ctx = _context(cloud)
    with store.read() as session:
        loaded, values = case.opened(session, ctx)
    with rehearsal.of(store) as trial:
        if case.form.rehearsed:
            case.form.submit(trial, config, ctx, values)  # what the form accepts
    [line] = derived.commands(registry.VIEWS[case.kind], case.form, loaded, values)
    return list(line)


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ({}, {"entry": "debian-13", "visibility": "private", "name": "debian-13"}),
        (
            {"source": "url", "url": "https://x.test/a.qcow2", "checksum": "ab" * 32, "visibility": "public"},
            {"url": "https://x.test/a.qcow2", "expected_digest": "ab" * 32, "disk_format": "qcow2", "name": "a"},
        ),
        ({"source": "file", "format": "raw", "name": "-n"}, {"disk_format": "raw", "name": "-n"}),
    ],
)
def test_an_image_is_brought_by_its_command(
    typed: dict[str, str], asked: dict[str, str], cloud: Cloud, command: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    from core.images import bring

    if typed.get("source") == "file":
        (tmp_path / "disk.img").write_bytes(b"x")
        typed = typed | {"file": str(tmp_path / "disk.img")}
        asked = asked | {"path": str(tmp_path / "disk.img")}
    told: dict[str, Any] = {}
    start = bring.start

    def started(session: Any, ctx: Any, **record: Any) -> Any:
        told.update(record)
        return start(session, ctx, **record)

    def brought(store: Any, config: Any, ctx: Any, id: str, **where: Any) -> None:
        told.update(where)

    line = _line(cloud, Case("image", "new", typed=typed))
    monkeypatch.setattr(bring, "start", started)
    monkeypatch.setattr(bring, "bring", brought)
    assert command(line) == 0
    told["entry"] = getattr(told["entry"], "name", None)
    assert {key: str(told[key]) for key in asked} == asked


def test_a_host_is_enrolled_by_its_command(cloud: Cloud, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.hosts import enroll

    told: dict[str, Any] = {}

    def add(store: Any, config: Any, ctx: Any, **asked: Any) -> Any:
        told.update(asked)
        return enroll.Report(name="kvm09", host_id="id", rows=(), changed=())

    typed = {"address": "root@192.0.2.9", "name": "kvm09", "zone": "az2", "port": "2222", "host_key": "SHA256:x"}
    line = _line(cloud, Case("host", "new", typed=typed))
    monkeypatch.setattr(enroll, "add", add)
    assert command(line) == 0
    assert {key: str(told[key]) for key in typed} == typed


def test_a_pair_is_made_and_its_private_half_is_the_persons_own(
    cloud: Cloud, command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "id"
    typed = {"name": "pair", "private_key": str(path)}
    assert command(_line(cloud, Case("keypair", "generate", typed=typed))) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "ssh-ed25519" not in capsys.readouterr().err
    # Never over a file that is there; the form says the same.
    config, store = cloud
    case = Case("keypair", "generate", typed=typed)
    with rehearsal.of(store) as trial, pytest.raises(Invalid, match="File exists"):
        case.form.submit(trial, config, _context(cloud), typed)


def test_a_volume_is_taken_by_id_and_key(cloud: Cloud) -> None:
    from core import cloud as clouds
    from core.volumes import transfers

    config, store = cloud
    ctx = _context(cloud)
    with rehearsal.of(store) as trial, trial.write() as session:
        volume = listing.page(session, ctx, LISTINGS["volume"], where={"status": "available"}, limit=1)[0]
        offer, key = transfers.create(session, ctx, volume=volume["id"])
        other = clouds.context(session, config, source="app", project="other")
        case = Case("transfer", "accept", typed={"id": offer.id, "auth_key": key})
        loaded, values = case.opened(session, other)
        [line] = derived.commands(registry.VIEWS["transfer"], case.form, loaded, values)
        assert line == ["volume", "transfer", "request", "accept", "--auth-key", key, offer.id]
        assert "is this project's now" in case.form.submit(trial, config, other, values)
