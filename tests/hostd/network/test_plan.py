"""The driver's decisions, as a table: what is seen, what is wanted, which steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.network import dhcp, firewall, names
from hostd.network.dnsmasq import ServerSeen
from hostd.network.driver import STEPS, NetworkDriver, NetworkFound
from hostd.network.netlink import Link
from hostd.spec import ErrorCode, HostError, NetworkSpec, Want
from tests.hostd.network.samples import HOST_A, HOST_B, NETWORK, SUBNET, UUID, with_hosts

ABSENT = attrs.evolve(NETWORK, want=Want.ABSENT, subnets=())
NOTHING = NetworkFound(
    recorded=None,
    bridge=None,
    leg=None,
    namespace=False,
    service=None,
    server=ServerSeen(pid=None, digest="", hosts={}, stale=False),
    chains=False,
    allowed=frozenset(),
    taps=(),
    files=False,
)
ALL = ("record", "firewall", "bridge", "service", "dhcp")


@pytest.fixture
def driver(tmp_path: Path) -> NetworkDriver:
    return NetworkDriver(state=tmp_path, run=Path("/run/skydeck"))


def converged(spec: NetworkSpec) -> NetworkFound:
    """What there is once `spec` was applied."""
    bridge, leg = names.bridge(UUID), names.leg(UUID)
    link = Link(name=bridge, index=7, kind="bridge", mac="", mtu=spec.mtu, up=True, group=names.GROUP, master=0)
    directory = f"/run/skydeck/networks/{UUID}"
    configuration = dhcp.configuration(spec, hosts_directory=f"{directory}/hosts", pid_file=f"{directory}/dnsmasq.pid")
    return NetworkFound(
        recorded=spec,
        bridge=attrs.evolve(
            link, mac=names.mac("bridge", UUID), alternatives=frozenset({names.alternative(bridge, UUID)})
        ),
        leg=attrs.evolve(link, name=leg, index=8, kind="veth", master=7),
        namespace=True,
        service=attrs.evolve(
            link,
            name=names.SERVICE,
            kind="veth",
            mac=names.mac("service", UUID),
            group=0,
            addresses=dhcp.service_addresses(spec),
        ),
        server=ServerSeen(pid=99, digest=dhcp.digest(configuration), hosts=dhcp.hosts(spec), stale=False),
        chains=True,
        allowed=firewall.allowed(spec),
        taps=("skt-aaaaaaaaaaa",),
        files=True,
    )


def steps(driver: NetworkDriver, spec: NetworkSpec, seen: NetworkFound) -> tuple[str, ...]:
    return tuple(step.name for step in driver.plan(spec, seen))


def test_a_bare_host_gets_everything_in_order(driver: NetworkDriver) -> None:
    assert steps(driver, NETWORK, NOTHING) == ALL


def test_protection_stands_before_anything_a_guest_could_reach() -> None:
    assert STEPS.index("firewall") < STEPS.index("bridge")


def test_a_converged_network_needs_nothing(driver: NetworkDriver) -> None:
    assert steps(driver, NETWORK, converged(NETWORK)) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"recorded": None}, ("record",)),
        ({"chains": False}, ("firewall",)),
        ({"allowed": frozenset()}, ("firewall",)),
        ({"bridge": None}, ("bridge", "service", "dhcp")),
        ({"leg": None}, ("service", "dhcp")),
        ({"service": None}, ("service", "dhcp")),
        ({"server": ServerSeen(pid=None, digest="", hosts=dhcp.hosts(NETWORK), stale=False)}, ("dhcp",)),
        ({"taps": ()}, ()),
    ],
)
def test_what_is_missing_is_mended_alone(
    driver: NetworkDriver, change: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert steps(driver, NETWORK, attrs.evolve(converged(NETWORK), **change)) == expected


@pytest.mark.parametrize("part", ["bridge", "leg", "service"])
@pytest.mark.parametrize("change", [{"mtu": 1400}, {"up": False}])
def test_a_wrong_link_is_mended(driver: NetworkDriver, part: str, change: dict[str, Any]) -> None:
    seen = converged(NETWORK)
    seen = attrs.evolve(seen, **{part: attrs.evolve(getattr(seen, part), **change)})
    assert steps(driver, NETWORK, seen) == (("bridge",) if part == "bridge" else ("service", "dhcp"))


def test_a_new_lease_touches_no_link(driver: NetworkDriver) -> None:
    assert steps(driver, with_hosts(HOST_A, HOST_B), converged(NETWORK)) == ("record", "firewall", "dhcp")


def test_a_lease_that_was_taken_away_untold_is_told(driver: NetworkDriver) -> None:
    seen = converged(NETWORK)
    stale = attrs.evolve(seen, server=attrs.evolve(seen.server, stale=True))
    assert steps(driver, NETWORK, stale) == ("dhcp",)


def test_dhcp_switched_off_takes_the_service_away(driver: NetworkDriver) -> None:
    silent = attrs.evolve(NETWORK, subnets=(attrs.evolve(SUBNET, dhcp=False, service_ip=None),))
    assert steps(driver, silent, converged(NETWORK)) == ("record", "service", "dhcp")


def test_absent_removes_what_there_is_and_only_then(driver: NetworkDriver) -> None:
    assert steps(driver, ABSENT, attrs.evolve(converged(NETWORK), taps=())) == ("remove",)
    assert steps(driver, ABSENT, attrs.evolve(NOTHING, files=True)) == ("remove",)
    assert steps(driver, ABSENT, NOTHING) == ()


def test_a_network_is_not_removed_under_its_guests(driver: NetworkDriver) -> None:
    with pytest.raises(HostError, match="skt-aaaaaaaaaaa") as refused:
        driver.plan(ABSENT, converged(NETWORK))
    assert refused.value.code is ErrorCode.BAD_STATE


def test_a_short_name_taken_by_another_network_is_a_conflict(driver: NetworkDriver) -> None:
    seen = converged(NETWORK)
    assert seen.bridge is not None
    other = attrs.evolve(seen.bridge, alternatives=frozenset({f"skb-{UUID[:-1]}9"}))
    with pytest.raises(HostError) as refused:
        driver.plan(NETWORK, attrs.evolve(seen, bridge=other))
    assert refused.value.code is ErrorCode.CONFLICT


def test_bad_addresses_are_refused_before_anything_is_done(driver: NetworkDriver) -> None:
    with pytest.raises(HostError) as refused:
        driver.plan(with_hosts(attrs.evolve(HOST_A, ip="10.0.0.10/8")), NOTHING)
    assert refused.value.code is ErrorCode.NETWORK


def test_what_is_no_uuid_never_becomes_a_path(driver: NetworkDriver) -> None:
    with pytest.raises(ValueError, match="badly formed"):
        names.short("../../../etc")
