"""The nouns of the network: made, listed, shown, changed and deleted, as far as no host is needed."""

from __future__ import annotations

import dataclasses

import pytest

from core import cloud
from tests.tui.cli.conftest import Cli
from tui.cli.nouns.networks import NETWORK

OUTSIDE = ["--provider-network-type", "flat", "--provider-physical-network", "ext"]


@pytest.fixture
def lan(cli: Cli) -> Cli:
    """A network `lan` with a subnet of the same name."""
    cli.ok("network", "create", "lan")
    cli.ok("subnet", "create", "--network", "lan", "--subnet-range", "10.9.0.0/24", "lan")
    return cli


@pytest.fixture
def way_out(lan: Cli) -> Cli:
    """An external network `out`, and a router `r` from `lan` to it."""
    lan.ok("network", "create", "--external", *OUTSIDE, "out")
    lan.ok("subnet", "create", "--network", "out", "--subnet-range", "203.0.113.0/24", "--no-dhcp", "out")
    lan.ok("router", "create", "--external-gateway", "out", "r")
    lan.ok("router", "add", "subnet", "r", "lan")
    return lan


def test_networks(cli: Cli) -> None:
    made = cli.json("network", "create", "--mtu", "1400", "--description", "d", "--dns-domain", "lab.example.", "net")
    assert (made["mtu"], made["description"], made["subnets"]) == (1400, "d", [])
    assert (made["dns_domain"], made["port_security_enabled"]) == ("lab.example", True)
    assert (made["provider:network_type"], made["provider:physical_network"]) == ("vxlan", None)
    cli.ok("network", "set", "net", "--name", "lan", "--disable", "--disable-port-security", "--flood", "--share")
    shown = cli.json("network", "show", "lan")
    assert (shown["admin_state_up"], shown["port_security_enabled"], shown["flood"]) == (False, False, True)
    assert "| DOWN" in cli.ok("network", "show", "lan", "-c", "admin_state_up")
    assert "an MTU cannot be 1500" in cli.refused(2, "network", "set", "lan", "--mtu", "1500")
    cli.ok("network", "create", "--external", *OUTSIDE, "out")

    def listed(*options: str) -> list[str]:
        return cli.ok("network", "list", "-f", "value", "-c", "Name", *options).split()

    assert listed() == ["lan", "out"]
    assert listed("--external") == ["out"]
    assert listed("--internal") == listed("--share") == listed("--disable") == ["lan"]
    [row] = cli.json("network", "list", "--long", "--external")
    assert (row["Network Type"], row["Router Type"], row["State"]) == ("flat", True, True)
    cli.ok("network", "delete", "lan", "out")
    assert listed() == []
    assert not cli.engines_asked  # no host carried them


def test_what_a_network_is_made_of_is_for_admins(cli: Cli) -> None:
    cli.ok("network", "create", "net")
    with cli.store.read() as session:
        admin = cloud.context(session, cli.config, source="cli")
        member = dataclasses.replace(admin, roles=frozenset({"member"}))
        assert NETWORK.find(session, admin, "net")["segmentation_id"] == 1001
        assert NETWORK.find(session, member, "net")["segmentation_id"] is None


def test_a_network_is_shared_with_a_project(cli: Cli) -> None:
    project = cli.json("project", "create", "dev")["id"]
    network = cli.json("network", "create", "net")["id"]
    made = cli.json(
        "network", "rbac", "create", "--type", "network", "--action", "access_as_shared", "--target-project", "dev",
        "net",
    )  # fmt: skip
    assert (made["object_id"], made["target_project_id"]) == (network, project)
    assert cli.json("network", "list", "--project", "dev") == [{"ID": network, "Name": "net", "Subnets": []}]
    [row] = cli.json("network", "rbac", "list", "--network", "net", "--long")
    assert (row["ID"], row["Object ID"], row["Action"]) == (made["id"], network, "access_as_shared")
    assert cli.json("network", "rbac", "show", made["id"]) == made
    assert "one target" in cli.refused(2, "network", "rbac", "create", "--action", "access_as_shared", "net")
    assert "cannot be shared" in cli.refused(
        2, "network", "rbac", "create", "--type", "port", "--action", "x", "--target-all-projects", "net"
    )
    assert cli.run("network", "rbac", "delete", made["id"]).stderr == f"network rbac {made['id']}: deleted\n"
    assert cli.json("network", "list", "--project", "dev") == []


