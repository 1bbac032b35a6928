"""The tree of networks: what hangs on what, folded and unfolded, while things happen."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import col

from core import cloud
from core.network import networks, ports, subnets
from core.network.tables import Network
from core.sql import select
from tests.tui.driving import LARGE, SMALL, Cloud, driven, same_as_golden
from tui.locator import Locator
from tui.screens.topology import TopologyScreen
from tui.verbs import Row
from tui.views.topology import VIEW, opened_at_first, tree

SIZES = [pytest.param(SMALL, id="80x24"), pytest.param(LARGE, id="140x40")]


def lines(seeded: Cloud, is_open: Any = lambda key, kind: opened_at_first(kind)) -> list[Row]:
    config, store = seeded
    with store.read() as session:
        return tree(session, cloud.context(session, config, source="app"), is_open)


def test_ways_out_lead_by_routers_to_networks(seeded: Cloud) -> None:
    assert [(line["depth"], line["kind"], line["name"], line["open"]) for line in lines(seeded)] == [
        (0, "external", "public", True),
        (1, "router", "gate", True),
        (2, "network", "app", False),
        (0, "network", "backup", False),
    ]


def test_what_is_open_shows_subnets_and_what_is_plugged_in(seeded: Cloud) -> None:
    found = lines(seeded, lambda key, kind: True)
    subnet, first, *_ = (line for line in found if line["depth"] == 3)
    assert (subnet["kind"], subnet["address"]) == ("subnet", "10.0.0.0/16")
    assert (first["what"], first["name"], first["address"]) == ("server", "batch-04", "10.0.1.15")
    assert not any(line["address"] == "10.0.0.1" for line in found), "the router is above the network, not in it"
    web = next(line for line in found if line["name"] == "web-00")
    assert web["floating"] == "203.0.113.4"
    assert len({line["key"] for line in found}) == len(found)


def test_many_ports_cost_a_query_per_level(seeded: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    config, store = seeded
    with store.write() as session:
        ctx = cloud.context(session, config, source="test")
        network = session.execute(select(Network).where(col(Network.name) == "app")).scalar_one()
        block = subnets.of_network(session, network.id)[0]
        for at in range(500):
            ports.create(
                session, project_id=ctx.project_id, network_id=network.id,
                fixed={block.id: f"10.0.{4 + at // 250}.{at % 250 + 1}"}, owner="", device_id="",
            )  # fmt: skip
    from core import listing

    asked: list[str] = []
    page = listing.page
    monkeypatch.setattr(listing, "page", lambda s, c, which, **o: asked.append(which.kind) or page(s, c, which, **o))
    assert len(lines(seeded, lambda key, kind: True)) > 500
    assert asked == ["network", "router", "network", "subnet", "port"]
    asked.clear()
    lines(seeded)
    assert asked == ["network", "router", "network"], "what is folded is not asked for"


async def test_a_key_means_one_thing_and_leads_somewhere(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="network")) as app:
        await app.press("x")
        assert isinstance(app.app.screen, TopologyScreen)
        verbs = (*VIEW.verbs, *app.app.screen.general())
    assert len({verb.key for verb in verbs}) == len(verbs)
    assert all(hasattr(TopologyScreen, f"go_{verb.action}") for verb in verbs)


@pytest.mark.parametrize("size", SIZES)
async def test_the_screen(seeded: Cloud, size: tuple[int, int]) -> None:
    async with driven(seeded, size, Locator(kind="network")) as app:
        await app.press("x")
        await app.until("▸ app")
        await app.press("plus")
        await app.until("web-00")
        same_as_golden(app.text, f"topology-{size[0]}x{size[1]}")


async def test_lines_fold_and_unfold(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("colon")
        await app.type("topo")
        await app.press("enter")
        await app.until("▸ app")
        await app.press("j", "j", "right")
        await app.until("batch-04")
        assert "▾ app" in app.cursor
        await app.press("j", "j", "left")
        assert "▾ app" in app.cursor, "from a leaf to what it is in"
        await app.press("enter")
        await app.until("▸ app")
        await app.press("minus")
        await app.until(lambda: "gate" not in app.text)
        await app.press("q")
        await app.until("Instances(admin) 24")


async def test_it_follows_what_happens_and_the_cursor_stays(seeded: Cloud) -> None:
    config, store = seeded
    async with driven(seeded, locator=Locator(kind="network")) as app:
        await app.press("x")
        await app.until("▸ backup")
        await app.press("G")
        assert "backup" in app.cursor
        with store.write() as session:
            networks.create(session, cloud.context(session, config, source="test"), config, name="aaa")
        await app.until("▸ aaa")
        assert "backup" in app.cursor


async def test_leaves_open_what_they_are_about(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="network")) as app:
        await app.press("x")
        await app.until("▸ backup")
        await app.press("G", "right")
        await app.until("172.16.0.9")
        await app.press("G", "enter")
        await app.until("Topology > instance web-00")
        await app.press("q", "d")
        await app.until("Topology > port 172.16.0.9")
        await app.press("q", "x")
        await app.until("Trace from web-00")
        await app.press("escape", "colon")
        await app.until("Networks(admin)")
        assert app.app.browser.query_one("#prompt").has_focus


async def test_a_filter_finds_what_is_folded_and_shows_what_it_hangs_on(seeded: Cloud) -> None:
    async with driven(seeded, locator=Locator(kind="network")) as app:
        await app.press("x")
        await app.until("▸ backup")
        await app.press("slash")
        await app.type("203.0.113.4")
        await app.until("web-00")
        assert [line.split()[-1] for line in app.lines[3:7]] == ["router", "ACTIVE", "ports", "203.0.113.4"]
        await app.press("enter", "G", "q")
        await app.until("▸ backup")
        await app.press("slash")
        await app.type("nowhere")
        await app.until("Nothing matches /nowhere")
        await app.press("escape")
        await app.until("▸ backup")
