"""`skydeck search` and `skydeck audit`."""

from __future__ import annotations

from tests.tui.cli.conftest import Cli


def test_anything_is_found_by_its_name_id_or_address(cli: Cli) -> None:
    cli.host("kvm01")
    image = cli.image("debian-13")
    cli.ok("network", "create", "web-net")
    cli.ok("volume", "type", "list")
    [found] = cli.json("search", "debian")
    assert found == {"Type": "image", "ID": image, "Name": "debian-13", "Status": "active", "Found By": "debian-13"}
    assert cli.ok("search", image[:13], "-f", "value", "-c", "Name") == "debian-13\n"
    assert [one["Type"] for one in cli.json("search", "kvm01", "--type", "host")] == ["host"]
    assert [one["Name"] for one in cli.json("search", "web", "net")] == ["web-net"]
    assert cli.json("search", "m1", "--type", "flavor", "--limit", "2", "--long")[0].keys() >= {"Project"}
    assert cli.json("search", "nothing-is-called-so") == []
    assert "there is no type 'planet'" in cli.refused(2, "search", "x", "--type", "planet")
    assert [one["Type"] for one in cli.json("--project", "demo", "search", "web-net")] == []
    assert [one["Name"] for one in cli.json("--project", "demo", "search", "web-net", "--all-projects")] == ["web-net"]


def test_the_audit_trail_tells_who_did_what_and_what_became_of_it(cli: Cli) -> None:
    cli.ok("network", "create", "web-net")
    cli.ok("network", "set", "web-net", "--description", "for the web")
    cli.ok("network", "delete", "web-net")
    acts = cli.json("audit", "list", "--object", "web-n")
    assert [(act["Action"], act["Result"], act["From"]) for act in acts] == [
        ("network.delete", "done", "cli"), ("network.set", "done", "cli"), ("network.create", "done", "cli"),
    ]  # fmt: skip
    assert all(act["Request ID"].startswith("req-") for act in acts)
    [deleted] = cli.json(
        "audit", "list", "--action", "delete", "--object", "network", "--since", "1h", "--actor", "adm"
    )
    assert cli.json("audit", "list", "--until", "1h") == []
    shown = cli.json("audit", "show", str(deleted["ID"]))
    assert (shown["action"], shown["result"], shown["user_name"]) == ("network.delete", "done", deleted["Actor"])
    changed = cli.json("audit", "list", "--action", "set", "--long")[0]
    assert changed["After"] == {"description": "for the web"}
    assert "is no moment" in cli.refused(2, "audit", "list", "--since", "whenever")