def test_the_operators_one_command(cli: Cli) -> None:
    command = ["network", "auto", "--physical-network", "ext", "--cidr", "203.0.113.0/24", "--gateway", "203.0.113.9"]
    assert "hint: skydeck host set --physnet ext=INTERFACE HOST" in cli.refused(5, *command)
    cli.host("h1")
    cli.ok("host", "set", "h1", "--physnet", "ext=eth1", "--physnet", "dc=br0", "--vtep", "192.0.2.9")
    made = cli.json(*command, "--pool", "203.0.113.100-203.0.113.199")
    assert (made["name"], made["is_default"], made["router:external"]) == ("public", True, True)
    shown = cli.json("subnet", "show", "public")
    assert shown["allocation_pools"] == [{"start": "203.0.113.100", "end": "203.0.113.199"}]
    assert (shown["gateway_ip"], shown["enable_dhcp"]) == ("203.0.113.9", False)
    assert "is no pool" in cli.refused(2, *command, "--pool", "203.0.113.100")
    host = cli.json("host", "show", "h1")
    assert (host["physical_networks"], host["tunnel_endpoint"]) == ({"dc": "br0", "ext": "eth1"}, "192.0.2.9")
    cli.ok("host", "set", "h1", "--physnet", "dc=", "--vtep", "")
    host = cli.json("host", "show", "h1")
    assert (host["physical_networks"], host["tunnel_endpoint"]) == ({"ext": "eth1"}, "192.0.2.1")


def test_the_quick_start(cli: Cli) -> None:
    """As README.md has it, up to where hosts are needed."""
    cli.host("kvm1")
    cli.image("debian")
    cli.ok("host", "set", "kvm1", "--physnet", "ext=eth1")
    cli.ok(
        "network", "auto", "--physical-network", "ext", "--cidr", "203.0.113.0/24", "--pool", "203.0.113.9-203.0.113.99"
    )
    cli.ok("server", "create", "--image", "debian", "--flavor", "m1.tiny", "web")
    cli.ok("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", "default")
    port = cli.ok("port", "list", "--server", "web", "-f", "value", "-c", "ID").strip()
    made = cli.json("floating", "ip", "create", "--port", port, "public")
    assert (made["fixed_ip_address"], made["server"], made["pending_on"]) == ("10.0.0.3", "web", ["kvm1"])
    router = cli.json("router", "show", "default")
    assert [each["ip_address"] for each in router["interfaces_info"]] == ["10.0.0.1"]
    assert [row["Name"] for row in cli.json("network", "list")] == ["default", "public"]

    cli.ok("network", "create", "db")
    cli.ok("subnet", "create", "--network", "db", "--subnet-range", "10.0.7.0/24", "db")
    cli.ok("router", "add", "subnet", "default", "db")
    cli.ok("server", "create", "--image", "debian", "--flavor", "m1.tiny", "--network", "db", "db1")
    assert [row["Status"] for row in cli.json("port", "list", "--server", "db1")] == ["DOWN"]


