"""The anti-spoofing table: what nft is given, and what is read back."""

from __future__ import annotations

import json
from pathlib import Path

from hostd.network import firewall
from hostd.network.firewall import Allowed, FirewallSeen
from tests.hostd.network.samples import HOST_A, HOST_B, with_hosts

GOLDEN = Path(__file__).parent / "golden"
X = "0a1b2c3d4e5"


def test_ruleset_golden() -> None:
    commands = firewall.ruleset(firewall.allowed(with_hosts(HOST_A)))
    # One command a line: a changed rule shows as one changed line.
    assert "".join(f"{json.dumps(command)}\n" for command in commands) == (GOLDEN / "firewall.jsonl").read_text()


def test_a_port_may_use_its_mac_and_its_address() -> None:
    assert firewall.allowed(with_hosts(HOST_B)) == {
        Allowed("skt-bbbbbbbbbbb", "fa:16:3e:00:00:0b", "", X),
        Allowed("skt-bbbbbbbbbbb", "fa:16:3e:00:00:0b", "10.0.0.11", X),
    }


def test_deleting_names_the_element_and_no_comment() -> None:
    (command,) = firewall.elements("delete", [Allowed("skt-bbbbbbbbbbb", "fa:16:3e:00:00:0b", "", X)])
    assert command["delete"]["element"]["elem"] == [{"concat": ["skt-bbbbbbbbbbb", "fa:16:3e:00:00:0b"]}]


def test_a_listing_is_read_back() -> None:
    element = {"elem": {"val": {"concat": ["skt-1", "fa:16:3e:00:00:0b", "10.0.0.11"]}, "comment": X}}
    listing = {
        "nftables": [
            {"metainfo": {}},
            {"set": {"name": "ip4_ok", "elem": [element]}},
            {"set": {"name": "mac_ok"}},
            {"chain": {"name": firewall.VERSION}},
        ]
    }
    assert firewall.read(listing) == FirewallSeen(
        current=True, allowed=frozenset({Allowed("skt-1", "fa:16:3e:00:00:0b", "10.0.0.11", X)})
    )


def test_another_versions_table_is_not_current() -> None:
    assert not firewall.read({"nftables": [{"chain": {"name": "version_000000000000"}}]}).current
