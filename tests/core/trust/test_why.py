"""The smallest change that would fit does fit, and is the smallest."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from core.compute import why
from core.compute.scheduler import filters
from core.compute.scheduler.model import HostView, Request, VolumeNeed
from core.compute.scheduler.remedies import Means, Size, nearest, remedies
from core.errors import NotFound, NoValidHost
from tests.core.world import World

ASKED = Request(project_id="p", vcpus=4, ram_mb=8192, disk_gb=80)
SIZES = [Size("tiny", 1, 512, 1), Size("small", 1, 2048, 20), Size("medium", 2, 4096, 40), Size("large", 4, 8192, 80)]


def host(name: str = "h1", *, ram: int = 32768, vcpus: int = 32, disk: int = 500, **changes: Any) -> HostView:
    made = HostView(
        id=name, name=name, enabled=True, disabled_reason="", up=True, down_reason="", zone="nova", arch="x86_64",
        limit={"vcpus": 32, "ram_mb": 32768, "disk_gb": 500},
        used={"vcpus": 32 - vcpus, "ram_mb": 32768 - ram, "disk_gb": 500 - disk},
        instances=1, project_instances=frozenset(), operations=0, failed_builds=0, aggregates=(),
    )  # fmt: skip
    return made._replace(**changes)


@pytest.mark.parametrize(
    ("asked", "hosts", "means", "what"),
    [
        ({}, [host()], Means.NOTHING, "it fits now, on h1"),
        ({"zone": "west"}, [host()], Means.REQUEST, "zone nova instead of west"),
        ({"host": "h2"}, [host()], Means.REQUEST, "another host than h2"),
        ({"different_host": frozenset("a")}, [host(project_instances=frozenset("a"))], Means.REQUEST,
         "no hint different_host"),
        ({}, [host(ram=4096)], Means.FLAVOR, "flavor medium (2 vCPUs, 4096 MiB RAM, 40 GiB disk)"),
        ({"vcpus": 1, "ram_mb": 512, "disk_gb": 1}, [host(enabled=False, disabled_reason="hot")], Means.HOST,
         "host h1 enabled, which was disabled: hot"),
        ({"vcpus": 1, "ram_mb": 512, "disk_gb": 1}, [host(ram=100)], Means.FREE, "412 MiB RAM more free on h1"),
        ({}, [host(up=False, down_reason="no answer")], Means.HOST, "host h1 up again: no answer"),
        ({"volumes": (VolumeNeed("data, which is on host h9", frozenset()),)}, [host()], Means.REQUEST,
         "without data, which is on host h9"),
        ({}, [host(aggregates=({"filter_tenant_id": "q"},))], Means.HOST, "host h1 no longer kept for other projects"),
        ({}, [host(instances=50)], Means.HOST, "one instance less on h1, which holds 50"),
    ],
)  # fmt: skip
def test_the_smallest_change(asked: dict[str, Any], hosts: list[HostView], means: Means, what: str) -> None:
    found = remedies(dataclasses.replace(ASKED, **asked), hosts, SIZES)
    assert (found[0].means, found[0].what) == (means, what)
    assert [one.cost for one in found] == sorted(one.cost for one in found)


def test_a_flavor_that_is_told_would_be_placed() -> None:
    hosts = [host("h1", ram=3000), host("h2", ram=5000, up=False), host("h3", disk=30)]
    found = remedies(ASKED, hosts, SIZES)
    told = next(one for one in found if one.means is Means.FLAVOR)
    assert (told.what.split()[1], told.host) == ("small", "h3")
    size = SIZES[1]
    left, _, _ = filters.apply(
        dataclasses.replace(ASKED, vcpus=size.vcpus, ram_mb=size.ram_mb, disk_gb=size.disk_gb), hosts
    )
    assert "h3" in [one.name for one in left]


def test_when_no_single_change_does_it_the_nearest_host_is_told_with_all_in_its_way() -> None:
    hosts = [host("h1", ram=100, up=False), host("h2", enabled=False, up=False, ram=100)]
    asked = dataclasses.replace(ASKED, vcpus=1, ram_mb=512, disk_gb=1)
    assert remedies(asked, hosts, SIZES[:1]) == []
    found = nearest(asked, hosts)
    assert found is not None
    assert (found[0], sorted(found[1])) == ("h1", ["ram", "up"])
    arm = [host(arch="aarch64")]
    assert remedies(dataclasses.replace(ASKED, arch="x86_64"), arm, SIZES) == [], "an image for another machine"


def test_a_request_is_kept_whole() -> None:
    asked = dataclasses.replace(
        ASKED, zone="west", extra_specs={"a": "b"}, same_host=frozenset("x"), volumes=(VolumeNeed("v", frozenset("h")),)
    )
    assert Request.from_json(asked.to_json()) == asked


def test_a_refused_launch_is_explained_by_the_name_it_was_to_have(world: World) -> None:
    world.host(ram_mb=2048 + 512)
    world.image()
    world.settled(name="web", flavor="m1.tiny")
    with pytest.raises(NoValidHost):
        world.create(name="big", flavor="m1.small")
    with world.store.read() as session:
        found = why.of_server(session, world.admin, "big")
        assert found.state == "create failed"
        assert found.remedies[0].means in (Means.FLAVOR, Means.FREE)
        assert {one.means for one in found.remedies} == {Means.FLAVOR, Means.FREE}
        free = next(one for one in found.remedies if one.means is Means.FREE)
        assert free.act == "web on h1 holds that much: delete it."
        assert why.of_server(session, world.admin, "web").title == ""
        with pytest.raises(NotFound):
            why.of_server(session, world.admin, "nobody")
    tenant = world.someone("member")
    with pytest.raises(NoValidHost):
        world.create(tenant, name="mine", flavor="m1.xlarge")
    with world.store.read() as session:
        told = why.of_server(session, tenant, "mine")
        assert all("web" not in one.act for one in told.remedies), "what others have is not told"
    world.host("h2", ram_mb=32768)
    with world.store.read() as session:
        found = why.of_server(session, world.admin, "big")
    assert (found.remedies[0].means, found.remedies[0].host) == (Means.NOTHING, "h2")
