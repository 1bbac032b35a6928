"""The engine, then the host's daemon, is killed at every labelled step there is, one at a time; nothing may be lost.

The labels are enumerated by the code (`core.operations.engine.labels`, `hostd labels`), so that a new step is tested
by itself: one that no scenario meets fails here until a scenario is told of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.compute.instances import interfaces, verbs
from core.compute.instances.nics import Nic
from core.hosts import findings, hosts
from core.network import auto, fabric, networks, ports, routers, subnets
from core.network.fabric import HostNetworking
from core.operations import engine
from core.operations.operations import Operation, State
from hostd.crash import labels as labels_of
from hostd.relay import STATE
from hostd.serve import drivers
from hostd.spec import Act, Acted, Apply, NetworkingSpec, ObjectKind, Want, dump
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import EAST, SETTINGS, restore
from tests.e2e.raw import raw_link
from tests.lab import outside

pytestmark = pytest.mark.e2e

GUEST = "guest"
MAZE = "maze"
HOST = EAST

ENGINE_LABELS = engine.labels()
HOST_LABELS = list(labels_of(drivers(state=Path("/nowhere"), run=Path("/nowhere"), memory=False)))

POWER = {
    # operation kind: (the status it starts from, the verb, the status it ends in)
    "instance.start": ("SHUTOFF", "start", "ACTIVE"),
    "instance.stop": ("ACTIVE", "stop", "SHUTOFF"),
    "instance.pause": ("ACTIVE", "pause", "PAUSED"),
    "instance.unpause": ("PAUSED", "unpause", "ACTIVE"),
    "instance.suspend": ("ACTIVE", "suspend", "SUSPENDED"),
    "instance.resume": ("SUSPENDED", "resume", "ACTIVE"),
    "instance.reboot_soft": ("ACTIVE", "reboot_soft", "ACTIVE"),
    "instance.reboot_hard": ("ACTIVE", "reboot_hard", "ACTIVE"),
}

OF_HOST_STEP = {
    # Where a step of the host is met; those not named here are met by a create.
    "instance.cut": "instance.delete",
    "instance.undefine": "instance.delete",
    "instance.erase": "instance.delete",
    "instance.resume": "instance.resume",
    "instance.unpause": "instance.unpause",
    "instance.pause": "instance.pause",
    "instance.suspend": "instance.suspend",
    "instance.stop": "instance.stop",
    "instance.attach_nics": "instance.attach_interface",
    "instance.detach_nics": "instance.detach_interface",
    "networking.shaping": "port.limits",
    "networking.shaping_remove": "instance.delete",
    "networking.metadata_remove": "instance.delete",
    "networking.dhcp_remove": "instance.delete",
    "networking.advertisers_remove": "instance.delete",
    "networking.routers_remove": "instance.delete",
    "networking.links_remove": "instance.delete",
    "networking.firewall_remove": "networking.absent",
    "networking.forget": "networking.absent",
    "act.reboot_soft": "instance.reboot_soft",
    "act.reboot_hard": "instance.reboot_hard",
    "act.power_off_found": "act.power_off_found",
    "act.adopt": "act.adopt",
}

OF_HOST_LABEL = {
    # What every apply and every act meets is tried under several.
    "instance:intent": ("instance.create", "instance.delete", "instance.stop"),
    "instance:outcome": ("instance.create", "instance.delete", "instance.stop"),
    "networking:intent": ("instance.create", "instance.delete"),
    "networking:outcome": ("instance.create", "instance.delete"),
    "act:intent": ("instance.reboot_soft", "instance.reboot_hard"),
    "act:outcome": ("instance.reboot_soft", "instance.reboot_hard"),
}


def _engine_cases() -> Iterator[tuple[str, str]]:
    for label in ENGINE_LABELS:
        noun, _, rest = label.partition(".")
        yield f"{noun}.{rest.partition(':')[0].partition('.')[0]}", label


def _host_cases() -> list[tuple[str, str]]:
    cases = [
        (scenario, label)
        for label in HOST_LABELS
        for scenario in OF_HOST_LABEL.get(label, (OF_HOST_STEP.get(label.partition(":")[0], "instance.create"),))
    ]
    # Those of one verb follow each other: they take over each other's guest.
    return sorted(cases, key=lambda case: [*POWER].index(case[0]) if case[0] in POWER else -1)


@pytest.fixture(scope="module")
def impatient(spine: Cloud) -> Iterator[Cloud]:
    """Guests here have hardly begun to boot: none of them would hear the power button, so none is given the time."""
    spine.configure(**SETTINGS | {"shutdown_timeout": 1})
    restore(spine)
    spine.clear()
    _make_maze(spine)
    yield spine
    spine.configure(**SETTINGS)
    restore(spine)
    spine.clear()
    _take_maze(spine)


def _make_maze(cloud: Cloud) -> None:
    """A network that takes everything a host can do: IPv4 and IPv6, a router, a way out."""
    with cloud.store.write() as session:
        ctx = cloud.ctx
        hosts.update_host(session, ctx, HOST, physnets={"ext": outside.CARD})
        auto.auto(
            session, ctx, cloud.config, physical_network="ext", cidr=outside.CIDR, gateway=outside.GATEWAY,
            pool=("203.0.113.100", "203.0.113.199"),
        )  # fmt: skip
        made = networks.create(session, ctx, cloud.config, name=MAZE)
        router = routers.create(session, ctx, name=MAZE, external_gateway="public")
        for name, cidr, mode in (("four", "10.90.0.0/24", None), ("six", "fd00:90::/64", "slaac")):
            subnets.create(
                session, ctx, name=name, network=made.id, project_id=made.project_id, cidr=cidr, ipv6_mode=mode
            )
            routers.add_subnet(session, ctx, router.id, name)


def _take_maze(cloud: Cloud) -> None:
    with cloud.store.write() as session:
        ctx = cloud.ctx
        routers.unset_gateway(session, ctx, MAZE)
        for name in ("four", "six"):
            routers.remove_subnet(session, ctx, MAZE, name)
        routers.delete(session, ctx, MAZE)
        for name in (MAZE, "public"):
            networks.delete(session, ctx, name)
        hosts.update_host(session, ctx, HOST, physnets={})
    cloud.until_told()


@pytest.fixture
def crashing(impatient: Cloud) -> Cloud:
    """The cloud as the case before left it, its guest included: a new one each time would take most of the time."""
    restore(impatient)
    return impatient


@pytest.mark.parametrize(("scenario", "label"), _engine_cases())
def test_the_engine_dies(crashing: Cloud, scenario: str, label: str) -> None:
    play(crashing, scenario, label, crashing.arm, _engine_again)


@pytest.mark.parametrize(("scenario", "label"), _host_cases())
def test_the_host_daemon_dies(crashing: Cloud, scenario: str, label: str) -> None:
    play(crashing, scenario, label, lambda label: crashing.arm_host(HOST, label), lambda cloud: None)


def _engine_again(cloud: Cloud) -> None:
    cloud.until_engine_ended()
    cloud.start_engine()


def play(cloud: Cloud, scenario: str, label: str, arm: Callable[[str], Path], again: Callable[[Cloud], None]) -> None:
    """Prepare, arm, ask, see the process die, have it started again, and see that the operation came right."""
    act, end = SCENARIOS[scenario](cloud)
    if label.startswith("image:"):
        _forget_images(cloud)
    file = arm(label)
    try:
        operation = act()
        began = time.monotonic()
        cloud.until(lambda: not file.exists() or _over(cloud, operation), f"{label} is met", every=0.01)
        # The last labels are met just after the operation has ended.
        unmet = f"{scenario} meets {label}; when it never does, another scenario must be told of it"
        cloud.until(lambda: not file.exists(), unmet, patience=5, every=0.01)
    finally:
        file.unlink(missing_ok=True)
    again(cloud)
    if operation is not None:
        assert cloud.ended(operation.id).state == State.SUCCEEDED, cloud.operation(operation.id).error
    end()
    print(f"\n{label}: right again after {time.monotonic() - began:.2f} s", end="")
    assert cloud.verify() == []
    assert cloud.findings() == []


def _over(cloud: Cloud, operation: Operation | None) -> bool:
    return operation is not None and cloud.operation(operation.id).state == State.SUCCEEDED


def _forget_images(cloud: Cloud) -> None:
    """The host's cache is empty, and the engine knows."""
    cloud.stop_engine()
    for path in cloud.inside(HOST, f"{STATE}/images").iterdir():
        if path.is_file():
            path.unlink()
    cloud.start_engine()
    cloud.until_up(HOST)


