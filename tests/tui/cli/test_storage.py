"""The nouns of storage: made, listed, shown, changed and handed over, as far as no host is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col

from core.sql import select
from core.volumes.tables import Backend, BackendHost, Backup, Snapshot, Volume
from tests.tui.cli.conftest import Cli
from tui.cli.nouns.instances import block_devices

GIB = 1 << 30


@pytest.fixture
def pool(cli: Cli) -> Cli:
    """A host whose local pool has 100 GiB, looked at a moment ago."""
    host = cli.host("kvm1")
    with cli.store.write() as session:
        local = session.execute(select(Backend)).scalars().one()
        session.add(
            BackendHost(
                backend_id=local.id,
                host_id=host,
                reachable=True,
                total_bytes=100 * GIB,
                free_bytes=90 * GIB,
                capabilities=["snapshot", "revert", "clone", "changed", "thin"],
                seen_at=cli.store.clock.now(),
            )
        )
    return cli


def set_status(cli: Cli, table: Any, name: str, status: str, **values: Any) -> None:
    """What an engine would have written."""
    from core.operations import operations
    from core.operations.operations import State

    with cli.store.write() as session:
        while (operation := operations.claim(session, owner="test")) is not None:
            operations.finish(session, operation, State.SUCCEEDED)
        row = session.execute(select(table).where(col(table.name) == name, col(table.deleted_at) == 0)).scalar_one()
        row.status = status
        for key, value in values.items():
            setattr(row, key, value)


def test_volumes(pool: Cli) -> None:
    made = pool.json("volume", "create", "--size", "3", "--property", "a=b", "--description", "d", "--bootable", "data")
    assert (made["name"], made["size"], made["status"], made["properties"]) == ("data", 3, "creating", {"a": "b"})
    assert (made["type"], made["bootable"], made["attachments"]) == ("__DEFAULT__", True, [])
    assert made["os-vol-host-attr:host"] == "kvm1"
    assert pool.engines_asked
    assert "needs a size" in pool.refused(2, "volume", "create", "more")
    assert "one thing" in pool.refused(2, "volume", "create", "--image", "i", "--snapshot", "s", "more")
    assert "quota exceeded for gigabytes" in pool.refused(6, "volume", "create", "--size", "2000", "huge")
    set_status(pool, Volume, "data", "available")
    pool.ok("volume", "set", "data", "--name", "kept", "--no-property", "--property", "c=d", "--non-bootable")
    pool.ok("volume", "unset", "kept", "--property", "c")
    shown = pool.json("volume", "show", "kept")
    assert (shown["properties"], shown["bootable"], shown["size"]) == ({}, False, 3)
    assert "nothing to set" in pool.refused(2, "volume", "set", "kept")
    assert "only grows" in pool.refused(2, "volume", "set", "kept", "--size", "2")
    assert pool.run("volume", "set", "kept", "--size", "5").stderr.startswith(
        "volume kept: extend accepted, operation "
    )
    assert pool.json("volume", "list") == [
        {"ID": made["id"], "Name": "kept", "Status": "extending", "Size": 5, "Attached to": []}
    ]
    assert list(pool.json("volume", "list", "--long")[0])[4:8] == ["Type", "Bootable", "Attached to", "Properties"]
    set_status(pool, Volume, "kept", "available", size_gb=5)
    assert pool.run("volume", "delete", "kept").stderr.startswith("volume kept: delete accepted, operation ")
    assert pool.json("volume", "list", "--status", "deleting", "-c", "Name") == [{"Name": "kept"}]


def test_snapshots_and_reverting(pool: Cli) -> None:
    pool.ok("volume", "create", "--size", "1", "data")
    assert "must be available" in pool.refused(5, "volume", "snapshot", "create", "--volume", "data", "s1")
    set_status(pool, Volume, "data", "available")
    made = pool.json("volume", "snapshot", "create", "--volume", "data", "--property", "k=v", "s1")
    assert (made["name"], made["volume_name"], made["size"], made["properties"]) == ("s1", "data", 1, {"k": "v"})
    set_status(pool, Snapshot, "s1", "available")
    pool.ok("volume", "snapshot", "set", "s1", "--name", "first", "--description", "d", "--no-property")
    [row] = pool.json("volume", "snapshot", "list", "--volume", "data")
    assert row == {"ID": made["id"], "Name": "first", "Description": "d", "Status": "available", "Size": 1}
    assert "snapshot" in pool.refused(5, "volume", "delete", "data")
    copy = pool.json("volume", "create", "--snapshot", "first", "copy")
    assert (copy["snapshot_id"], copy["size"]) == (made["id"], 1)
    assert "revert to it accepted" in pool.run("volume", "revert", "first").stderr
    assert pool.json("volume", "show", "data", "-c", "status") == {"status": "reverting"}


def test_backups(pool: Cli) -> None:
    pool.ok("volume", "create", "--size", "1", "data")
    set_status(pool, Volume, "data", "available")
    made = pool.json("volume", "backup", "create", "--name", "sunday", "--description", "d", "data")
    assert (made["name"], made["volume_name"], made["size"], made["is_incremental"]) == ("sunday", "data", 1, False)
    set_status(pool, Backup, "sunday", "available", manifest="ab" * 32, data_at=1)
    set_status(pool, Volume, "data", "available")
    [row] = pool.json("volume", "backup", "list", "--volume", "data")
    assert list(row) == ["ID", "Name", "Description", "Status", "Size", "Incremental", "Created At"]
    pool.ok("volume", "backup", "set", "sunday", "--name", "whole")
    assert "there is a volume data already" in pool.refused(5, "volume", "backup", "restore", "whole", "data")
    back = pool.json("volume", "backup", "restore", "whole", "again")
    assert (back["id"], back["volume_name"]) == (made["id"], "again")
    assert pool.json("volume", "show", "again")["status"] in ("creating", "restoring-backup")
    set_status(pool, Backup, "whole", "available")
    said = pool.run("volume", "backup", "verify", "whole").stderr
    assert said.startswith("backup whole: verify accepted, operation ")
    pool.ok("volume", "backup", "delete", "whole")


def test_types_their_limits_and_who_may_use_them(pool: Cli) -> None:
    made = pool.json(
        "volume", "type", "create", "--private", "--project", "demo", "--multiattach",
        "--property", "volume_backend_name=local", "shared",
    )  # fmt: skip
    assert made["access_project_ids"] == ["demo"]
    assert made["properties"] == {"multiattach": "<is> True", "volume_backend_name": "local"}
    assert "belongs to --private" in pool.refused(2, "volume", "type", "create", "--project", "demo", "x")
    pool.ok("volume", "type", "set", "shared", "--name", "both", "--project", "admin")
    pool.ok("volume", "type", "unset", "both", "--project", "demo", "--property", "volume_backend_name")
    shown = pool.json("volume", "type", "show", "both")
    assert (shown["access_project_ids"], shown["properties"]) == (["admin"], {"multiattach": "<is> True"})
    assert [row["Name"] for row in pool.json("volume", "type", "list", "--private")] == ["both"]
    assert [row["Name"] for row in pool.json("volume", "type", "list", "--default")] == ["__DEFAULT__"]
    qos = pool.json("volume", "qos", "create", "--property", "total_iops_sec=500", "gold")
    assert (qos["consumer"], qos["properties"]) == ("front-end", {"total_iops_sec": "500"})
    pool.ok("volume", "qos", "associate", "gold", "both")
    assert pool.json("volume", "qos", "list")[0]["Associations"] == ["both"]
    pool.ok("volume", "qos", "set", "--no-property", "--property", "read_iops_sec=9", "gold")
    assert pool.json("volume", "qos", "show", "gold")["properties"] == {"read_iops_sec": "9"}
    assert "one type or all" in pool.refused(2, "volume", "qos", "disassociate", "gold")
    pool.ok("volume", "qos", "disassociate", "gold", "--all")
    pool.ok("volume", "qos", "delete", "gold")
    pool.ok("quota", "set", "--volume-type", "both", "--gigabytes", "7")
    assert {row["Resource"]: row["Limit"] for row in pool.json("quota", "show")}["gigabytes_both"] == 7
    assert "not all can be limited" in pool.refused(2, "quota", "set", "--volume-type", "both", "--cores", "7")
    pool.ok("volume", "type", "delete", "both")


def test_a_volume_is_handed_over_with_a_key(pool: Cli) -> None:
    pool.ok("volume", "create", "--size", "1", "data")
    set_status(pool, Volume, "data", "available")
    offer = pool.json("volume", "transfer", "request", "create", "--name", "gift", "data")
    assert list(offer) == ["auth_key", "created_at", "id", "name", "volume_id"]
    assert pool.json("volume", "transfer", "request", "list") == [
        {"ID": offer["id"], "Name": "gift", "Volume": offer["volume_id"]}
    ]
    assert "auth_key" not in pool.json("volume", "transfer", "request", "show", "gift")
    accept = ["--project", "demo", "volume", "transfer", "request", "accept", offer["id"], "--auth-key"]
    assert pool.run(*accept, "wrong").exit_code != 0
    assert pool.json(*accept, offer["auth_key"])["volume_id"] == offer["volume_id"]
    assert pool.json("volume", "list") == []
    assert [row["Name"] for row in pool.json("volume", "list", "--project", "demo")] == ["data"]


def test_backends_and_what_hosts_store(pool: Cli) -> None:
    made = pool.json(
        "storage", "backend", "create", "--driver", "nfs", "--option", "path=/srv", "--host", "kvm1",
        "--max-over-subscription-ratio", "2", "share",
    )  # fmt: skip
    assert (made["options"], made["max_over_subscription_ratio"]) == ({"path": "/srv"}, 2.0)
    pool.ok("storage", "backend", "set", "share", "--disable", "--disable-reason", "no", "--option", "mount_options=ro")
    shown = pool.json("storage", "backend", "show", "share")
    assert (shown["status"], shown["options"]) == ("disabled", {"path": "/srv", "mount_options": "ro"})
    pool.ok("storage", "backend", "set", "share", "--option", "mount_options=", "--all-hosts", "--enable")
    shown = pool.json("storage", "backend", "show", "share")
    assert (shown["status"], shown["options"], shown["hosts"]) == ("enabled", {"path": "/srv"}, None)
    pool.ok("storage", "backend", "delete", "share")
    assert [row["Name"] for row in pool.json("storage", "backend", "list")] == ["local"]
    pool.ok("volume", "create", "--size", "50", "data")
    [only] = pool.json("volume", "backend", "pool", "list", "--long")
    assert only["Name"] == "kvm1@local#local"
    assert (only["Capabilities"]["free_capacity_gb"], only["Capabilities"]["thin"]) == (90, True)
    stored = pool.json("storage", "host", "show", "kvm1")
    [told] = stored["pools"]
    assert (told["used_gb"], told["promised_gb"], told["promised_ratio"], told["volumes"]) == (10.0, 50, 0.5, 1)
    assert "10.0 of 100.0 GiB used; 1 volumes may grow to 50 GiB, 0.5x of at most 10.0x" in pool.ok(
        "storage", "host", "show", "kvm1"
    )
    assert (stored["orphans"], stored["cached_images"]) == ([], [])


def test_limits_and_quotas_of_storage(pool: Cli) -> None:
    pool.ok("volume", "create", "--size", "3", "data")
    limits = {row["Name"]: row["Value"] for row in pool.json("limits", "show", "--absolute")}
    assert (limits["maxTotalVolumes"], limits["totalVolumesUsed"], limits["totalGigabytesUsed"]) == (10, 1, 3)
    assert "--absolute" in pool.refused(2, "limits", "show")
    pool.ok("quota", "set", "--per-volume-gigabytes", "2", "--backup-gigabytes", "5")
    assert "at most 2 GiB" in pool.refused(6, "volume", "create", "--size", "3", "more")


def test_images_are_shared_hidden_and_switched_off(cli: Cli) -> None:
    id = cli.image("debian")
    cli.ok("image", "set", "debian", "--shared", "--architecture", "x86_64", "--min-ram", "64")
    added = cli.json("image", "add", "project", "debian", "demo")
    assert (added["image_id"], added["status"]) == (id, "pending")
    assert list(cli.json("image", "member", "list", "debian")[0]) == ["Image ID", "Member ID", "Status"]
    assert cli.json("--project", "demo", "image", "list") == []
    cli.ok("--project", "demo", "image", "set", "--accept", id)
    assert [row["Name"] for row in cli.json("--project", "demo", "image", "list")] == ["debian"]
    assert cli.json("image", "member", "get", "debian", "demo")["status"] == "accepted"
    assert "one thing" in cli.refused(2, "image", "set", "--accept", "--reject", id)
    cli.ok("image", "remove", "project", "debian", "demo")
    assert "not shared with" in cli.refused(3, "image", "member", "get", "debian", "demo")
    cli.ok("image", "set", "debian", "--hidden", "--deactivate", "--property", "hw_disk_bus=scsi")
    shown = cli.json("image", "show", id)
    assert (shown["os_hidden"], shown["status"], shown["visibility"]) == (True, "deactivated", "shared")
    assert shown["properties"] == {"architecture": "x86_64", "hw_disk_bus": "scsi"}
    assert cli.json("image", "list") == []
    assert [row["ID"] for row in cli.json("image", "list", "--hidden")] == [id]
    cli.ok("image", "unset", id, "--property", "hw_disk_bus")
    cli.ok("image", "set", id, "--activate", "--unhidden")
    assert "nothing to set" in cli.refused(2, "image", "set", id)


def test_image_caches_and_the_catalog(pool: Cli) -> None:
    pool.image("debian")
    told = pool.run("image", "cache", "prefetch", "debian")
    assert "image debian: prefetch accepted" in told.stderr or "debian" in told.stderr
    pool.ok("image", "cache", "pin", "debian", "--host", "kvm1")
    [row] = pool.json("image", "cache", "list", "--host", "kvm1")
    assert (row["Image"], row["State"], row["Pinned"]) == ("debian", "coming", True)
    pool.ok("image", "cache", "unpin", "debian")
    assert pool.json("image", "cache", "list") == []
    entries = pool.json("image", "catalog", "list", "--long")
    assert all(entry["URL"].startswith("https://") and entry["Checksum"] for entry in entries)
    assert "one place" in pool.refused(2, "image", "create", "--catalog", "x", "--url", "https://a", "y")


def test_an_image_may_wait_for_its_bytes(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(b"\0" * 4096)
    made = cli.json("image", "create", "--disk-format", "raw", "later")
    assert made["status"] == "queued"
    made = cli.json("image", "create", "--disk-format", "raw", "--file", str(tmp_path / "disk.raw"), "now")
    cli.ok("image", "save", "--file", str(tmp_path / "copy.raw"), "now")
    assert (tmp_path / "copy.raw").read_bytes() == b"\0" * 4096
    assert "from one place" in cli.refused(2, "image", "create", "--volume", "v", "--url", "https://x", "y")


def devices(**given: Any) -> list[dict[str, Any]]:
    """As BlockDevice's fields, those that say something."""
    base: dict[str, Any] = {
        "image": None, "volume": None, "snapshot": None, "boot_from_volume": None, "delete_on_termination": False,
        "mapped": [], "block_devices": [], "ephemerals": [], "swap": None,
    }  # fmt: skip
    made = block_devices.devices(**(base | given))
    return [
        {
            key: value
            for key, value in vars(each).items()
            if value not in (None, "") and value is not False and key != "device_type"
        }
        for each in made
    ]


