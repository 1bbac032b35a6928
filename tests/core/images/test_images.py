"""Who sees an image, who may change it, and what may change of it."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from sqlmodel import Session

from core import listing
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded
from core.images import images, lists, members, properties
from core.images.images import Image
from core.lists import LISTINGS
from tests.core.world import World


@pytest.fixture
def owner(world: World) -> Context:
    return world.someone("member", project="owner")


@pytest.fixture
def other(world: World) -> Context:
    return world.someone("member", project="other")


def seen_by(session: Session, ctx: Context, image: Image, **where: str) -> tuple[bool, bool, bool]:
    """Whether it is found by its id, by its name, and in a list."""

    def found(wanted: str) -> bool:
        try:
            return images.find(session, ctx, wanted).id == image.id
        except NotFound:
            return False

    rows = listing.page(session, ctx, lists.IMAGES, where=where)
    assert (listing.one(session, ctx, lists.IMAGES, image.id) is not None) == found(image.id)
    return found(image.id), found(image.name), image.id in [row["id"] for row in rows]


BY_ID_ALONE, NOT, EVERYWHERE = (True, False, False), (False, False, False), (True, True, True)


def test_who_sees_what(world: World, owner: Context, other: Context) -> None:
    made = {kind: world.image(f"i-{kind}", ctx=owner, visibility=kind) for kind in images.VISIBILITIES}
    expected = {"public": EVERYWHERE, "private": NOT, "shared": NOT, "community": BY_ID_ALONE}
    with world.store.read() as session:
        assert {kind: seen_by(session, other, image) for kind, image in made.items()} == expected
        assert all(seen_by(session, owner, image) == EVERYWHERE for image in made.values())
        assert seen_by(session, other, made["community"], visibility="community") == (True, False, True)
        assert seen_by(session, world.admin, made["private"]) == (True, True, False)
        everywhere = dataclasses.replace(world.admin, all_projects=True)
        assert len(listing.page(session, everywhere, lists.IMAGES)) == 4


@pytest.mark.parametrize("status", [None, *members.STATUSES])
def test_a_shared_image_by_what_its_member_said(
    world: World, owner: Context, other: Context, status: str | None
) -> None:
    image = world.image("i", ctx=owner, visibility="shared")
    stranger = world.someone("member", project="stranger")
    with world.store.write() as session:
        if status is not None:
            assert members.add(session, owner, "i", other.project_id).status == "pending"
            members.set(session, other, image.id, status=status)
        expected = {None: NOT, "pending": BY_ID_ALONE, "rejected": BY_ID_ALONE, "accepted": EVERYWHERE}[status]
        assert seen_by(session, other, image) == expected
        assert seen_by(session, stranger, image) == NOT
        offered = [found.id for found in members.offered(session, other, status=status or "pending")]
        assert offered == ([image.id] if status else [])
        rows = listing.page(session, other, LISTINGS["image_member"])
        assert [(row["image"], row["owner"], row["status"]) for row in rows] == (
            [("i", "owner", status)] if status else []
        )
        # A private image has members no more, and they see it no more.
        images.set(session, owner, "i", visibility="private")
        assert seen_by(session, other, image) == NOT


def test_what_a_project_may_do_as_a_member(world: World, owner: Context, other: Context) -> None:
    image = world.image("i", ctx=owner, visibility="shared")
    third = world.someone("member", project="third")
    world.host()
    with world.store.write() as session:
        members.add(session, owner, "i", other.project_id)
        with pytest.raises(Conflict, match="already"):
            members.add(session, owner, "i", other.project_id)
        for refused in (
            lambda: members.add(session, other, image.id, third.project_id),
            lambda: members.remove(session, other, image.id, other.project_id),
            lambda: members.set(session, owner, "i", status="accepted", project=other.project_id),
            lambda: images.set(session, other, image.id, name="mine"),
            lambda: images.delete(session, other, image.id),
        ):
            with pytest.raises(Forbidden):
                refused()
        with pytest.raises(NotFound):
            members.set(session, third, image.id, status="accepted")
        with pytest.raises(NotFound, match="no project"):  # a name is told to admins alone
            members.add(session, owner, "i", "third")
        with pytest.raises(Invalid, match="own"):
            members.add(session, owner, "i", owner.project_id)
        with pytest.raises(Invalid, match="unknown status"):
            members.set(session, other, image.id, status="maybe")
        members.add(session, world.admin, image.id, "third")
        assert [member.project_id for member in members.listing(session, owner, "i")] == [
            other.project_id,
            third.project_id,
        ]
        assert [member.project_id for member in members.listing(session, third, image.id)] == [third.project_id]
        members.set(session, other, image.id, status="accepted")
    world.one(other, image="i", networks=("none",))
    with world.store.write() as session:
        members.remove(session, owner, "i", other.project_id)
        assert seen_by(session, other, image) == NOT
        with pytest.raises(NotFound):
            members.remove(session, owner, "i", other.project_id)
        images.set(session, owner, "i", visibility="community")
        with pytest.raises(Conflict, match="community"):
            members.add(session, owner, "i", other.project_id)


def test_nobody_takes_a_name_that_others_use(world: World, owner: Context, other: Context) -> None:
    public = world.image("debian-12")
    forged = world.image("debian-12", ctx=owner, visibility="community", data=b"forged")
    shared = world.image("debian-12", ctx=owner, visibility="shared", data=b"shared")
    with world.store.write() as session:
        members.add(session, owner, shared.id, other.project_id)
        assert images.find(session, other, "debian-12").id == public.id
        members.set(session, other, shared.id, status="accepted")
        with pytest.raises(Invalid, match="2 images"):
            images.find(session, other, "debian-12")
        assert images.find(session, other, forged.id).id == forged.id


def test_a_hidden_image_is_in_no_list_that_does_not_ask_for_it(world: World, other: Context) -> None:
    image = world.image("old", hidden=True)
    with world.store.read() as session:
        assert seen_by(session, other, image) == (True, True, False)
        assert seen_by(session, other, image, hidden="true") == EVERYWHERE


def test_a_deactivated_image_is_for_the_operator_alone(world: World, owner: Context) -> None:
    world.host()
    image = world.image("i", ctx=owner)
    with world.store.write() as session:
        with pytest.raises(Forbidden):
            images.deactivate(session, owner, "i")
        assert images.deactivate(session, world.admin, image.id).status == "deactivated"
        assert images.deactivate(session, world.admin, image.id).status == "deactivated"
        with pytest.raises(Forbidden, match="deactivated"):
            images.usable(session, owner, "i")
        assert images.usable(session, world.admin, image.id).id == image.id
    with pytest.raises(Invalid, match="deactivated"):
        world.one(owner, image="i", networks=("none",))
    with world.store.write() as session:
        assert images.reactivate(session, world.admin, image.id).status == "active"
        assert images.usable(session, owner, "i").id == image.id
        queued = images.create(session, owner, name="queued", disk_format="raw")
        for verb in (images.deactivate, images.reactivate):
            with pytest.raises(Conflict, match="queued"):
                verb(session, world.admin, queued.id)
    world.one(owner, image="i", networks=("none",))


def test_what_may_change(world: World, owner: Context) -> None:
    image = world.image("i", ctx=owner)
    with world.store.write() as session:
        with pytest.raises(Forbidden, match="create_public"):
            images.set(session, owner, "i", visibility="public")
        with pytest.raises(Conflict, match="for good"):
            images.set(session, owner, "i", disk_format="raw")
        with pytest.raises(Invalid):
            images.set(session, owner, "i", min_disk_gb=-1)
        queued = images.create(session, owner, name="queued", disk_format="raw")
        assert images.set(session, owner, "queued", disk_format="aki").container_format == "aki"
        assert queued.disk_format == "aki"
        images.set(session, owner, "i", hidden=True, properties={"a": "1", "hw_disk_bus": "SCSI"}, min_ram_mb=64)
        assert image.id == images.set(session, owner, "i", properties={"b": "2"}).id
        changed = images.unset(session, owner, "i", properties=["a", "never"])
        assert (changed.properties, changed.hidden, changed.min_ram_mb) == ({"hw_disk_bus": "scsi", "b": "2"}, True, 64)


def test_what_protects_from_deletion(world: World, owner: Context) -> None:
    with world.store.write() as session:
        images.create(session, owner, name="kernel", disk_format="aki")
        disk = images.create(session, owner, name="disk", disk_format="raw", properties={"kernel_id": "kernel"})
        with pytest.raises(Conflict, match="disk boots with it"):
            images.delete(session, owner, "kernel")
        images.set(session, owner, "disk", protected=True)
        with pytest.raises(Forbidden, match="protected"):
            images.delete(session, owner, disk.id)
        images.set(session, owner, "disk", protected=False)
        images.delete(session, owner, "disk")
        assert images.delete(session, owner, "kernel").status == "deleted"


@pytest.mark.parametrize(("key", "values"), properties.ALLOWED.items())
def test_a_property_with_a_meaning_has_one_of_its_values(key: str, values: tuple[str, ...]) -> None:
    assert [properties.check({key: value.upper()}) for value in values] == [{key: value} for value in values]
    with pytest.raises(Invalid, match=f"{key} cannot be 'x;y'") as refused:
        properties.check({key: "x;y"})
    assert ", ".join(values) in refused.value.hint


def test_properties_are_few_and_named_like_no_field() -> None:
    with pytest.raises(Forbidden):
        properties.check({"owner": "me"})
    with pytest.raises(Forbidden):
        properties.check({"os_glance_importing_to_stores": "x"})
    with pytest.raises(Invalid):
        properties.check({"a\x1b[2J": "x"})
    with pytest.raises(Invalid):
        properties.check({"a": "x" * (properties.LONGEST_VALUE + 1)})
    numbers = itertools.count()
    with pytest.raises(QuotaExceeded):
        properties.check({f"p{next(numbers)}": "" for _ in range(properties.MOST + 1)})