def test_subnets(cli: Cli) -> None:
    cli.ok("network", "create", "net")
    made = cli.json(
        "subnet", "create", "--network", "net", "--subnet-range", "10.9.0.0/24", "--gateway", "none",
        "--dns-nameserver", "9.9.9.9", "--allocation-pool", "start=10.9.0.10,end=10.9.0.20",
        "--host-route", "destination=10.0.0.0/8,gateway=10.9.0.254", "--ip-version", "4", "sub",
    )  # fmt: skip
    assert made["gateway_ip"] is None
    assert made["allocation_pools"] == [{"start": "10.9.0.10", "end": "10.9.0.20"}]
    assert cli.json("network", "show", "net")["subnets"] == [made["id"]]
    assert "destination='10.0.0.0/8', gateway='10.9.0.254'" in cli.ok("subnet", "show", "sub")
    cli.ok(
        "subnet", "set", "sub", "--name", "low", "--gateway", "10.9.0.1", "--dns-nameserver", "1.1.1.1",
        "--allocation-pool", "start=10.9.0.30,end=10.9.0.40", "--no-host-route", "--description", "d",
    )  # fmt: skip
    shown = cli.json("subnet", "show", "low")
    assert shown["dns_nameservers"] == ["9.9.9.9", "1.1.1.1"]
    assert [pool["start"] for pool in shown["allocation_pools"]] == ["10.9.0.10", "10.9.0.30"]
    assert (shown["gateway_ip"], shown["host_routes"], shown["description"]) == ("10.9.0.1", [], "d")
    cli.ok("subnet", "set", "low", "--no-dns-nameservers", "--dns-nameserver", "8.8.8.8", "--gateway", "none")
    assert cli.json("subnet", "show", "low", "-c", "dns_nameservers", "-c", "gateway_ip") == {
        "dns_nameservers": ["8.8.8.8"],
        "gateway_ip": None,
    }
    six = ["subnet", "create", "--network", "net", "--subnet-range", "fd00:9::/64"]
    made = cli.json(*six, "--ipv6-ra-mode", "slaac", "--ipv6-address-mode", "slaac", "six")
    assert (made["ip_version"], made["ipv6_ra_mode"], made["ipv6_address_mode"]) == (6, "slaac", "slaac")
    assert [row["Name"] for row in cli.json("subnet", "list", "--network", "net", "--ip-version", "6")] == ["six"]
    block = ["subnet", "create", "--network", "net", "--subnet-range", "10.9.1.0/24"]
    assert "hint: For example --allocation-pool start=" in cli.refused(2, *block, "--allocation-pool", "start=1", "s")
    assert "is no IPv6 block" in cli.refused(2, *block, "--ip-version", "6", "s")
    assert "do not go together" in cli.refused(
        2, *six, "--ipv6-ra-mode", "slaac", "--ipv6-address-mode", "dhcpv6-stateless", "s"
    )
    assert len(cli.json("subnet", "list")) == 2
    cli.ok("subnet", "delete", "low", "six")


def test_ports(lan: Cli) -> None:
    [dhcp] = lan.json("port", "list", "--network", "lan", "--long")
    assert (dhcp["Device Owner"], [ip["ip_address"] for ip in dhcp["Fixed IP Addresses"]]) == (
        "network:dhcp",
        ["10.9.0.2"],
    )
    lan.ok("security", "group", "create", "web")
    made = lan.json(
        "port", "create", "--network", "lan", "--fixed-ip", "subnet=lan,ip-address=10.9.0.7", "--security-group", "web",
        "--mac-address", "fa:16:3e:00:00:07", "--allowed-address", "ip-address=10.9.0.128/28",
        "--ingress-limit", "8000", "p",
    )  # fmt: skip
    assert (made["mac_address"], made["security_groups"], made["ingress_limit"]) == (
        "fa:16:3e:00:00:07",
        ["web"],
        8000,
    )
    assert (made["status"], made["pending_on"], made["binding_host_id"]) == ("DOWN", [], "")
    lan.ok(
        "port", "set", "p", "--fixed-ip", "ip-address=10.9.0.8", "--security-group", "default", "--ingress-limit", "0",
        "--allowed-address", "ip-address=10.9.0.200,mac-address=fa:16:3e:00:00:99", "--disable",
    )  # fmt: skip
    shown = lan.json("port", "show", "p")
    assert [ip["ip_address"] for ip in shown["fixed_ips"]] == ["10.9.0.7", "10.9.0.8"]
    assert (shown["security_groups"], shown["ingress_limit"]) == (["default", "web"], None)
    assert shown["allowed_address_pairs"] == [
        {"ip_address": "10.9.0.128/28"},
        {"ip_address": "10.9.0.200", "mac_address": "fa:16:3e:00:00:99"},
    ]
    lan.ok(
        "port", "unset", "p", "--fixed-ip", "ip-address=10.9.0.7", "--security-group", "web",
        "--allowed-address", "ip-address=10.9.0.128/28",
    )  # fmt: skip
    shown = lan.json("port", "show", "p")
    assert [ip["ip_address"] for ip in shown["fixed_ips"]] == ["10.9.0.8"]
    assert (shown["security_groups"], len(shown["allowed_address_pairs"])) == (["default"], 1)
    assert "has no address 10.9.0.7" in lan.refused(3, "port", "unset", "p", "--fixed-ip", "ip-address=10.9.0.7")
    assert "exclude each other" in lan.refused(
        2, "port", "create", "--network", "lan", "--no-fixed-ip", "--fixed-ip", "subnet=lan", "q"
    )
    lan.ok("port", "set", "p", "--no-security-group", "--no-allowed-address", "--disable-port-security")
    lan.ok("port", "unset", "p", "--fixed-ip", "subnet=lan")
    shown = lan.json("port", "show", "p")
    assert (shown["fixed_ips"], shown["security_groups"], shown["port_security_enabled"]) == ([], [], False)
    assert "belongs to the network's DHCP" in lan.refused(5, "port", "delete", dhcp["ID"])
    lan.ok("port", "delete", "p")