def test_disks_of_a_server_as_openstack_spells_them(tmp_path: Path) -> None:
    root = {"source_type": "volume", "destination_type": "volume", "uuid": "v", "boot_index": 0}
    assert devices(volume="v") == [root]
    assert devices(image="i") == []
    assert devices(image="i", boot_from_volume=8, delete_on_termination=True) == [
        root | {"source_type": "image", "uuid": "i", "size_gb": 8, "delete_on_termination": True}
    ]
    assert devices(mapped=["vdb=data:snapshot:5:true"]) == [
        {"source_type": "snapshot", "destination_type": "volume", "uuid": "data", "size_gb": 5,
         "delete_on_termination": True}
    ]  # fmt: skip
    several = ["uuid=d,boot_index=1,disk_bus=scsi,volume_type=ssd", "volume_size=4,destination_type=volume"]
    assert devices(block_devices=several) == [
        {"source_type": "volume", "destination_type": "volume", "uuid": "d", "boot_index": 1, "disk_bus": "scsi",
         "volume_type": "ssd"},
        {"source_type": "blank", "destination_type": "volume", "size_gb": 4},
    ]  # fmt: skip
    (tmp_path / "disk.json").write_text(json.dumps({"uuid": "x", "source_type": "image", "volume_size": 3}))
    assert devices(block_devices=[str(tmp_path / "disk.json")])[0]["size_gb"] == 3
    assert devices(ephemerals=["size=2"], swap=64) == [
        {"source_type": "blank", "destination_type": "local", "size_gb": 2},
        {"source_type": "blank", "destination_type": "local", "guest_format": "swap", "size_gb": 64},
    ]
    for wrong in (
        {"image": "i", "volume": "v"},
        {"boot_from_volume": 3},
        {"delete_on_termination": True},
        {"mapped": ["vdb"]},
        {"mapped": ["vdb=x:disk"]},
        {"block_devices": ["colour=red"]},
        {"block_devices": ["uuid=x,volume_size=big"]},
        {"ephemerals": ["format=ext4"]},
    ):
        with pytest.raises(block_devices.Invalid):
            devices(**wrong)