# ---------------------------------------------------------------------------- the scenarios

Scenario = tuple[Callable[[], Operation | None], Callable[[], None]]
"""What is done while the crash point is armed, and what must be so in the end."""


def _with_guest(cloud: Cloud, status: str) -> str:
    """There is one guest, in this state; its id."""
    back = {"SHUTOFF": "start", "PAUSED": "unpause", "SUSPENDED": "resume"}
    there = {"SHUTOFF": "stop", "PAUSED": "pause", "SUSPENDED": "suspend"}
    now = {cloud.status(uuid) for uuid in cloud.instances()}
    if len(now) != 1 or not now <= {"ACTIVE", *back}:
        cloud.clear()
        cloud.launch(GUEST, host=HOST, networks=(MAZE,))
    for verb in (back.get(cloud.status(GUEST)), there.get(status)):
        if verb is not None and cloud.status(GUEST) != status:
            cloud.succeeded(cloud.start_power(GUEST, verb).id)
    return cloud.instance(GUEST).id


def _create(cloud: Cloud) -> Scenario:
    cloud.clear()

    def act() -> Operation:
        return cloud.create(GUEST, host=HOST, networks=(MAZE,), config_drive=True).operations[0]

    return act, lambda: _is(cloud, "ACTIVE")


def _delete(cloud: Cloud) -> Scenario:
    uuid = _with_guest(cloud, "ACTIVE")
    _limit(cloud, 2000)
    cloud.until_told()

    def end() -> None:
        cloud.until_told()
        assert uuid not in cloud.instances()
        assert not cloud.inside(HOST, f"{STATE}/instances/{uuid}").exists()

    return lambda: cloud.start_delete(GUEST), end