def test_a_port_tells_the_hosts_it_waits_for(lan: Cli) -> None:
    lan.host("h1")
    lan.image()
    lan.ok("server", "create", "--image", "cirros", "--flavor", "m1.tiny", "--network", "lan", "web")
    [port] = lan.json("port", "list", "--server", "web", "--long")
    assert (port["Device Name"], port["Host"], port["Status"]) == ("web", "h1", "DOWN")
    assert lan.json("port", "show", port["ID"])["pending_on"] == ["h1"]
    assert lan.json("host", "show", "h1")["networking"] == "being told"


def test_routers(way_out: Cli) -> None:
    cli = way_out
    shown = cli.json("router", "show", "r")
    assert shown["status"] == "ACTIVE"
    assert [each["ip_address"] for each in shown["interfaces_info"]] == ["10.9.0.1"]
    gateway = shown["external_gateway_info"]
    assert (gateway["enable_snat"], gateway["external_fixed_ips"][0]["ip_address"]) == (True, "203.0.113.2")
    cli.ok("router", "set", "r", "--disable-snat", "--route", "destination=10.8.0.0/16,gateway=10.9.0.50")
    cli.ok("router", "set", "r", "--route", "destination=10.7.0.0/16,gateway=10.9.0.50", "--description", "d")
    shown = cli.json("router", "show", "r")
    assert [route["destination"] for route in shown["routes"]] == ["10.7.0.0/16", "10.8.0.0/16"]
    assert shown["external_gateway_info"]["enable_snat"] is False
    cli.ok("router", "unset", "r", "--external-gateway", "--route", "destination=10.8.0.0/16,gateway=10.9.0.50")
    shown = cli.json("router", "show", "r")
    assert (shown["external_gateway_info"], len(shown["routes"])) == (None, 1)
    assert "has no route" in cli.refused(
        3, "router", "unset", "r", "--route", "destination=1.0.0.0/8,gateway=10.9.0.50"
    )
    assert "nothing was named" in cli.refused(2, "router", "unset", "r")
    cli.ok("router", "set", "r", "--no-route", "--external-gateway", "out", "--enable-snat")
    [row] = cli.json("router", "list", "--long", "--external-gateway", "out")
    assert (row["Name"], row["Interfaces"], row["Routes"]) == ("r", 1, [])
    cli.ok("network", "create", "other")
    cli.ok("subnet", "create", "--network", "other", "--subnet-range", "10.6.0.0/24", "other")
    cli.ok("port", "create", "--network", "other", "leg")
    cli.ok("router", "add", "port", "r", "leg")
    assert [row["Name"] for row in cli.json("port", "list", "--router", "r")].count("leg") == 1
    assert "still joins lan, other" in cli.refused(5, "router", "delete", "r")
    cli.ok("router", "remove", "port", "r", "leg")
    cli.ok("router", "remove", "subnet", "r", "lan")
    cli.ok("router", "delete", "r")
    assert cli.json("router", "list") == []


