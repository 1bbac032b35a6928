"""Storage in the app: what keys and forms do, why they are refused, and what a page tells."""

from __future__ import annotations

from typing import Any

import pytest

from core import cloud, listing
from core.identity import quotas
from core.lists import LISTINGS
from tests.tui import storage
from tests.tui.driving import Cloud, driven
from tui import registry
from tui.locator import Locator
from tui.progress import pace
from tui.verbs import Row, reason
from tui.view import Form
from tui.views import backups, image_members, images, launch, snapshots, volume_forms, volume_new, volume_types

SECOND = 1_000_000


def of(seeded: Cloud, kind: str, /, **where: Any) -> list[Row]:
    config, store = seeded
    with store.read() as session:
        return listing.page(session, cloud.context(session, config, source="app"), LISTINGS[kind], where=where)


def submit(seeded: Cloud, form: Form, row: Row | None, **typed: str) -> str:
    """Fill a form in and send it, as the screen does. What it shows meanwhile has to hold too."""
    config, store = seeded
    with store.read() as session:
        ctx = cloud.context(session, config, source="app")
        loaded = form.load(session, ctx, row)
    assert loaded.problem is None
    values = {**dict.fromkeys((field.name for field in form.fields), ""), **loaded.values, **typed}
    for name, choices in loaded.choices.items():
        several = next((field.several for field in form.fields if field.name == name), False)
        assert several or values[name] in {value for value, _ in choices}, name
    form.preview(loaded, values)
    return form.submit(store, config, ctx, values)


def why_not(seeded: Cloud, kind: str, verb: str, **where: Any) -> tuple[str, str] | None:
    config, store = seeded
    with store.read() as session:
        ctx = cloud.context(session, config, source="app")
    [row] = of(seeded, kind, **where)
    return reason(next(each for each in registry.VIEWS[kind].verbs if each.name == verb), ctx, row)


@pytest.fixture
def roomy(seeded: Cloud) -> Cloud:
    """Without the quotas that the seeded cloud is over."""
    config, store = seeded
    with store.write() as session:
        ctx = cloud.context(session, config, source="test")
        free = dict.fromkeys(("cores", "ram", "instances", "volumes", "gigabytes"), -1)
        quotas.update(session, ctx, ctx.project_id, ctx.project_name, free)
    return seeded


async def test_a_volume_is_given_and_taken_with_two_keys(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="volume", filter="scratch")) as app:
        await app.press("A")
        await app.until("Who has: scratch")
        await app.type("web-06")
        await app.until("1 of 16")
        await app.press("enter")
        await app.until("changing who has scratch")
        await app.until("web-06 vd")
    async with driven(seeded, locator=Locator(kind="instance", filter="web-00")) as app:
        await app.press("A")
        await app.until("pull out db-data")
        assert "pull out web-root" not in app.text, "a root disk stays"
        await app.type("out db-data")
        await app.press("enter")
        await app.until("changing what is plugged into web-00")
    kinds = [row["kind"] for row in of(seeded, "operation", state="ready")]
    assert sorted(kinds) == ["instance.attach_volume", "instance.detach_volume"]
    assert of(seeded, "volume", name="db-data")[0]["status"] == "detaching"


async def test_deleting_a_volume_takes_its_name(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="volume", filter="a4000009")) as app:
        await app.press("X")
        await app.until("Type a4000009")
        await app.type("a4000009")
        await app.press("enter")
        await app.until("deleted a4000009")
    assert [row["object_id"] for row in of(seeded, "operation", kind="volume.delete")] == [storage.id_of(4, 9)]


async def test_a_shared_image_is_answered(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="image_member")) as app:
        await app.press("b", "r")
        await app.until("x rejected")
    async with driven(seeded, locator=Locator(kind="host", filter="kvm01")) as app:
        await app.press("i")
        await app.until("prune what nobody uses")
        await app.press("enter")
        await app.until("changing the image cache of kvm01")
    assert [row["object_name"] for row in of(seeded, "operation", kind="host.prune_images")] == ["kvm01"]


def test_forms_of_volumes(roomy: Cloud) -> None:
    [scratch] = of(roomy, "volume", name="scratch")
    [held] = of(roomy, "volume", name="web-root")
    [image] = of(roomy, "image", name="debian-13")
    said = submit(roomy, volume_new.NEW_FORM, None, name="fresh", size="5")
    assert said == "creating volume fresh"
    assert submit(roomy, volume_new.from_source("image"), image, name="of-image") == "creating volume of-image"
    [made] = of(roomy, "volume", name="of-image")
    assert (made["size_gb"], made["source_id"], made["bootable"]) == (3, image["id"], True)
    edited = submit(roomy, volume_forms.EDIT, scratch, name="kept", bootable="True", description="d")
    assert edited == "volume kept changed"
    assert of(roomy, "volume", name="kept")[0]["bootable"] is True
    assert submit(roomy, volume_forms.SNAPSHOT, held, name="s") == "taking snapshot s"
    assert submit(roomy, volume_forms.EXTEND, scratch, size="150") == "growing scratch to 150 GiB"
    [alone] = of(roomy, "volume", id=storage.id_of(4, 9))
    said = submit(roomy, volume_forms.OFFER, alone)
    assert said.startswith("they take it with: skydeck volume transfer request accept --auth-key ")
    [snapshot] = of(roomy, "snapshot", name="golden-1")
    assert submit(roomy, snapshots.EDIT, snapshot, name="first") == "snapshot first changed"
    assert submit(roomy, snapshots.NEW_FORM, snapshot, id=held["id"], name="t").startswith("taking snapshot t")