def test_a_server_s_volumes(pool: Cli) -> None:
    pool.image("debian")
    pool.ok("volume", "create", "--size", "1", "data")
    set_status(pool, Volume, "data", "available")
    pool.ok("server", "create", "--image", "debian", "--flavor", "m1.tiny", "--network", "none", "web")
    assert "never been launched" in pool.refused(5, "server", "add", "volume", "web", "data")
    pool.active("web")
    host = pool.json("server", "show", "web")["OS-EXT-SRV-ATTR:host"]
    assert host == "kvm1"
    told = pool.run("server", "add", "volume", "--device", "/dev/vdc", "--tag", "t", "--read-only", "web", "data")
    assert told.stderr.startswith("server web: volume data accepted, operation ")
    [row] = pool.json("server", "volume", "list", "web")
    assert (row["Device"], row["Tag"], row["Delete On Termination?"]) == ("/dev/vdc", "t", False)
    [attachment] = pool.json("volume", "attachment", "list", "--server", "web")
    assert pool.json("volume", "attachment", "show", attachment["ID"])["Attach Mode"] == "ro"
    assert "| Attached to web on /dev/vdc |" in pool.ok("volume", "list", "-c", "Attached to")
    assert pool.json("volume", "show", "data")["attachments"][0]["server_id"] == attachment["Server ID"]
    assert "attached to web" in pool.refused(5, "volume", "delete", "data")


def test_what_a_tenant_names_does_nothing_to_a_terminal(pool: Cli) -> None:
    evil = "a\x1b]0;owned\x07\u202eb"
    pool.ok("volume", "create", "--size", "1", "--description", evil, "data")
    for command in (["volume", "show", "data"], ["volume", "list", "--long"], ["storage", "host", "show", "kvm1"]):
        for format in ("table", "json", "yaml", "value"):
            assert not set(pool.ok(*command, "-f", format)) & set("\x1b\x07\u202e")
