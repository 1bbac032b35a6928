"""What a person did is taken back by its inverse; what cannot be is said; nobody's later choice is overwritten."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session

from core import undo
from core.compute.instances import interfaces, verbs
from core.compute.instances.nics import Nic
from core.context import Context, request_id
from core.errors import Conflict
from core.hosts import hosts
from core.network import floating_ips, networks, ports, routers, security_groups, subnets
from core.undo import Deed
from tests.core.operations.rig import running
from tests.core.world import World


def did(world: World, *acts: Callable[[Session, Context], Any]) -> Any:
    """Each in a transaction of its own, all of one request."""
    ctx = dataclasses.replace(world.admin, request_id=request_id())
    answers = []
    for act in acts:
        with world.store.write() as session:
            answers.append(act(session, ctx))
    return answers[0]


def deeds(world: World, ctx: Context | None = None) -> list[Deed]:
    with world.store.read() as session:
        return undo.recent(session, ctx or world.admin)


def undone(world: World, deed: Deed | None = None) -> tuple[list[str], list[Any]]:
    ctx = dataclasses.replace(world.admin, request_id=request_id())
    return undo.undo(world.store, ctx, world.config, (deed or deeds(world)[0]).request_id)


@pytest.fixture
def wired(world: World) -> dict[str, str]:
    """An outside network, a network behind a router, and a server on it; ids by name."""
    world.host(physnets={"physnet1": "eth1"})
    world.image()
    with world.store.write() as session:
        outside = networks.create(
            session, world.admin, world.config, name="out", external=True, network_type="flat",
            physical_network="physnet1",
        )  # fmt: skip
        inside = networks.create(session, world.admin, world.config, name="in")
        for network, cidr in ((outside, "203.0.113.0/24"), (inside, "10.0.0.0/24")):
            subnets.create(
                session, world.admin, name=network.name, network=network.id, project_id=network.project_id, cidr=cidr
            )
        router = routers.create(session, world.admin, name="gate", external_gateway=outside.id)
        routers.add_subnet(session, world.admin, router.id, "in")
        group = security_groups.create(session, world.admin, name="web")
    server = world.settled(name="web", networks=("in",))
    with world.store.read() as session:
        port = ports.of_device(session, server.id)[0].id
    return {"out": outside.id, "in": inside.id, "gate": router.id, "web": server.id, "port": port, "group": group.id}


def test_each_deed_has_its_inverse_and_asking_again_goes_one_further(world: World, wired: dict[str, str]) -> None:
    floating = did(world, lambda s, c: floating_ips.create(s, c, network=wired["out"]))
    did(world, lambda s, c: verbs.lock(s, c, "web", reason="mine"))
    did(world, lambda s, c: verbs.rename(s, c, "web", "front"))
    did(world, lambda s, c: verbs.set_properties(s, c, "front", {"tier": "web"}))
    did(world, lambda s, c: networks.set(s, c, "in", description="hm", mtu=1300))
    did(world, lambda s, c: hosts.update_host(s, c, "h1", enabled=False, disabled_reason="hot"))
    did(world, lambda s, c: ports.set(s, c, wired["port"], security_groups=["web"]))
    rule = did(world, lambda s, c: security_groups.add_rule(s, c, "web", protocol="tcp", port_min=22))
    did(world, lambda s, c: floating_ips.associate(s, c, floating.id, wired["port"]))

    said = []
    for _ in range(8):
        deed = deeds(world)[0]
        assert deed.why_not is None
        done, refused = undone(world, deed)
        assert not refused, refused
        said += done
    assert said == [
        f"take {floating.address} off its port",
        "take the security group rule away again",
        f"set security groups of {wired['port']} back",
        "set enabled, disabled reason of h1 back",
        "set description, mtu of in back",
        "give front its properties back",
        "call front web again",
        "unlock web",
    ]
    server = world.instance("web")
    assert (server.locked, server.properties) == (False, {})
    with world.store.read() as session:
        network = networks.find(session, world.admin, "in")
        assert (network.description, network.mtu) == ("", 1450)
        assert hosts.find(session, world.admin, "h1").enabled
        assert len(ports.groups_of(session, wired["port"])) == 1
        assert ports.groups_of(session, wired["port"]) != [wired["group"]]
        with pytest.raises(Exception, match="no"):
            security_groups.find_rule(session, world.admin, rule.id)
    last = deeds(world)[0]
    assert last.action == "floating_ip.create"
    assert last.why_not == ("a new object is taken away by deleting it", "X on it does, and asks as it should.")
    with pytest.raises(Conflict, match="cannot undo: a new object"):
        undone(world, last)


def test_routers_rules_and_gateways_come_back(world: World, wired: dict[str, str]) -> None:
    rule = did(world, lambda s, c: security_groups.add_rule(s, c, "web", protocol="tcp", port_min=80, port_max=81))
    did(world, lambda s, c: security_groups.delete_rule(s, c, rule.id))
    assert undone(world)[0] == ["add the security group rule again"]
    with world.store.read() as session:
        from core import listing
        from core.lists import LISTINGS

        rows = listing.page(session, world.admin, LISTINGS["security_group_rule"], where={"security_group": "web"})
        assert [(row["protocol"], row["port_range_min"], row["port_range_max"]) for row in rows if row["protocol"]] == [
            ("tcp", 80, 81)
        ]
    did(world, lambda s, c: routers.remove_subnet(s, c, "gate", "in"))
    assert undone(world)[0] == ["join 10.0.0.0/24 to router gate again"]


async def test_power_and_plugs_of_a_running_server(world: World) -> None:
    async with running(world) as rig:
        for name in ("web", "db"):
            await rig.create(name=name)
        did(world, lambda s, c: verbs.power(s, c, "web", "stop"), lambda s, c: verbs.power(s, c, "db", "stop"))
        await rig.idle()
        [deed, *_] = deeds(world)
        assert (deed.names, deed.says, deed.asks) == (("web", "db"), "start db and 1 more", False)
        assert undone(world, deed) == (["start db", "start web"], [])
        await rig.idle()
        assert {world.instance(name).status for name in ("web", "db")} == {"ACTIVE"}

        with world.store.write() as session:
            more = networks.create(session, world.admin, world.config, name="more")
            subnets.create(session, world.admin, name="more", network=more.id, project_id=more.project_id,
                           cidr="10.9.0.0/24")  # fmt: skip
        did(world, lambda s, c: interfaces.attach(s, c, "web", Nic(network="more")))
        await rig.idle()
        [deed, *_] = deeds(world)
        assert deed.asks, "a detach is asked about"
        undone(world, deed)
        await rig.idle()
        with world.store.read() as session:
            assert len(ports.of_device(session, world.instance("web").id)) == 1


def test_a_later_choice_of_anybodys_stays(world: World) -> None:
    world.host()
    world.image()
    world.settled(name="web")
    did(world, lambda s, c: verbs.rename(s, c, "web", "front"))
    deed = deeds(world)[0]
    other = world.someone("admin", project="admin", name="other")
    with world.store.write() as session:
        verbs.rename(session, other, "front", "edge")
    done, refused = undone(world, deed)
    assert not done
    assert "was renamed since" in refused[0][1].title
    assert deeds(world, other)[0].action == "instance.rename", "each has a stack of their own"
    did(world, lambda s, c: hosts.update_host(s, c, "h1", enabled=False, disabled_reason="hot"))
    deed = deeds(world)[0]
    did(world, lambda s, c: hosts.update_host(s, c, "h1", disabled_reason="very hot", enabled=False))
    assert "was changed since" in undone(world, deed)[1][0][1].title


def test_every_inverse_belongs_to_an_event_that_is_recorded() -> None:
    """A verb whose event is renamed must not lose its inverse silently."""
    import re
    from pathlib import Path

    import core

    source = "\n".join(
        path.read_text() for path in Path(core.__file__).parent.rglob("*.py") if "undo" not in path.parts
    )
    for action in undo.INVERSES:
        kind, _, act = action.partition(".")
        told = [
            f'"{action}"', f'"{kind}.{{', f'kind="{kind}", action="{act}"', f'kind="{kind}", values',
            f'"{act}", port_id', f"instance.{act}",
        ]  # fmt: skip
        assert any(text in source for text in told) or re.search(rf'"{act}"', source), action
