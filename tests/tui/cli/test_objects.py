"""Making, listing, showing, changing and deleting what needs no host."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from tests.tui.cli.conftest import Cli

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@here"


def test_a_list_in_every_format(cli: Cli) -> None:
    command = ["flavor", "list", "--sort", "RAM", "--limit", "2", "-c", "Name", "-c", "RAM", "-c", "Is Public"]
    wanted = [
        {"Name": "m1.tiny", "RAM": 512, "Is Public": True},
        {"Name": "m1.small", "RAM": 2048, "Is Public": True},
    ]
    assert cli.json(*command) == wanted
    assert yaml.safe_load(cli.ok(*command, "-f", "yaml")) == wanted
    assert cli.ok(*command, "-f", "value") == "m1.tiny 512 True\nm1.small 2048 True\n"
    assert list(csv.reader(io.StringIO(cli.ok(*command, "-f", "csv")))) == [
        ["Name", "RAM", "Is Public"],
        ["m1.tiny", "512", "True"],
        ["m1.small", "2048", "True"],
    ]
    table = cli.ok(*command)
    assert table.splitlines()[1] == "| Name     |  RAM | Is Public |"
    assert table.splitlines()[3] == "| m1.tiny  |  512 | True      |"


def test_a_show_in_every_format(cli: Cli) -> None:
    command = ["flavor", "show", "m1.tiny", "-c", "name", "-c", "ram", "-c", "properties"]
    wanted = {"name": "m1.tiny", "properties": {}, "ram": 512}
    assert cli.json(*command) == wanted
    assert yaml.safe_load(cli.ok(*command, "-f", "yaml")) == wanted
    assert cli.ok(*command, "-f", "value") == "m1.tiny\n{}\n512\n"
    assert cli.ok(*command, "-f", "csv") == '"name","properties","ram"\n"m1.tiny","{}",512\n'
    assert cli.ok(*command).splitlines()[1].split() == ["|", "Field", "|", "Value", "|"]


def test_pages_orders_and_filters(cli: Cli) -> None:
    names = ["flavor", "list", "-f", "value", "-c", "Name"]
    first = cli.ok(*names, "--limit", "2").split()
    assert first == ["m1.tiny", "m1.small"]
    assert cli.ok(*names, "--limit", "2", "--marker", "2").split() == ["m1.medium", "m1.large"]
    assert cli.ok(*names, "--sort", "Name:desc", "--limit", "1").split() == ["m1.xlarge"]
    assert cli.ok(*names, "--sort=-ram_mb", "--limit", "1").split() == ["m1.xlarge"]
    assert cli.ok(*names, "--name", "XL").split() == ["m1.xlarge"]
    assert "no column" in cli.refused(2, "flavor", "list", "--sort", "nope")
    assert "marker" in cli.refused(2, "flavor", "list", "--marker", "nope")
    assert "There are 'ID', 'Name'" in cli.refused(2, "flavor", "list", "-c", "nope")
    assert "asc or desc" in cli.refused(2, "flavor", "list", "--sort", "Name:down")


def test_flavors(cli: Cli) -> None:
    made = cli.json("flavor", "create", "--ram", "64", "--disk", "1", "--property", "a=b", "--private", "nano")
    assert made["ram"] == 64
    assert made["properties"] == {"a": "b"}
    cli.ok("flavor", "set", "nano", "--property", "c=d", "--description", "small", "--project", "demo")
    cli.ok("flavor", "unset", "nano", "--property", "a")
    shown = cli.json("flavor", "show", "nano")
    assert (shown["properties"], shown["description"]) == ({"c": "d"}, "small")
    assert "exists" in cli.refused(5, "flavor", "create", "nano")
    assert "not KEY=VALUE" in cli.refused(2, "flavor", "create", "--property", "nonsense", "micro")
    cli.ok("flavor", "delete", "nano")
    assert "hint: skydeck flavor list shows them." in cli.refused(3, "flavor", "show", "nano")


def test_one_refusal_of_many_stops_no_other(cli: Cli) -> None:
    result = cli.run("flavor", "delete", "m1.tiny", "nope", "m1.small")
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        "flavor m1.tiny: deleted",
        "error: nope: no flavor 'nope'",
        "hint: skydeck flavor list shows them.",
        "flavor m1.small: deleted",
    ]


def test_keypairs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(KEY + "\n")
    made = cli.json("keypair", "create", "--public-key", str(tmp_path / "key.pub"), "mine")
    assert made["fingerprint"].startswith("SHA256:")
    assert cli.ok("keypair", "create", "--public-key", "-", "piped", input=KEY)
    assert cli.ok("keypair", "show", "--public-key", "mine") == KEY + "\n"
    assert cli.json("keypair", "list") == [
        {"Name": name, "Fingerprint": made["fingerprint"], "Type": "ssh"} for name in ("mine", "piped")
    ]
    assert "or a file for the private key of a new pair" in cli.refused(2, "keypair", "create", "other")
    assert "cannot be read" in cli.refused(2, "keypair", "create", "--public-key", "/nope", "other")
    cli.ok("keypair", "delete", "mine", "piped")
    assert cli.json("keypair", "list") == []


def test_projects_and_quotas(cli: Cli) -> None:
    made = cli.json("project", "create", "--description", "for two", "dev")
    cli.ok("project", "set", "dev", "--name", "develop", "--disable")
    assert cli.json("project", "show", made["id"])["enabled"] is False
    cli.ok("project", "set", "develop", "--enable")
    cli.ok("quota", "set", "develop", "--cores", "40", "--injected-file-content-bytes", "-1")
    shown = {row["Resource"]: row["Limit"] for row in cli.json("quota", "show", "develop")}
    assert (shown["cores"], shown["injected_file_content_bytes"], shown["instances"]) == (40, -1, 10)
    cli.ok("quota", "set", "default", "--instances", "3")
    assert {row["Resource"]: row["Limit"] for row in cli.json("quota", "show", "--default")}["instances"] == 3
    used = {row["Resource"]: row["In Use"] for row in cli.json("quota", "show", "--usage")}
    assert (used["instances"], used["ram"], used["injected_files"]) == (0, 0, None)
    assert "no quota was named" in cli.refused(2, "quota", "set", "develop")
    cli.refused(2, "quota", "set", "develop", "--cores", "-2")
    cli.ok("project", "delete", "develop")


def test_the_project_may_be_named_in_three_ways(cli: Cli) -> None:
    cli.ok("--os-project-name", "demo", "network", "create", "theirs")
    assert cli.json("network", "list") == []
    assert [row["Name"] for row in cli.json("network", "list", "--project", "demo")] == ["theirs"]
    assert cli.run("network", "list", "-f", "value", "-c", "Name", env={"SKYDECK_PROJECT": "demo"}).stdout == "theirs\n"
    everywhere = cli.ok("network", "list", "--all-projects", "-f", "csv")
    assert everywhere.splitlines()[0] == '"ID","Name","Subnets","Project"'
    assert "no project" in cli.refused(3, "--project", "nope", "network", "list")


def test_hosts_aggregates_zones_hypervisors(cli: Cli) -> None:
    cli.host("a", vcpus=4, zone="west")
    cli.host("b", vcpus=8)
    assert [(row["Host Name"], row["State"], row["Zone"]) for row in cli.json("host", "list")] == [
        ("a", "up", "west"),
        ("b", "up", "nova"),
    ]
    cli.ok("host", "set", "a", "--disable", "--disable-reason", "repair", "--reserved-memory-mb", "1024")
    shown = cli.json("host", "show", "a")
    assert (shown["status"], shown["disabled_reason"], shown["reserved_memory_mb"]) == ("disabled", "repair", 1024)
    assert "belongs to --disable" in cli.refused(2, "host", "set", "a", "--enable", "--disable-reason", "no")
    assert cli.json("availability", "zone", "list", "--long") == [
        {"Zone Name": "nova", "Zone Status": "available", "Hosts": ["b"]},
        {"Zone Name": "west", "Zone Status": "not available", "Hosts": ["a"]},
    ]
    assert cli.json("hypervisor", "stats", "show")["vcpus"] == 12
    assert cli.json("hypervisor", "show", "b")["hypervisor_hostname"] == "b"
    cli.ok("aggregate", "create", "--property", "ssd=true", "fast")
    assert cli.json("aggregate", "add", "host", "fast", "b")["hosts"] == ["b"]
    assert cli.json("aggregate", "list", "--long")[0]["Hosts"] == ["b"]
    assert cli.json("aggregate", "remove", "host", "fast", "b")["hosts"] == []
    cli.ok("aggregate", "delete", "fast")


def test_events_are_listed_newest_first(cli: Cli) -> None:
    cli.ok("network", "create", "one")
    cli.ok("project", "create", "two")
    [event] = cli.json("event", "list", "--action", "network.create")
    assert (event["Object"], event["User"], event["Source"]) == ("one", "admin", "cli")
    assert cli.json("event", "show", str(event["ID"]))["object_kind"] == "network"
    assert "no event" in cli.refused(3, "event", "show", "nope")
    assert cli.json("finding", "list") == []


def test_nothing_a_stranger_wrote_reaches_the_terminal(cli: Cli) -> None:
    evil = "a\x1b]0;owned\x07\u202eb\u200b\n| fake | row |"
    cli.ok("flavor", "create", "--description", evil, "odd")
    for format in ("table", "csv", "value", "json", "yaml"):
        printed = cli.ok("flavor", "list", "--long", "-f", format)
        assert not set(printed) & set("\x1b\x07\u202e\u200b")
    assert cli.ok("flavor", "show", "odd", "-f", "value", "-c", "description").count("\n") == 1
    [odd] = [row for row in cli.json("flavor", "list", "--long") if row["Name"] == "odd"]
    assert odd["Description"] == evil


def test_errors_as_json_for_a_program(cli: Cli) -> None:
    told = json.loads(cli.refused(3, "flavor", "show", "nope", "-f", "json"))
    assert told == {
        "type": "NotFound",
        "title": "no flavor 'nope'",
        "hint": "skydeck flavor list shows them.",
        "exit_code": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["flavor", "show", "nope"], 3), (["flavor", "create", "m1.tiny"], 5), (["flavor", "create", ""], 2)],
)
def test_a_real_process_ends_with_the_error_s_status(cli: Cli, arguments: list[str], status: int) -> None:
    done = cli.process(*arguments)
    assert done.returncode == status
    assert done.stdout == b""
    assert done.stderr.startswith(b"error: ")


def test_debug_shows_where_an_error_comes_from(cli: Cli) -> None:
    done = cli.process("--debug", "flavor", "show", "nope")
    assert done.returncode == 3
    assert b"Traceback" in done.stderr
    assert b"Traceback" not in cli.process("flavor", "show", "nope").stderr


def test_a_database_that_cannot_be_opened(cli: Cli) -> None:
    done = cli.process("flavor", "list", SKYDECK_DATABASE_URL="sqlite://")
    assert (done.returncode, done.stderr.splitlines()[0]) == (8, b"error: an in-memory database cannot be shared")
    done = cli.process("flavor", "list", SKYDECK_DATABASE_URL="sqlite:////proc/nope/skydeck.db")
    assert (done.returncode, done.stderr) == (1, b"error: No such file or directory: /proc/nope\n")
