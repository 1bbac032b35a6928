"""Accepting creates: what is checked, what is placed, what one refusal leaves (nothing but its funnel)."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from core.compute import flavors, keypairs
from core.compute.instances.table import Instance
from core.config import Config
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound, NoValidHost, QuotaExceeded, SkydeckError
from core.hosts import aggregates, hosts
from core.hosts.hosts import Claim, Host
from core.images import images
from core.network import networks, subnets
from core.network.tables import FixedIP, Network, Port
from tests.core.compute.test_keypairs import ED
from tests.core.world import GIB, World


@pytest.fixture(autouse=True)
def _room(world: World) -> None:
    world.host()
    world.image()


def network(world: World, name: str, cidr: str, **fields: Any) -> None:
    with world.store.write() as session:
        made = networks.create(session, world.admin, world.config, name=name)
        subnets.create(
            session, world.admin, name=name, network=made.id, project_id=made.project_id, cidr=cidr, **fields
        )


def everything(world: World) -> dict[str, int]:
    return {table.__name__: len(world.rows(table)) for table in (Instance, Claim, Port, FixedIP, Network)}


def test_one(world: World) -> None:
    created = world.create(properties={"role": "web"})
    instance = world.instance(created.instances[0].id)
    assert (instance.name, instance.hostname, instance.status, instance.task_state) == (
        "web",
        "web",
        "BUILD",
        "scheduling",
    )
    assert (instance.vcpus, instance.ram_mb, instance.root_gb, instance.flavor_name) == (1, 512, 1, "m1.tiny")
    assert (instance.want, instance.launched_at, instance.image_name) == ("running", None, "tiny")
    assert instance.properties == {"role": "web"}
    operation = world.operation(created.operations[0].id)
    assert (operation.kind, operation.state, operation.object_id) == ("instance.create", "ready", instance.id)
    assert operation.lane == instance.host_id
    assert operation.data["funnel"]["ranked"] == [["h1", 0.0]]
    world.check_claims()
    (port,) = [port for port in world.rows(Port) if port.device_id == instance.id]
    assert (port.device_owner, port.host_id, port.status) == ("compute:nova", instance.host_id, "DOWN")
    assert port.mac.startswith("fa:16:3e:")
    assert [event.action for event in world.events() if event.object_id == instance.id] == ["instance.create"]


def test_many_are_numbered_and_share_a_reservation(world: World) -> None:
    created = world.create(max_count=3)
    assert [instance.name for instance in created.instances] == ["web-1", "web-2", "web-3"]
    assert [instance.launch_index for instance in created.instances] == [0, 1, 2]
    assert len({instance.reservation_id for instance in created.instances}) == 1
    assert len({address.ip for address in world.rows(FixedIP)}) == 4
    assert len(world.events("instance.create")) == 3
    world.check_claims()


def test_as_many_as_hosts_take_but_no_fewer_than_min(world: World) -> None:
    # 32 GiB of RAM: 8 of m1.medium.
    with world.store.write() as session:
        from core.identity import quotas

        quotas.update(session, world.admin, world.admin.project_id, "admin", {"instances": -1, "cores": -1, "ram": -1})
    with pytest.raises(NoValidHost):
        world.create(flavor="m1.medium", min_count=9, max_count=9)
    assert everything(world)["Instance"] == 0
    assert len(world.create(flavor="m1.medium", min_count=2, max_count=20).instances) == 8
    world.check_claims()


def test_several_spread_over_hosts(world: World) -> None:
    world.host("h2")
    world.create(max_count=6)
    assert sorted(host.vcpus_used for host in world.rows(Host)) == [3, 3]


REFUSED: list[tuple[dict[str, Any], type[SkydeckError], str]] = [
    ({"name": ""}, Invalid, "needs a name"),
    ({"name": "a\x1b"}, Invalid, "unprintable"),
    ({"min_count": 0}, Invalid, "cannot make 0 to 1 at once"),
    ({"min_count": 3, "max_count": 2}, Invalid, "cannot make 3 to 2 at once"),
    ({"max_count": 101}, Invalid, "cannot make 1 to 101 at once"),
    ({"fixed_ip": "10.0.0.9", "max_count": 2}, Invalid, "one address cannot serve several"),
    ({"flavor": "huge"}, NotFound, "no flavor 'huge'"),
    ({"image": None}, Invalid, "an image is needed"),
    ({"image": "none"}, NotFound, "no image 'none'"),
    ({"networks": ("lan",)}, NotFound, "no network 'lan'"),
    ({"key_name": "k"}, NotFound, "no keypair 'k'"),
    ({"user_data": b"x" * 49_153}, Invalid, "user data is 65540 bytes in base64, at most 65535"),
    ({"files": {f"/{n}": b"" for n in range(6)}}, QuotaExceeded, "injected_files: 6 of at most 5"),
    ({"files": {"/a": b"x" * 10241}}, QuotaExceeded, "injected_file_content_bytes: 10241 of at most 10240"),
    ({"files": {"/" + "ü" * 128: b""}}, QuotaExceeded, "injected_file_path_bytes: 257 of at most 255"),
    ({"properties": {f"k{n}": "" for n in range(129)}}, QuotaExceeded, "metadata_items: 129 of at most 128"),
    ({"properties": {"": "x"}}, Invalid, "1 to 255 characters"),
    ({"properties": {"k": "x" * 256}}, Invalid, "1 to 255 characters"),
    ({"hints": {"near": "x"}}, Invalid, "unknown scheduler hint 'near'"),
    ({"hints": {"same_host": "x"}}, Invalid, "hint same_host: no such instance 'x'"),
    ({"fixed_ip": "10.9.0.1"}, Invalid, "is in no subnet of the network"),
    ({"fixed_ip": "10.0.0.1"}, Conflict, "address 10.0.0.1 is taken"),
]


@pytest.mark.parametrize(
    ("spec", "error", "says"), REFUSED, ids=lambda value: value if isinstance(value, str) else None
)
def test_refused_and_nothing_is_left(world: World, spec: dict[str, Any], error: type[SkydeckError], says: str) -> None:
    before, events = everything(world), len(world.events())
    with pytest.raises(error) as refused:
        world.create(**spec)
    assert says in refused.value.title
    assert everything(world) == before
    assert (len(world.events()), world.operations()) == (events, [])


def test_limits_are_inclusive(world: World) -> None:
    instance = world.one(
        user_data=b"x" * 49_149,
        files={f"/{n}": b"x" * 10240 for n in range(5)},
        properties={"k" * 255: "v" * 255},
    )
    assert len(base64.b64decode(instance.user_data or "")) == 49_149


def test_an_image_must_be_active_and_bootable(world: World) -> None:
    with world.store.write() as session:
        images.create(session, world.admin, name="empty", disk_format="raw")
    with pytest.raises(Invalid, match="image empty is queued"):
        world.create(image="empty")
    world.image("vmlinuz", disk_format="aki", data=b"k")
    with pytest.raises(Invalid, match="image vmlinuz is a kernel"):
        world.create(image="vmlinuz")
    instance = world.one(image=world.image("direct", properties={"kernel_id": "vmlinuz"}, data=b"d").name)
    assert instance.kernel_id == next(image.id for image in world.rows(images.Image) if image.name == "vmlinuz")


def test_the_flavor_must_be_large_enough(world: World) -> None:
    world.image("big", min_disk_gb=2, data=b"2")
    world.image("fat", min_ram_mb=513, data=b"3")
    with pytest.raises(Invalid, match=r"m1\.tiny has a disk of 1 GiB, image big needs 2"):
        world.create(image="big")
    with pytest.raises(Invalid, match=r"m1\.tiny has 512 MiB, image fat needs 513"):
        world.create(image="fat")
    with world.store.write() as session:
        image = images.find(session, world.admin, "tiny")
        image.virtual_size = GIB + 1
    with pytest.raises(Invalid, match="image tiny needs 2"):
        world.create()


def test_a_flavor_without_a_disk_takes_any_image(world: World) -> None:
    with world.store.write() as session:
        flavors.create(session, world.admin, name="nodisk", ram_mb=64, disk_gb=0, vcpus=1, swap_mb=1500, ephemeral_gb=3)
        images.find(session, world.admin, "tiny").virtual_size = 50 * GIB
    assert world.one(flavor="nodisk").needs == {"vcpus": 1, "ram_mb": 64, "disk_gb": 5}


def test_the_default_network_is_made_once(world: World) -> None:
    world.create()
    world.create(name="b")
    assert [network.name for network in world.rows(Network)] == ["default"]
    # .1 is the gateway, .2 the DHCP server
    assert sorted(address.ip for address in world.rows(FixedIP)) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]


def test_the_only_network_is_the_default(world: World) -> None:
    network(world, "lan", "192.168.7.0/24")
    instance = world.one()
    assert [port.network_id for port in world.rows(Port) if port.device_id == instance.id] == [
        world.rows(Network)[0].id
    ]


def test_several_networks_need_a_choice_unless_one_is_called_default(world: World) -> None:
    network(world, "lan", "192.168.7.0/24")
    network(world, "dmz", "192.168.8.0/24")
    with pytest.raises(Invalid) as refused:
        world.create()
    assert refused.value.title == "project admin has 2 networks"
    assert "lan, dmz" in refused.value.hint
    instance = world.one(networks=("dmz", "lan"))
    mine = {port.id for port in world.rows(Port) if port.device_id == instance.id}
    assert sorted(a.ip for a in world.rows(FixedIP) if a.port_id in mine) == ["192.168.7.2", "192.168.8.2"] or sorted(
        a.ip for a in world.rows(FixedIP) if a.port_id in mine
    ) == ["192.168.7.3", "192.168.8.3"]
    network(world, "default", "192.168.9.0/24")
    world.create(name="b")


def test_none_is_no_network(world: World) -> None:
    world.create(networks=("none",))
    assert world.rows(Port) == []


def test_a_network_without_a_subnet(world: World) -> None:
    with world.store.write() as session:
        networks.create(session, world.admin, world.config, name="bare")
    with pytest.raises(Invalid, match="network bare has no subnet"):
        world.create(networks=("bare",))


def test_a_fixed_ip_is_had_once(world: World) -> None:
    world.create(fixed_ip="10.0.0.77")
    assert "10.0.0.77" in {address.ip for address in world.rows(FixedIP)}
    with pytest.raises(Conflict, match=r"address 10\.0\.0\.77 is taken"):
        world.create(name="b", fixed_ip="10.0.0.77")


def test_an_exhausted_pool_leaves_nothing(world: World) -> None:
    network(world, "lan", "10.5.0.0/24", pools=(("10.5.0.10", "10.5.0.13"),))
    assert len(world.create(max_count=3).instances) == 3
    before = everything(world)
    with pytest.raises(Conflict, match=r"no free address is left in lan \(10.5.0.0/24\)"):
        world.create(name="b")
    with pytest.raises(Conflict):
        world.create(name="b", max_count=2)
    assert everything(world) == before
    world.check_claims()


def test_macs_and_addresses_are_unique(world: World) -> None:
    world.create(max_count=10)
    ports = world.rows(Port)
    assert len({port.mac for port in ports}) == len(ports) == 11


def test_only_an_admin_forces_a_host(world: World) -> None:
    world.host("h2", zone="east")
    member = world.someone("manager")
    with pytest.raises(Forbidden, match="instance:force_host needs the role admin"):
        world.create(member, availability_zone="nova:h1")
    forced = world.one(availability_zone="east:h2")
    assert world.one(member, availability_zone="east").host_id == forced.host_id
    with pytest.raises(NoValidHost) as refused:
        world.create(availability_zone="nova:h2")
    assert refused.value.funnel["rejected"] == {
        "h1": {"filter": "forced_host", "why": "h2 was asked for"},
        "h2": {"filter": "availability_zone", "why": "in zone east, nova was asked for"},
    }


def test_hints(world: World) -> None:
    world.host("h2")
    first = world.one(name="first")
    together = [world.one(name=f"s{n}", hints={"same_host": "first"}) for n in range(3)]
    assert {instance.host_id for instance in together} == {first.host_id}
    apart = world.one(name="apart", hints={"different_host": f"{first.id}, s1"})
    assert apart.host_id != first.host_id
    with pytest.raises(NoValidHost) as refused:
        world.create(name="x", hints={"different_host": "first,apart"})
    assert {entry["filter"] for entry in refused.value.funnel["rejected"].values()} == {"different_host"}


def test_aggregates_and_flavors(world: World) -> None:
    fast = world.host("h2")
    with world.store.write() as session:
        aggregates.create(session, world.admin, name="fast", properties={"ssd": "true"})
        aggregates.add_host(session, world.admin, "fast", "h2")
        flavors.update(session, world.admin, "m1.small", extra_specs={"aggregate_instance_extra_specs:ssd": "true"})
    assert {world.one(name=f"s{n}", flavor="m1.small").host_id for n in range(3)} == {fast}


def test_no_valid_host_keeps_a_failed_operation_with_its_funnel(world: World) -> None:
    world.host("h2", up=False, state_reason="no route to host")
    before = everything(world)
    with world.store.write() as session:
        flavors.create(session, world.admin, name="vast", ram_mb=50_000, disk_gb=1, vcpus=1)
    with pytest.raises(NoValidHost) as refused:
        world.create(flavor="vast")
    assert refused.value.title == "no valid host was found: 2 hosts, filtered: 1 by up, 1 by ram"
    assert refused.value.hint == "For example h2: down: no route to host."
    assert everything(world) == before
    (operation,) = world.operations()
    assert operation.id == refused.value.operation_id
    assert (operation.state, operation.kind, operation.object_name) == ("failed", "instance.create", "web")
    assert operation.error["title"] == refused.value.title
    assert operation.data["funnel"]["rejected"]["h1"] == {
        "filter": "ram",
        "why": "RAM: needs 50000 MiB, free 32768 MiB of 32768 MiB",
    }
    assert operation.ended_at
    assert [event.after for event in world.events("instance.create_refused")] == [{"error": refused.value.title}]


def test_no_host_at_all(world: World) -> None:
    with world.store.write() as session:
        hosts.remove(session, world.admin, "h1")
    with pytest.raises(NoValidHost) as refused:
        world.create()
    assert refused.value.title == "no valid host was found: there is no host"
    assert refused.value.hint == "Add one: skydeck host add ADDRESS."


@pytest.mark.parametrize("scheduler", ["simple", "chance"])
def test_other_schedulers(world: World, scheduler: str) -> None:
    world.config = dataclasses.replace(world.config, scheduler=scheduler)
    world.create(max_count=3)
    world.check_claims()


def test_a_scheduler_nobody_knows(world: World) -> None:
    world.config = dataclasses.replace(world.config, scheduler="best")
    with pytest.raises(Invalid, match="unknown scheduler 'best'"):
        world.create()


def test_a_reader_creates_nothing(world: World) -> None:
    with pytest.raises(Forbidden, match="instance:create"):
        world.create(world.someone("reader"))


def test_a_key_is_copied_in(world: World) -> None:
    with world.store.write() as session:
        keypairs.create(session, world.admin, name="k", public_key=f"ssh-ed25519 {ED} me")
    instance = world.one(key_name="k")
    with world.store.write() as session:
        keypairs.delete(session, world.admin, "k")
    assert world.instance(instance.id).public_key == f"ssh-ed25519 {ED} me"


def test_the_same_key_is_the_same_request(world: World) -> None:
    first = world.create(max_count=2, idempotency_key="abc")
    again = world.create(max_count=2, idempotency_key="abc")
    assert [i.id for i in again.instances] == [i.id for i in first.instances]
    assert [o.id for o in again.operations] == [o.id for o in first.operations]
    assert len(world.rows(Instance)) == 2
    with pytest.raises(Conflict, match="this idempotency key was used for another request"):
        world.create(max_count=2, idempotency_key="abc", name="other")
    other = world.someone("member")
    assert world.create(other, idempotency_key="abc").instances[0].id != first.instances[0].id


def test_what_a_user_gave_the_guest_is_not_in_the_operation(world: World) -> None:
    (operation,) = world.create(user_data=b"#!secret", files={"/etc/x": b"password"}).operations
    kept = str(operation.args)
    assert "secret" not in kept
    assert "password" not in kept


def test_the_database_itself_refuses_two_of_an_address(world: World, config: Config) -> None:
    from sqlalchemy.exc import IntegrityError

    world.create()
    address = world.rows(FixedIP)[0]
    other = next(port for port in world.rows(Port) if port.id != address.port_id)
    with pytest.raises(IntegrityError), world.store.write() as session:
        session.add(
            FixedIP(port_id=other.id, ip=address.ip, subnet_id=address.subnet_id, network_id=address.network_id)
        )
    with pytest.raises(IntegrityError), world.store.write() as session:
        session.get(Host, world.rows(Host)[0].id).vcpus_used = 10_000  # type: ignore[union-attr]


def test_a_project_sees_its_own(world: World) -> None:
    me: Context = world.someone("member")
    world.create(me)
    assert world.instance("web").project_id == me.project_id
