"""dnsmasq is told exactly this, and nothing that was not parsed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

from hostd.network.document import Document
from hostd.network.services import configuration
from hostd.network.services.configuration import Files
from hostd.spec import NameRecord, NetworkSpec, PortAddress
from tests.hostd.network.services.documents import NETWORK, SIX, document, network, port, route, routed, subnet

GOLDEN = Path(__file__).parent / "golden"
FILES = Files(leases=Path("/run/x/leases"), names=Path("/run/x/names"), pid=Path("/run/x/dnsmasq.pid"))


def text(wanted: Document, *, resolvers: tuple[str, ...] = ()) -> str:
    return configuration.configuration(wanted, wanted.networks[NETWORK], files=FILES, resolvers=resolvers)


CASES = {
    "plain": (document(), ()),
    "two_subnets_and_ipv6": (
        document(
            networks=(
                network(
                    domain="p.example",
                    subnets=(
                        subnet(routes=(route("192.168.0.0/16", "10.0.0.9"),), dns_servers=("9.9.9.9", "2620:fe::fe")),
                        subnet(id="priv", cidr="10.1.0.0/26", gateway=None, service_ip="10.1.0.2"),
                        subnet(id="quiet", cidr="10.2.0.0/24", dhcp=False, service_ip=None, gateway=None),
                        SIX,
                    ),
                ),
            )
        ),
        (),
    ),
    "way_out": (routed(), ("192.0.2.53", "192.0.2.54")),
}


@pytest.mark.parametrize("name", CASES)
def test_configuration_golden(name: str) -> None:
    wanted, resolvers = CASES[name]
    golden = GOLDEN / f"{name}.conf"
    made = text(wanted, resolvers=resolvers)
    if os.environ.get("SKYDECK_WRITE_GOLDENS"):
        golden.write_text(made)
    assert made == golden.read_text()


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="asks dnsmasq itself")
@pytest.mark.parametrize("name", CASES)
def test_dnsmasq_understands_it(name: str, tmp_path: Path) -> None:
    file = tmp_path / "conf"
    wanted, resolvers = CASES[name]
    file.write_text(text(wanted, resolvers=resolvers))
    done = subprocess.run(["dnsmasq", "--test", f"--conf-file={file}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def options(wanted: Document, code: str) -> list[str]:
    """What follows `dhcp-option=tag:s0,<code>,`."""
    prefix = f"dhcp-option=tag:s0,{code}"
    return [
        line.removeprefix(prefix).removeprefix(",") for line in text(wanted).splitlines() if line.startswith(prefix)
    ]


def with_subnet(**changes: object) -> Document:
    return document(networks=(network(subnets=(subnet(**changes),)),))


def test_classless_routes_hold_metadata_the_way_out_and_the_users_own() -> None:
    assert options(with_subnet(routes=(route("172.16.0.0/12", "10.0.0.5"),)), "121") == [
        "169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1,172.16.0.0/12,10.0.0.5"
    ]
    assert options(with_subnet(gateway=None), "121") == ["169.254.169.254/32,10.0.0.2"]
    # The user's default route is the only one.
    assert options(with_subnet(routes=(route("0.0.0.0/0", "10.0.0.5"),)), "121") == [
        "169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.5"
    ]


def test_routes_that_no_answer_holds_are_left_out_and_named() -> None:
    wanted = with_subnet(routes=tuple(route(f"10.9.{n}.1/32", "10.0.0.5") for n in range(40)))
    (line,) = options(wanted, "121")
    kept = line.count("/32,10.0.0.5")
    assert 0 < kept < 40
    left = configuration.left_out(wanted, wanted.networks[NETWORK])
    assert len(left) == 40 - kept
    assert left[-1] == "10.9.39.1/32 via 10.0.0.5"
    assert configuration.left_out(document(), network()) == ()


def test_name_servers_are_the_users_or_the_service_address() -> None:
    assert options(document(), "6") == ["10.0.0.2"]
    assert options(with_subnet(dns_servers=("9.9.9.9", "8.8.8.8")), "6") == ["9.9.9.9,8.8.8.8"]
    assert options(with_subnet(dns_servers=("0.0.0.0",)), "6") == [""], "neutron's word for none at all"


def test_one_leases_file_for_each_port_here() -> None:
    wanted = document(ports=(port(), port(2, mac="FA:16:3E:00:00:0B")))
    assert configuration.leases(wanted, wanted.networks[NETWORK]) == {
        "skt-aaaaaaa1aaa": "fa:16:3e:00:00:01,10.0.0.10,web-1,86400\n",
        "skt-aaaaaaa2aaa": "fa:16:3e:00:00:0b,10.0.0.11,web-2,86400\n",
    }


def test_a_port_with_two_addresses_has_two_lines_and_ipv6_none() -> None:
    subnets = (subnet(), subnet(id="priv", cidr="10.1.0.0/26", gateway=None, service_ip="10.1.0.2"), SIX)
    ips = {"four": "10.0.0.10", "priv": "10.1.0.9", "six": "fd00:1::9"}
    addresses = tuple(PortAddress(subnet=name, ip=ip) for name, ip in ips.items())
    wanted = document(networks=(network(subnets=subnets),), ports=(port(addresses=addresses),))
    assert configuration.leases(wanted, wanted.networks[NETWORK]) == {
        "skt-aaaaaaa1aaa": "fa:16:3e:00:00:01,10.0.0.10,web-1,86400\nfa:16:3e:00:00:01,10.1.0.9,web-1,86400\n"
    }


@pytest.mark.parametrize("hostname", ["ignore", "infinite", "42", "24h", ""])
def test_names_that_dnsmasq_would_misread_are_left_out(hostname: str) -> None:
    wanted = document(ports=(port(hostname=hostname),))
    (lease,) = configuration.leases(wanted, wanted.networks[NETWORK]).values()
    assert lease == "fa:16:3e:00:00:01,10.0.0.10,86400\n"


def test_hosts_are_those_of_the_whole_network() -> None:
    assert configuration.hosts(network()) == "10.0.0.10 web-1\n10.0.0.77 far\n"
    named = network(domain="p.example", names=(NameRecord(name="web-1", ip="fd00:1::9"),) * 2)
    assert configuration.hosts(named) == "fd00:1::9 web-1.p.example web-1\n"


def served(wanted: Document) -> bool:
    return configuration.serves(wanted, wanted.networks[NETWORK])


def test_served_is_who_has_a_service_address_and_guests_here() -> None:
    assert served(document())
    assert not served(document(ports=()))
    assert not served(with_subnet(dhcp=False, service_ip=None))
    assert not served(document(networks=(network(external=True),)))


@pytest.mark.parametrize(
    ("wanted", "gateway"),
    [
        (routed(), "10.0.0.1"),
        (routed(external=False), None),
        (routed(snat=False), None),
        (routed(gateways=()), None),
        (document(), None),
    ],
    ids=["external", "internal", "without SNAT", "host without address", "alone"],
)
def test_the_way_out_is_a_router_that_answers_come_back_by(wanted: Document, gateway: str | None) -> None:
    assert configuration.way_out(wanted, wanted.networks[NETWORK]) == gateway


@pytest.mark.parametrize(
    "wrong",
    [
        {"ports": (port(hostname="a,set:evil"),)},
        {"ports": (port(hostname="a\nb"),)},
        {"ports": (port(mac="*:16:3e:00:00:01"),)},
        {"ports": (port(addresses=(PortAddress(subnet="four", ip="10.0.0.10,evil"),)),)},
        {"networks": (network(names=(NameRecord(name="a b", ip="10.0.0.1"),)),)},
        {"networks": (network(domain="x\nconf-file=/etc/shadow"),)},
        {"networks": (network(subnets=(subnet(dns_servers=("9.9.9.9\nuser=root",)),)),)},
        {"networks": (network(subnets=(subnet(routes=(route("10.0.0.0/8,evil", "10.0.0.1"),)),)),)},
        {"resolvers": ("1.1.1.1\nuser=root",)},
        # Python takes anything behind the percent sign for a part of the address.
        {"resolvers": ("fe80::1%0\nuser=root",)},
        {"networks": (network(names=(NameRecord(name="a", ip="fe80::1%0\nuser=root"),)),)},
        {"networks": (network(subnets=(subnet(routes=(route("10.0.0.0/8", "fe80::1%0\nuser=root"),)),)),)},
        {"networks": (network(subnets=(subnet(), attrs.evolve(SIX, cidr="fe80::%x\nuser=root/64"))),)},
    ],
)
def test_what_is_no_address_or_name_never_gets_this_far(wrong: dict[str, tuple[NetworkSpec, ...]]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several parsers, each in its own words
        document(**wrong)