def test_floating_ips(way_out: Cli) -> None:
    cli = way_out
    cli.ok("port", "create", "--network", "lan", "p")
    made = cli.json("floating", "ip", "create", "out", "--floating-ip-address", "203.0.113.50", "--description", "d")
    assert (made["floating_ip_address"], made["status"], made["port_id"]) == ("203.0.113.50", "DOWN", None)
    cli.ok("floating", "ip", "set", "203.0.113.50", "--port", "p", "--description", "mail")
    shown = cli.json("floating", "ip", "show", "203.0.113.50")
    port = cli.json("port", "show", "p")
    assert (shown["port_id"], shown["fixed_ip_address"]) == (port["id"], port["fixed_ips"][0]["ip_address"])
    assert shown["description"] == "mail"
    [row] = cli.json("floating", "ip", "list", "--port", "p")
    assert list(row) == [
        "ID", "Floating IP Address", "Fixed IP Address", "Port", "Floating Network", "Project",
    ]  # fmt: skip
    cli.ok("floating", "ip", "unset", "203.0.113.50", "--port")
    assert cli.json("floating", "ip", "list", "--port", "p") == []
    assert "nothing was named" in cli.refused(2, "floating", "ip", "unset", "203.0.113.50")
    assert "with --port" in cli.refused(2, "floating", "ip", "set", "203.0.113.50", "--fixed-ip-address", "10.9.0.9")
    assert cli.run("floating", "ip", "delete", "203.0.113.50").stderr == "floating ip 203.0.113.50: deleted\n"
    assert "no floating IP" in cli.refused(3, "floating", "ip", "show", "203.0.113.50")


def test_security_groups_and_rules(cli: Cli) -> None:
    made = cli.json("security", "group", "create", "--description", "d", "web")
    assert (made["description"], len(made["rules"])) == ("d", 2)
    cli.ok("security", "group", "set", "web", "--name", "www")
    rule = ["security", "group", "rule", "create", "www"]
    ranged = cli.json(*rule, "--protocol", "tcp", "--dst-port", "8000:8080", "--remote-ip", "192.0.2.0/24")
    assert (ranged["direction"], ranged["ether_type"]) == ("ingress", "IPv4")
    assert (ranged["port_range_min"], ranged["port_range_max"]) == (8000, 8080)
    cli.ok(*rule, "--protocol", "icmp", "--icmp-type", "8", "--icmp-code", "0")
    assert cli.json(*rule, "--protocol", "ipv6-icmp")["ether_type"] == "IPv6"
    assert cli.json(*rule, "--remote-group", "www", "--egress")["remote_group_id"] == made["id"]
    assert "port_range_min='8000'" in cli.ok("security", "group", "show", "www")
    rows = cli.json("security", "group", "rule", "list", "www", "--ingress")
    assert [(row["IP Protocol"], row["IP Range"], row["Port Range"]) for row in rows] == [
        ("tcp", "192.0.2.0/24", "8000:8080"),
        ("icmp", "0.0.0.0/0", "type=8:code=0"),
        ("ipv6-icmp", "::/0", ""),
    ]
    assert len(cli.json("security", "group", "rule", "list", "--egress")) == 3
    assert "no port" in cli.refused(2, *rule, "--protocol", "tcp", "--dst-port", "http")
    assert "not both" in cli.refused(2, *rule, "--dst-port", "1", "--icmp-type", "8")
    assert "has this rule" in cli.refused(5, *rule, "--protocol", "ipv6-icmp")
    cli.ok("security", "group", "rule", "delete", ranged["id"])
    assert "no security group rule" in cli.refused(3, "security", "group", "rule", "show", ranged["id"])
    assert [(row["Name"], row["Rules"]) for row in cli.json("security", "group", "list", "--long")] == [("www", 5)]
    cli.ok("security", "group", "delete", "www")


def test_a_hosts_networking_is_repaired(cli: Cli) -> None:
    cli.host("h1")
    assert "nothing was named" in cli.refused(2, "host", "repair", "h1")
    assert "host h1: repair accepted" in cli.run("host", "repair", "h1", "--networking").stderr
    [row] = cli.json("operation", "list")
    assert row["Kind"] == "host.repair_networking"
    assert cli.engines_asked
