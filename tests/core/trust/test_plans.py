"""Plans say what they do, do what they said, and do nothing when the cloud is another by then."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from sqlmodel import col

from core import plans
from core.compute.instances import verbs
from core.compute.instances.table import Instance
from core.context import Context, request_id
from core.errors import Conflict, Forbidden
from core.hosts.hosts import Host
from core.identity import projects
from core.identity.projects import Project
from core.network import networks, ports, subnets
from core.network.tables import Network, Port
from core.plans import Outcome, Plan
from core.sql import select
from tests.core.operations.rig import running
from tests.core.world import World


def laid_out(world: World, name: str, wanted: str, ctx: Context | None = None) -> Plan:
    with world.store.read() as session:
        return plans.plan(session, ctx or world.admin, name, wanted)


async def done(world: World, plan: Plan, ctx: Context | None = None) -> Outcome:
    ctx = dataclasses.replace(ctx or world.admin, request_id=request_id())
    return await asyncio.to_thread(plans.carry_out, world.store, ctx, plan)


async def test_maintenance_stops_what_runs_and_its_end_starts_just_that(world: World) -> None:
    async with running(world) as rig:
        for name in ("web", "db"):
            await rig.create(name=name)
        with world.store.write() as session:
            stop = verbs.power(session, world.admin, "db", "stop")
        await rig.ended(stop)

        plan = laid_out(world, "host.maintain", "h1")
        assert [(step.act, step.name) for step in plan.steps] == [("disable", "h1"), ("stop", "web")]
        assert plan.counted == "disable 1 host, stop 1 server"
        assert not plan.blocked
        outcome = await done(world, plan)
        assert (len(outcome.done), outcome.stopped) == (2, None)
        assert world.instance("web").status == "SHUTOFF"

        plan = laid_out(world, "host.resume", "h1")
        assert [(step.act, step.name) for step in plan.steps] == [("enable", "h1"), ("start", "web")]
        await done(world, plan)
        assert (world.instance("web").status, world.instance("db").status) == ("ACTIVE", "SHUTOFF")
        with world.store.read() as session:
            assert session.execute(select(Host.enabled)).scalar_one()


async def test_a_project_goes_with_all_it_owns_in_order(world: World) -> None:
    tenant = world.someone("manager", project="shop")
    async with running(world) as rig:
        with world.store.write() as session:
            network = networks.create(session, tenant, world.config, name="shop")
            subnets.create(session, tenant, name="shop", network=network.id, project_id=tenant.project_id,
                           cidr="10.7.0.0/24")  # fmt: skip
            ports.add(session, tenant, network=network.id, name="spare")
        for operation in world.create(tenant, name="till", networks=("shop",)).operations:
            await rig.ended(operation)

        plan = laid_out(world, "project.delete", "shop")
        assert [(step.act, step.kind, step.name) for step in plan.steps] == [
            ("delete", "server", "till"),
            ("delete", "port", "spare"),
            ("delete", "network", "shop"),
            ("delete", "project", "shop"),
        ]
        with pytest.raises(Conflict, match="still has"), world.store.write() as session:
            projects.delete(session, world.admin, "shop")
        outcome = await done(world, plan)
        assert outcome.stopped is None, outcome
        with world.store.read() as session:
            left = [
                session.execute(select(table.id).where(col(table.project_id) == tenant.project_id)).first()
                for table in (Network, Port)
            ]
            assert left == [None, None]
            assert session.execute(select(Project.id).where(col(Project.name) == "shop")).first() is None
            assert session.execute(select(Instance.id).where(col(Instance.deleted_at) == 0)).first() is None


async def test_a_network_in_use_is_emptied_first(world: World) -> None:
    async with running(world) as rig:
        await rig.create(name="web")
        network = laid_out_network(world)
        plan = laid_out(world, "network.delete", network)
        assert [(step.act, step.kind) for step in plan.steps] == [("detach", "server"), ("delete", "network")]
        outcome = await done(world, plan)
        assert outcome.stopped is None, outcome
        with world.store.read() as session:
            assert session.get(Network, network) is None
        assert world.instance("web").status == "ACTIVE"


def laid_out_network(world: World) -> str:
    with world.store.read() as session:
        return session.execute(select(Network.id)).scalar_one()


async def test_another_plan_than_was_agreed_to_is_not_carried_out(world: World) -> None:
    world.host()
    world.image()
    world.settled(name="web")
    plan = laid_out(world, "host.maintain", "h1")
    world.settled(name="db")
    with pytest.raises(Conflict, match="changed since the plan was made"):
        await done(world, plan)
    assert "instance.stop" not in [operation.kind for operation in world.operations()]
    with world.store.read() as session:
        assert session.execute(select(Host.enabled)).scalar_one(), "nothing was begun"


def test_what_blocks_is_told_and_holds(world: World) -> None:
    world.host()
    world.image()
    for name in ("a", "b", "c", "d", "e"):
        world.one(name=name)  # still being built
    plan = laid_out(world, "host.maintain", "h1")
    assert plan.blocked
    assert [one.what for one in plan.blockers] == ["cannot stop a, b, c and 2 more: has never been launched"]
    with pytest.raises(Conflict, match="cannot prepare host h1"):
        plans.carry_out(world.store, world.admin, plan)
    own = laid_out(world, "project.delete", "admin")
    assert own.blockers[0].what == "this is the project you work in"
    with pytest.raises(Forbidden):
        laid_out(world, "host.maintain", "h1", world.someone("member"))


async def test_a_step_that_is_refused_stops_the_plan_and_says_where(world: World) -> None:
    async with running(world) as rig:
        await rig.create(name="web")
        plan = laid_out(world, "network.delete", laid_out_network(world))

        def refuse(session: object, ctx: object) -> object:
            raise Conflict("no", hint="Because.")

        broken = dataclasses.replace(plan.steps[0], run=refuse)
        original = plans.PLANS["network.delete"]
        plans.PLANS["network.delete"] = lambda session, ctx, id: dataclasses.replace(
            original(session, ctx, id), steps=(broken, *plan.steps[1:])
        )
        try:
            outcome = await done(world, plan)
        finally:
            plans.PLANS["network.delete"] = original
        assert outcome.stopped is not None
        assert outcome.stopped[1:] == ("no", "Because.")
        assert outcome.done == ()
        assert laid_out_network(world), "the network is still there"