def test_forms_of_the_rest(roomy: Cloud) -> None:
    [image] = of(roomy, "image", name="ubuntu-24.04")
    said = submit(roomy, images.EDIT, image, properties="hw_disk_bus=scsi", min_disk="4", visibility="shared")
    assert said == "image ubuntu-24.04 changed"
    [image] = of(roomy, "image", name="ubuntu-24.04")
    assert (image["properties"], image["min_disk_gb"]) == ({"hw_disk_bus": "scsi"}, 4)
    assert submit(roomy, image_members.FORM, image, project="demo").startswith("shared with demo")
    [ssd] = of(roomy, "volume_type", name="ssd")
    form = next(verb.form for verb in volume_types.VIEW.verbs if verb.name == "edit")
    assert form is not None
    submit(roomy, form, ssd, backend="", qos="", description="any place")
    [ssd] = of(roomy, "volume_type", name="ssd")
    assert (ssd["extra_specs"], ssd["qos"], ssd["description"]) == ({}, "", "any place")
    assert volume_types.VIEW.form is not None
    assert submit(roomy, volume_types.VIEW.form, None, name="bulk", backend="local") == "volume type bulk made"
    backend = registry.VIEWS["backend"]
    assert backend.form is not None
    said = submit(roomy, backend.form, None, name="share", driver="nfs", options="path='/a b'")
    assert said.startswith("backend share made")
    [row] = of(roomy, "backend", name="share")
    assert row["options"] == {"path": "/a b"}
    [backup] = of(roomy, "backup", name="db-sunday")
    assert submit(roomy, backups.EDIT, backup, name="kept") == "backup kept changed"


def test_a_launch_boots_from_a_volume(roomy: Cloud) -> None:
    [image] = of(roomy, "image", name="debian-13")
    [golden] = of(roomy, "volume", name="golden")
    config, store = roomy
    with store.read() as session:
        ctx = cloud.context(session, config, source="app")
        loaded = launch.OF_IMAGE.load(session, ctx, image)
    kept = loaded.values | {"name": "v", "flavor": "m1.small", "boot": launch.GONE, "size": "9", "count": "1"}
    assert "--image debian-13 --boot-from-volume 9 --delete-on-termination --flavor" in launch.command(loaded, kept)
    [root] = launch._root(kept)
    assert (root.source_type, root.uuid, root.size_gb, root.delete_on_termination) == ("image", image["id"], 9, True)
    given = kept | {"boot": golden["id"]}
    assert "server create --volume golden --flavor" in launch.command(loaded, given)
    said = launch.submit(store, config, ctx, given | {"network": "none", "user_data": "", "zone": ""})
    assert said == "creating v"
    [attachment] = of(roomy, "attachment", volume_id=golden["id"])
    assert (attachment["server"], attachment["boot_index"], attachment["delete_on_termination"]) == ("v", 0, False)


@pytest.mark.parametrize(
    ("kind", "verb", "name", "said"),
    [
        ("volume", "delete", "db-data", "volume db-data is in-use, by web-00, it must be available or error"),
        ("volume", "delete", "golden", "it has a snapshot"),
        ("volume", "revert", "db-data", "volume db-data is in-use, by web-00, it must be available"),
        ("volume", "snapshot", "db-data", None),
        ("volume", "extend", "too-large", "volume too-large is error_extending, it must be available or in-use"),
        ("volume", "attach", "restored", "it is restoring-backup"),
        ("snapshot", "volume", "db-nightly", "it is creating"),
        ("backup", "delete", "db-sunday", "1 later of its volume stand on it"),
        ("backup", "restore", "web", "it is error"),
        ("backup", "verify", "web", None),
        ("image", "launch", "debian-13", None),
        ("image", "share", "ubuntu-24.04", "it is public: others see it already"),
        ("volume_type", "delete", "ssd", "2 volumes are of this type"),
        ("backend", "delete", "ceph", "it holds 3 volumes"),
        ("instance", "image", "lb-03", "lb-03 has never been launched"),
    ],
)
def test_why_not(seeded: Cloud, kind: str, verb: str, name: str, said: str | None) -> None:
    why = why_not(seeded, kind, verb, name=name)
    assert (why[0] if why else None) == said


def test_a_copy_tells_its_pace() -> None:
    row = {"state": "running", "progress": 25, "started_at": 100 * SECOND}
    assert pace(row, 110 * SECOND) == "30s left"
    copied = {"rate": 12 << 20, "remaining": 125}
    assert pace(row | {"copied": copied}, 110 * SECOND) == "12 MiB/s, 2m left"
    assert pace(row | {"copied": copied | {"remaining": None}}, 110 * SECOND) == "12 MiB/s"
    assert pace(row | {"progress": 0}, 110 * SECOND) == pace(row | {"state": "failed"}, 110 * SECOND) == ""


async def test_names_of_a_tenant_do_nothing_to_a_terminal(seeded: Cloud) -> None:
    _, store = seeded
    with store.write() as session:
        from core.volumes.tables import Volume

        session.get_one(Volume, storage.id_of(4, 3)).description = "a\x1b]0;owned\x07\u202eb"
    async with driven(seeded, locator=Locator(kind="volume", filter="scratch")) as app:
        for key in ("d", "tab", "tab", "tab"):
            await app.press(key)
            await app.pilot.pause(0.05)
            assert not set(app.text) & set("\x1b\x07\u202e")
