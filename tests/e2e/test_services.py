"""DHCP, DNS and metadata as a guest meets them: real dnsmasq, real clients, in namespaces of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostd.network import names, namespaces
from hostd.network.document import Document
from hostd.network.driver import NetworkingDriver
from hostd.spec import (
    Direction,
    GroupSpec,
    NameRecord,
    NetworkingSpec,
    PortAddress,
    RuleSpec,
    Want,
)
from tests.e2e.sandbox import isolated
from tests.e2e.served import (
    RUN,
    Services,
    ask,
    get,
    kill_servers,
    lay,
    lay_router,
    lease,
    plug,
    serving,
    sh,
    wait,
)
from tests.hostd.network.services.documents import (
    NETWORK,
    SIX,
    SPACE,
    document,
    network,
    port,
    route,
    routed,
    subnet,
)
from tests.hostd.specs import metadata

pytestmark = pytest.mark.e2e

GROUP = "99999999-0000-4000-8000-000000000000"
HOSTNAME = "/latest/meta-data/hostname"
OTHER = "0b000000-0000-4000-8000-000000000002"


@pytest.fixture
def services() -> Iterator[Services]:
    with serving() as services:
        yield services


def test_a_guest_gets_its_address_its_routes_and_its_mtu(services: Services) -> None:
    wanted = document(
        networks=(network(domain="p.example", subnets=(subnet(routes=(route("10.9.0.0/16", "10.0.0.9"),)),)),)
    )
    assert services.apply(wanted) == ["dhcp", "metadata"]
    assert services.apply(wanted) == []
    assert services.faults(wanted) == {}
    got = lease(plug())
    assert (got["ip"], got["mask"], got["mtu"], got["lease"]) == ("10.0.0.10", "24", "1450", "86400")
    assert got["staticroutes"] == "169.254.169.254/32 10.0.0.2 0.0.0.0/0 10.0.0.1 10.9.0.0/16 10.0.0.9"
    assert (got["router"], got["dns"], got["serverid"]) == ("10.0.0.1", "10.0.0.2", "10.0.0.2")
    assert (got["hostname"], got["domain"]) == ("web-1", "p.example")


def test_names_of_the_whole_network_are_known_and_others_refused_at_once(services: Services) -> None:
    wanted = document(networks=(network(domain="p.example"),))
    services.apply(wanted)
    guest = plug()
    lease(guest)
    assert ask(guest, "far.p.example") == ["10.0.0.77"]
    assert ask(guest, "web-1") == ["10.0.0.10"]
    began = time.monotonic()
    assert ask(guest, "example.org") == []
    assert time.monotonic() - began < 4, "a question without an answer takes five seconds"
    pid = services.pid()
    more = network(domain="p.example", names=(NameRecord(name="new", ip="10.0.0.78"),))
    assert services.apply(document(networks=(more,))) == ["dhcp"]
    wait(lambda: ask(guest, "new.p.example") == ["10.0.0.78"] and ask(guest, "far.p.example") == [])
    assert services.pid() == pid


def test_leases_come_and_go_without_a_restart(services: Services) -> None:
    services.apply(document())
    pid = services.pid()
    guest = plug(2)
    assert lease(guest) == {}
    assert services.apply(document(ports=(port(), port(2)))) == ["dhcp", "metadata"]
    wait(lambda: lease(guest).get("ip") == "10.0.0.11")
    moved = port(2, addresses=(PortAddress(subnet="four", ip="10.0.0.99"),))
    services.apply(document(ports=(port(), moved)))
    wait(lambda: lease(guest).get("ip") == "10.0.0.99")
    services.apply(document())
    wait(lambda: lease(guest) == {})
    assert services.pid() == pid


def test_a_dead_server_comes_back_by_itself(services: Services) -> None:
    services.apply(document())
    guest, pid = plug(), services.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with services.event:
        assert services.event.wait_for(lambda: services.happened, timeout=10)
    (happened,) = services.happened
    assert (happened.detail["what"], happened.detail["network"]) == ("dhcp_restarted", NETWORK)
    assert services.pid() not in (None, pid)
    assert services.faults(document()) == {}
    assert lease(guest)["ip"] == "10.0.0.10"


def test_a_server_outlives_hostd_and_the_next_one_keeps_it(services: Services) -> None:
    services.told[port().device] = metadata()
    services.apply(document())
    guest, pid = plug(), services.pid()
    lease(guest)
    services.stop()
    assert get(guest, "/openstack") == "", "nobody listens while hostd is away"
    again = Services()
    again.told = services.told
    try:
        assert again.apply(document()) == ["metadata"], "the server runs on, the listeners are open again"
        assert get(guest, "/openstack/latest/meta_data.json")
        assert again.pid() == pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with again.event:
            assert again.event.wait_for(lambda: again.happened, timeout=10)
    finally:
        again.stop()


def test_what_was_damaged_is_seen_and_mended(services: Services) -> None:
    services.apply(document())
    (RUN / "dhcp" / NETWORK / "leases" / names.tap(port().uuid)).write_text("")
    assert services.faults(document()) == {NETWORK: "the files of its DHCP server were changed"}
    sh(f"ip link delete {names.leg(NETWORK)}; ip netns delete {SPACE}; ip link delete {names.bridge(NETWORK)}")
    lay()
    assert services.apply(document()) == ["dhcp", "metadata"]
    assert services.faults(document()) == {}
    assert lease(plug())["ip"] == "10.0.0.10"


def test_ipv6_guests_are_told_their_name_server(services: Services) -> None:
    sh(f"ip -n {SPACE} addr add fd00:1::2/64 dev svc nodad")
    wanted = document(networks=(network(subnets=(subnet(), SIX), names=(NameRecord(name="six", ip="fd00:1::9"),)),))
    services.apply(wanted)
    guest = plug()
    lease(guest)
    assert ask(guest, "six", kind="aaaa") == ["fd00:1::9"]
    # busybox has no client that only asks: this is an Information-request (RFC 8415) and what comes back.
    with namespaces.inside(guest):
        wait(lambda: "fe80" in sh("ip -6 addr show dev eth0 -tentative"))
        client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        scope = socket.if_nametoindex("eth0")
    with client:
        client.settimeout(5)
        client.bind(("::", 546, 0, scope))
        duid = bytes.fromhex("00030001fa163e000001")
        request = b"\x0b\x00\x00\x01" + b"\x00\x01\x00\x0a" + duid + b"\x00\x06\x00\x02\x00\x17"
        client.sendto(request, ("ff02::1:2", 547, 0, scope))
        reply = client.recv(2048)
    assert reply[:4] == b"\x07\x00\x00\x01"
    assert b"\x00\x17\x00\x10" + socket.inet_pton(socket.AF_INET6, "fd00:1::2") in reply


def test_foreign_names_are_asked_by_way_of_the_router(services: Services) -> None:
    # The router and what is behind it: a namespace on the bridge that answers DNS itself.
    sh(f"""ip netns add outside; ip link add r type veth peer name eth0 netns outside
        ip link set r master {names.bridge(NETWORK)} up; ip -n outside link set lo up; ip -n outside link set eth0 up
        ip -n outside addr add 10.0.0.1/24 dev eth0; ip -n outside addr add 192.0.2.53/32 dev lo""")
    line = ["dnsmasq", "-k", "-C", "/dev/null", "-R", "-p", "53", "-A", "/example.org/198.51.100.7"]
    upstream = subprocess.Popen(["ip", "netns", "exec", "outside", *line])
    try:
        wanted = routed(resolvers=("192.0.2.53",))
        services.apply(wanted)
        assert services.apply(wanted) == []
        guest = plug()
        lease(guest)
        wait(lambda: ask(guest, "example.org") == ["198.51.100.7"])
        sh(f"ip -n {SPACE} route del default")
        assert services.faults(wanted) == {NETWORK: "its DNS server has no way out"}
        assert services.apply(wanted) == ["dhcp"]
        assert ask(guest, "example.org") == ["198.51.100.7"]
        services.apply(document())
        assert sh(f"ip -n {SPACE} route show default") == ""
        assert ask(guest, "example.org") == []
    finally:
        upstream.kill()
        upstream.wait()


def test_the_same_addresses_in_two_networks_are_two_guests(services: Services) -> None:
    lay(OTHER)
    twin = port(2, network=OTHER, addresses=port().addresses, mac=port().mac)
    other = network(uuid=OTHER, segment=1002)
    wanted = document(networks=(network(), other), ports=(port(), twin))
    services.told = {port().device: metadata(hostname="one"), twin.device: metadata(hostname="two")}
    services.apply(wanted)
    guests = plug(), plug(uuid=OTHER)
    for guest, name in zip(guests, ("one", "two"), strict=True):
        assert lease(guest)["ip"] == "10.0.0.10"
        assert get(guest, HOSTNAME) == name
        assert get(guest, "/latest/meta-data/local-ipv4") == "10.0.0.10"
    # An address that no port has is nobody.
    stranger = plug(3)
    sh(f"ip -n {stranger} addr add 10.0.0.66/24 dev eth0; ip -n {stranger} route add 169.254.169.254 via 10.0.0.2")
    assert get(stranger, HOSTNAME) == ""


def test_metadata_follows_the_instance_and_its_floating_ip(services: Services) -> None:
    lay_router()
    services.told[port().device] = metadata(meta={"role": "front"})
    services.apply(document())
    guest = plug()
    lease(guest)
    assert json.loads(get(guest, "/openstack/latest/meta_data.json"))["meta"] == {"role": "front"}
    assert get(guest, "/latest/meta-data/public-ipv4") == ""
    services.told[port().device] = metadata(meta={"role": "back"})
    assert json.loads(get(guest, "/openstack/latest/meta_data.json"))["meta"] == {"role": "back"}
    services.apply(routed())
    assert get(guest, "/latest/meta-data/public-ipv4") == "203.0.113.50"
    services.apply(document(ports=()))
    assert get(guest, "/openstack") == ""


def test_a_guest_that_knows_only_its_router_is_answered_there(services: Services) -> None:
    lay_router()
    services.told[port().device] = metadata()
    services.apply(routed())
    guest = plug()
    sh(f"ip -n {guest} addr add 10.0.0.10/24 dev eth0; ip -n {guest} route add default via 10.0.0.1")
    assert get(guest, HOSTNAME) == "web"


def test_a_guest_asks_by_ipv6_too(services: Services) -> None:
    services.told[port().device] = metadata()
    services.apply(document())
    guest = plug()
    wait(lambda: "fe80" in sh(f"ip -n {guest} -6 addr show dev eth0 -tentative"))
    assert get(guest, HOSTNAME, address="fe80::a9fe:a9fe") == "web"


def test_fifty_networks_from_nothing_and_back(services: Services) -> None:
    uuids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(50)]
    for uuid in uuids:
        lay(uuid)
    networks = tuple(network(uuid=uuid, segment=1 + place) for place, uuid in enumerate(uuids))
    ports = tuple(
        port(1, uuid=f"{number:08x}-aaaa-4aaa-8aaa-aaaaaaaaaaaa", network=uuid) for number, uuid in enumerate(uuids)
    )
    wanted = document(networks=networks, ports=ports)
    assert services.apply(wanted) == ["dhcp", "metadata"]
    assert services.apply(wanted) == []
    assert services.apply(document(networks=(), ports=())) == ["dhcp_remove", "metadata_remove"]
    assert not list((RUN / "dhcp").iterdir())


class Unwatched:
    """A StepContext nobody looks at."""

    cache: Any = None

    def progress(self, percent: int) -> None: ...


def converge(driver: NetworkingDriver, wanted: Document) -> list[str]:
    """Apply a document with the whole driver, and name the steps that were taken."""
    steps = driver.plan(wanted.spec, driver.seen(wanted.spec.uuid))
    for step in steps:
        driver.execute(step, wanted.spec, Unwatched())
    return [step.name for step in steps]


def test_behind_the_firewall_a_guest_is_itself_and_nobody_else() -> None:
    """With all parts: security groups that let out, anti-spoofing, and hostd started anew in between."""
    outward = tuple(
        RuleSpec(uuid=f"{GROUP[:-1]}{version}", direction=Direction.EGRESS, version=version) for version in (4, 6)
    )
    guests = tuple(port(number, groups=(GROUP,)) for number in (1, 2))
    wanted = document(ports=guests, groups=(GroupSpec(uuid=GROUP, rules=outward),))
    told = {guest.device: metadata(hostname=guest.hostname) for guest in guests}
    with isolated():
        driver = NetworkingDriver(state=Path("/run/state"), run=RUN)
        driver.start(lambda happened: None, told.get)
        again = NetworkingDriver(state=Path("/run/state"), run=RUN)
        try:
            assert {"dhcp", "metadata"} <= set(converge(driver, wanted))
            assert converge(driver, wanted) == []
            one, two = (plug(number, tap=names.tap(guest.uuid)) for number, guest in enumerate(guests, 1))
            assert (lease(one)["ip"], lease(two)["ip"]) == ("10.0.0.10", "10.0.0.11")
            assert (get(one, HOSTNAME), get(two, HOSTNAME)) == ("web-1", "web-2")
            assert ask(one, "far") == ["10.0.0.77"]
            driver.stop()
            again.start(lambda happened: None, told.get)
            assert get(two, HOSTNAME) == ""
            assert converge(again, wanted) == ["metadata"]
            assert (get(one, HOSTNAME), get(two, HOSTNAME)) == ("web-1", "web-2")
            # One takes the other's address, and asks from it.
            sh(f"ip -n {one} addr add 10.0.0.11/24 dev eth0")
            sh(f"ip -n {one} route replace 169.254.169.254 via 10.0.0.2 src 10.0.0.11")
            assert get(one, HOSTNAME) == ""
            assert get(two, HOSTNAME) == "web-2"
            assert all(network.healthy for network in again.observe().networks)
            converge(again, Document(NetworkingSpec(uuid=wanted.spec.uuid, want=Want.ABSENT)))
            assert namespaces.names() == {one, two}
        finally:
            driver.stop()
            again.stop()
            kill_servers()