def _power(kind: str) -> Callable[[Cloud], Scenario]:
    before, verb, after = POWER[kind]

    def prepare(cloud: Cloud) -> Scenario:
        _with_guest(cloud, before)
        if verb == "reboot_soft":
            return _soft_reboot(cloud)
        return lambda: cloud.start_power(GUEST, verb), lambda: _is(cloud, after)

    return prepare


def _soft_reboot(cloud: Cloud) -> Scenario:
    """Only a guest that has booted hears the button: before, and again after, for the case that follows."""
    if not cloud.boots(GUEST):
        cloud.booted(GUEST)
    boots = cloud.boots(GUEST)

    def end() -> None:
        _is(cloud, "ACTIVE")
        cloud.booted(GUEST, boots=boots + 1)

    return lambda: cloud.start_power(GUEST, "reboot_soft"), end


def _reap(cloud: Cloud) -> Scenario:
    """A guest that a host still has although its instance was deleted: libvirt was given it back by hand."""
    uuid = _with_guest(cloud, "ACTIVE")
    xml = cloud.hosts[HOST].run(["virsh", "dumpxml", "--inactive", uuid]).stdout
    cloud.succeeded(cloud.start_delete(GUEST).id)
    cloud.hosts[HOST].run(["virsh", "define", "/dev/stdin"], input=xml)
    cloud.restart_engine()
    cloud.until(lambda: any(finding.object_id == uuid for finding in cloud.findings()), "the guest is found")

    def end() -> None:
        assert uuid not in cloud.hosts[HOST].run(["virsh", "list", "--all", "--uuid"]).stdout
        assert cloud.findings() == []

    return lambda: cloud.ask(findings.reap, uuid), end


def _repair(cloud: Cloud) -> Scenario:
    _with_guest(cloud, "ACTIVE")
    return lambda: cloud.ask(findings.repair_networking, HOST), lambda: _is(cloud, "ACTIVE")


def _limit(cloud: Cloud, kbit: int) -> None:
    (port,) = cloud.ports(GUEST)
    cloud.ask(ports.set, port.id, ingress_kbit=kbit, egress_kbit=kbit)


def _limits(cloud: Cloud) -> Scenario:
    """A running guest's bandwidth is limited."""
    _with_guest(cloud, "ACTIVE")
    _limit(cloud, 1000)
    cloud.until_told()

    def end() -> None:
        cloud.until_up(HOST)
        cloud.until_told()

    return lambda: _limit(cloud, 3000), end


