"""dnsmasq is told exactly this, and nothing that was not parsed."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from hostd.network import dhcp, names
from tests.hostd.network.samples import HOST_A, HOST_B, NETWORK, PRIVATE, SUBNET, UNSERVED, with_hosts

GOLDEN = Path(__file__).parent / "golden"


def test_configuration_golden() -> None:
    spec = attrs.evolve(NETWORK, subnets=(SUBNET, PRIVATE, UNSERVED))
    text = dhcp.configuration(spec, hosts_directory="/run/x/hosts", pid_file="/run/x/dnsmasq.pid")
    assert text == (GOLDEN / "dnsmasq.conf").read_text()


def test_one_file_for_each_port() -> None:
    assert dhcp.hosts(with_hosts(HOST_A, HOST_B)) == {
        "skt-aaaaaaaaaaa": "fa:16:3e:00:00:0a,10.0.0.10,web-1,86400\n",
        "skt-bbbbbbbbbbb": "fa:16:3e:00:00:0b,10.0.0.11,web-2,86400\n",
    }


def test_a_port_with_two_addresses_has_two_lines() -> None:
    second = attrs.evolve(PRIVATE, hosts=(attrs.evolve(HOST_A, ip="10.1.0.9"),))
    files = dhcp.hosts(attrs.evolve(NETWORK, subnets=(SUBNET, second)))
    assert files == {
        names.tap(HOST_A.port_id): "fa:16:3e:00:00:0a,10.0.0.10,web-1,86400\nfa:16:3e:00:00:0a,10.1.0.9,web-1,86400\n"
    }


@pytest.mark.parametrize("hostname", ["ignore", "infinite", "42", "24h", ""])
def test_names_that_dnsmasq_would_misread_are_left_out(hostname: str) -> None:
    (text,) = dhcp.hosts(with_hosts(attrs.evolve(HOST_A, hostname=hostname))).values()
    assert text == "fa:16:3e:00:00:0a,10.0.0.10,86400\n"


@pytest.mark.parametrize(
    "change",
    [
        {"hostname": "a,set:evil"},
        {"hostname": "a\nb"},
        {"hostname": "a b"},
        {"mac": "fa:16:3e:00:00"},
        {"mac": "*:16:3e:00:00:01"},
        {"ip": "10.0.0.10,evil"},
        {"ip": "10.9.9.9"},
        {"port_id": "../../etc"},
    ],
)
def test_what_is_no_address_or_name_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several parsers, each in its own words
        dhcp.hosts(with_hosts(attrs.evolve(HOST_A, **change)))


def test_service_addresses_carry_the_prefix() -> None:
    spec = attrs.evolve(NETWORK, subnets=(SUBNET, PRIVATE, UNSERVED))
    assert dhcp.service_addresses(spec) == {"10.0.0.2/24", "10.1.0.2/26"}
