"""The command that a form shows does what the form does: both are done, and the database is the same after either."""

from __future__ import annotations

from typing import Any

import pytest

from core import rehearsal
from core.store import Store
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
    Case("backend", "new", typed={"name": "b2", "options": "path=/srv/b2", "over": "3"}),
    Case("backend", "edit", {"driver": "file"}, {"over": "4", "hosts": "~kvm01", "description": "d"}),
]


def test_every_form_is_among_the_cases() -> None:
    known = {(case.kind, case.verb) for case in CASES}
    assert [(kind, verb) for kind, verb, _ in forms() if (kind, verb) not in known] == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_command_does_what_the_form_does(
    case: Case, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, store, ctx = *cloud, _context(cloud)
    with store.read() as session:
        loaded, values = case.opened(session, ctx)
        known = ids(session)
    lines = derived.commands(registry.VIEWS[case.kind], case.form, loaded, values)
    assert lines

    with rehearsal.of(store) as trial, trial.read() as session:
        before = dump(session, known)
        case.form.submit(trial, config, ctx, values)
        by_form = dump(session, known)
    assert by_form != before

    with rehearsal.of(store) as trial, trial.read() as session:
        monkeypatch.setattr(Caller, "store", property(lambda caller: trial))
        monkeypatch.setattr(Caller, "config", property(lambda caller: config))
        for line in lines:
            status = root.main([*line])
            assert status == 0, f"{line}\n{capsys.readouterr().err}"
        by_command = dump(session, known)
    changed = {table for table in before if before[table] != by_form[table] or before[table] != by_command[table]}
    for table in changed:
        assert _news(by_command[table], before[table]) == _news(by_form[table], before[table]), (table, lines)


def _news(after: list[str], before: list[str]) -> list[str]:
    return [line for line in after if line not in before]


def _context(cloud: Cloud) -> Any:
    from core import cloud as clouds

    config, store = cloud
    assert isinstance(store, Store)
    with store.read() as session:
        return clouds.context(session, config, source="app")