def _absent(cloud: Cloud) -> Scenario:
    """All networking of a host is taken away, as when the host is removed; the next engine gives it what is its own."""
    cloud.clear()
    cloud.until_told()
    cloud.stop_engine()
    row = cloud.host(HOST)
    with cloud.store.write() as session:
        fabric.renew(session, row.id)
        generation = session.get_one(HostNetworking, row.id).generation
    absent = Apply(
        kind=ObjectKind.NETWORKING,
        uuid=row.id,
        generation=generation,
        spec=dump(NetworkingSpec(uuid=row.id, want=Want.ABSENT)),
    )

    async def ask() -> None:
        async with raw_link(cloud, HOST) as link:
            await link.call_until_known("apply", absent, deadline=30)

    def end() -> None:
        cloud.start_engine()
        cloud.until_up(HOST)
        cloud.until_told()

    return lambda: asyncio.run(ask()), end


def _attach(cloud: Cloud) -> Scenario:
    """A second card for a running guest."""
    _with_guest(cloud, "ACTIVE")
    if not cloud.boots(GUEST):
        cloud.booted(GUEST)
    if len(cloud.ports(GUEST)) > 1:
        cloud.succeeded(_pull(cloud).id)

    def end() -> None:
        _is(cloud, "ACTIVE")
        assert len(cloud.ports(GUEST)) == 2

    return lambda: cloud.ask(interfaces.attach, GUEST, Nic(network=MAZE)), end


def _pull(cloud: Cloud) -> Operation:
    return cloud.ask(interfaces.detach, GUEST, cloud.ports(GUEST)[-1].id)


def _detach(cloud: Cloud) -> Scenario:
    _with_guest(cloud, "ACTIVE")
    if not cloud.boots(GUEST):
        cloud.booted(GUEST)
    if len(cloud.ports(GUEST)) == 1:
        cloud.succeeded(cloud.ask(interfaces.attach, GUEST, Nic(network=MAZE)).id)

    def end() -> None:
        _is(cloud, "ACTIVE")
        assert len(cloud.ports(GUEST)) == 1

    return lambda: _pull(cloud), end


def _update(cloud: Cloud) -> Scenario:
    """A guest's metadata changes while it runs."""
    _with_guest(cloud, "ACTIVE")

    def act() -> Operation:
        cloud.ask(verbs.set_properties, GUEST, {"at": str(time.time_ns())})
        return next(one for one in cloud.open_operations() if one.kind == "instance.update")

    return act, lambda: _is(cloud, "ACTIVE")


def _act(verb: str, status: str) -> Callable[[Cloud], Scenario]:
    """An act of the host that no operation asks for yet."""

    def prepare(cloud: Cloud) -> Scenario:
        uuid = _with_guest(cloud, "ACTIVE")
        body = Act(request=f"by hand {time.time_ns()}", verb=verb, uuid=uuid)

        async def ask() -> Acted:
            async with raw_link(cloud, HOST) as link:
                answer: Acted = await link.call_until_known("act", body, deadline=30)
                return answer

        def end() -> None:
            assert asyncio.run(ask()).request == body.request, "asked again, it answers as it did"
            cloud.until(lambda: cloud.status(GUEST) == status, f"the guest is {status}")

        def act() -> None:
            with contextlib.suppress(TimeoutError):
                asyncio.run(ask())

        return act, end

    return prepare


def _is(cloud: Cloud, status: str) -> None:
    assert cloud.status(GUEST) == status
    assert len(cloud.instances()) == 1


SCENARIOS: dict[str, Callable[[Cloud], Scenario]] = {
    "instance.create": _create,
    "instance.delete": _delete,
    **{kind: _power(kind) for kind in POWER},
    "guest.reap": _reap,
    "host.repair_networking": _repair,
    "instance.update": _update,
    "instance.attach_interface": _attach,
    "instance.detach_interface": _detach,
    "port.limits": _limits,
    "networking.absent": _absent,
    "act.power_off_found": _act("power_off_found", "SHUTOFF"),
    "act.adopt": _act("adopt", "ACTIVE"),
}
