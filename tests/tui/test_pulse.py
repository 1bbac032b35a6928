"""The pulse and what is measured: numbers that open what they counted, columns and plots from the engine's rings."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from core import cloud, door, metrics, pulse
from core import listing as lists
from core.compute.instances.table import Instance
from core.doorkeeper import Doorkeeper
from core.errors import Unavailable
from core.lists import LISTINGS
from core.metrics import Series
from core.runner import Runner
from core.sql import select
from tests.core.metrics.test_collect import Station
from tests.core.metrics.test_live import Hosts
from tests.tui import measures, seed
from tests.tui.driving import LARGE, SMALL, Cloud, Driver, driven, same_as_golden
from tui.app import Skydeck
from tui.locator import Locator, split_filter
from tui.screens.detail import DetailScreen
from tui.screens.pulse import PulseScreen
from tui.view import Lines
from tui.views import pulse as tiles_of
from tui.views.pulse import Tile
from tui.widgets.boxes import laid_out
from tui.widgets.lines import sized
from tui.widgets.tiles import Tiles

SIZES = [pytest.param(size, id=f"{size[0]}x{size[1]}") for size in (SMALL, LARGE, (34, 92), (100, 30))]


def _text(lines: Lines) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def _body(app: Driver) -> str:
    """The screen without its lines of keys, which the nouns' verbs decide."""
    return "\n".join(app.lines[:-2]) + "\n"


async def _pulse(app: Driver) -> None:
    await app.press("colon")
    await app.type("pulse")
    await app.press("enter")
    await app.until("Needs attention")


def _tiles(app: Driver) -> Tiles:
    return app.app.screen.query_one(Tiles)


@pytest.mark.parametrize("size", SIZES)
async def test_the_pulse_at_every_size(seeded: Cloud, size: tuple[int, int]) -> None:
    measures.fill(*seeded)
    async with driven(seeded, size) as app:
        await _pulse(app)
        same_as_golden(_body(app), f"pulse-{size[0]}x{size[1]}")
        assert all(len(line) <= size[0] for line in app.lines)


async def test_a_number_opens_what_it_counted_and_back_leads_to_the_pulse(seeded: Cloud) -> None:
    async with driven(seeded, SMALL, Locator(kind="flavor")) as app:
        await _pulse(app)
        assert "ERROR" in app.lines[3]
        await app.press("j")
        assert "/status=ACTIVE" in app.lines[1]
        await app.press("enter")
        await app.until("Instances(admin) 8/24")
        await app.press("q")
        await app.until("Needs attention")
        await app.press("q")
        await app.until("Flavors(admin)")

        await _pulse(app)
        await app.press("l")
        assert ":hv" in app.lines[1]
        await app.press("h", "G")
        assert _tiles(app).cursor.startswith("operations/")  # type: ignore[union-attr]
        await app.press("g", "tab", "tab")
        assert _tiles(app).cursor == "attention/backup/error"
        await app.press("shift+tab")
        assert _tiles(app).cursor == "quota/instances"
        await app.press("j", "enter")
        await app.until("sort:vcpusv")
        assert "/20" in app.lines[0]
        await app.press("q", "question_mark")
        await app.until("The list of exactly what this number counts")
        await app.press("q", "0")
        await app.until("Pulse(all)")


async def test_the_pulse_follows_and_its_cursor_stays(seeded: Cloud) -> None:
    _, store = seeded
    async with driven(seeded, SMALL) as app:
        await _pulse(app)
        await app.press("j", "j", "j")
        stood = _tiles(app).cursor
        assert stood == "instances/PAUSED"
        with store.write() as session:
            session.execute(
                update(Instance)
                .where(col(Instance.vm_state) == "paused")
                .values(vm_state="active", task_state="pausing")
            )
            session.execute(update(Instance).where(col(Instance.name) == "web-00").values(vm_state="suspended"))
        await app.until("SUSPENDED")
        assert "+ ACTIVE          11" in app.text
        assert "PAUSED" not in app.text
        assert _tiles(app).spot is not None, "it stands on the number beside"


async def test_every_count_is_that_of_its_list(seeded: Cloud) -> None:
    config, store = seeded
    with store.read() as session:
        ctx = cloud.context(session, config, source="app")
        for spanned in (ctx, dataclasses.replace(ctx, all_projects=True)):
            read = pulse.read(session, spanned)
            found = tiles_of.tiles(read, {}, project=ctx.project_name, now=seed.ago(0), glyphs="ascii")
            counted = 0
            for tile in found:
                for spot in tile.spots:
                    if tile.name in ("instances", "operations", "attention") and spot.locator and spot.locator.filter:
                        number = re.search(r"^[^\d]*?(\d+)", "".join(text for text, _ in spot.draw(200)))
                        if number is None or spot.locator.filter.startswith("id="):
                            continue
                        where, text = split_filter(spot.locator.filter)
                        listing = LISTINGS[spot.locator.kind]
                        assert lists.count(session, spanned, listing, where=where, text=text) == int(number[1]), (
                            spot.key
                        )
                        counted += 1
            assert counted >= 9
        member = dataclasses.replace(ctx, roles=frozenset({"member"}))
        read = pulse.read(session, member)
        assert (read.hosts, read.pools, read.findings) == (None, None, None)
        names = [tile.name for tile in tiles_of.tiles(read, {}, project="demo", now=0, glyphs="ascii")]
        assert names == ["instances", "quota", "operations", "attention"]


def test_a_large_cloud_and_an_empty_one_find_room(empty: Cloud) -> None:
    config, store = empty
    with store.read() as session:
        read = pulse.read(session, cloud.context(session, config, source="app"))
    host = pulse.HostLoad(
        id="",
        name="",
        up=True,
        enabled=True,
        vcpus=16,
        load1=4.0,
        ram_mb=100,
        ram_free_mb=2,
        disk_gb=10,
        disk_free_gb=5,
    )
    many = tuple(
        dataclasses.replace(host, id=f"h{at}", name=f"kvm{at:03d}", load1=at % 17, up=at != 7) for at in range(500)
    )
    for hosts in ((), many):
        found = tiles_of.tiles(
            dataclasses.replace(read, hosts=hosts), {}, project="demo", now=seed.ago(0), glyphs="ascii"
        )
        for width, height in ((34, 88), (80, 20), (100, 26), (140, 36), (60, 12)):
            for column in tiles_of.columns_of(found, width):
                heights = tiles_of.heights(column, height)
                assert sum(heights) <= height or min(heights) == 2
                for tile, lines in zip(column, heights, strict=True):
                    spots = tiles_of.shown(tile, lines, last=False)
                    assert len(spots) < lines
                    for spot in spots:
                        assert len(_text([sized(spot.draw(30), 30)])[0]) == 30
    nasty = dataclasses.replace(host, name="\x1b[2J\u202eevil, *", id="h-nasty")
    hostile = tiles_of.tiles(
        dataclasses.replace(read, hosts=(nasty, host)), {}, project="\x1b]0;x\x07", now=0, glyphs="ascii"
    )
    spot = next(spot for tile in hostile for spot in tile.spots if spot.key == "hosts/h-nasty")
    assert "evil" in _text([sized(spot.draw(40), 40)])[0]
    assert "".join(_text([sized(spot.draw(40), 40)])).isprintable()
    assert spot.locator == Locator(kind="host", filter="id=h-nasty"), "its name would mean something else in a filter"
    busiest = next(tile for tile in found if tile.name == "hosts")
    assert _first(busiest, "hosts/h16").startswith("kvm016"), "the most loaded first"
    assert "99 more" not in _first(busiest, busiest.spots[-1].key)
    assert "! down" in _first(busiest, "hosts/h7")


def _first(tile: Tile, key: str) -> str:
    return next("".join(text for text, _ in spot.draw(60)) for spot in tile.spots if spot.key == key)


# ---------------------------------------------------------------------------- what is measured


@pytest.mark.parametrize("size", SIZES[:2])
async def test_lists_show_what_is_measured_of_the_rows_in_sight(
    seeded: Cloud, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    measures.fill(*seeded)
    asked: list[set[str]] = []
    latest = metrics.latest

    def counting(config: Any, ids: Any, **options: Any) -> Any:
        asked.append(set(ids))
        return latest(config, ids, **options)

    monkeypatch.setattr(metrics, "latest", counting)
    async with driven(seeded, size, Locator(kind="instance", filter="web")) as app:
        await app.until("%")
        same_as_golden(_body(app), f"measured-instances-{size[0]}x{size[1]}")
        assert {len(ids) for ids in asked} == {4}, "the rows that are looked at, and no others"
        assert "CPU" not in {column.title for column in app.app.browser.view.columns if column.key}
        app.app.browser.go_to(Locator(kind="instance", sort="-cpu"))
        await app.until("sorted or filtered by cpu")
        app.app.browser.go_to(Locator(kind="host"))
        await app.until("Hosts(admin) 3")
        await app.until(lambda: "kvm01" in app.text and "%" in app.cursor)
        same_as_golden(_body(app), f"measured-hosts-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", SIZES[:2])
@pytest.mark.parametrize(("kind", "name"), [("instance", "web-00"), ("host", "kvm01")])
async def test_pages_of_what_is_measured(
    seeded: Cloud, size: tuple[int, int], kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures.fill(*seeded)
    asked: list[int] = []
    silent: list[str] = []

    async def second_by_second(id: str, span_s: int) -> Series:
        asked.append(span_s)
        if silent:
            raise Unavailable("the host does not answer", hint="")
        which = 0
        rates = [
            measures.rate(which, seed.NOW - ago, host=kind == "host") for ago in range(span_s - 1, -1, -1) if ago != 300
        ]
        return metrics.rates.to_series(rates, step=1.0)

    async with driven(seeded, size, Locator(kind=kind, filter=f"name={name}")) as app:
        monkeypatch.setattr(app.app.seat, "metrics", second_by_second)
        await app.press("d")
        await app.until(lambda: asked)
        await app.until("max")
        await app.until("GUEST" if kind == "host" else "GROUPS")
        if kind == "instance" and size == LARGE:
            await app.until("No console")
        overview = _body(app)
        silent.append("the host")
        await app.press("4")
        await app.until("every 10 s: the host")
        assert "10 min ago" in app.text
        await app.press("less_than_sign")
        await app.until("1 h ago")
        await app.until("live")
        same_as_golden(overview + _body(app), f"measured-{kind}-{size[0]}x{size[1]}")
        count = len(asked)
        await app.press("less_than_sign")
        await app.until("24 h ago")
        assert len(asked) == count, "a day is read from the ring"
        await app.press("greater_than_sign", "greater_than_sign", "6")
        screen = app.app.screen
        assert isinstance(screen, DetailScreen)
        await app.until("cpu_model" if kind == "host" else "instance.create")
        await app.pilot.pause(0.05)
        assert len(asked) == count or asked[-1] == 600


def test_boxes_are_exactly_as_wide_as_the_page() -> None:
    from tui.view import Box, box

    long: Lines = [[("x" * 300, "")], [("short", "dim")]]
    boxes = [
        box("Fault", long[:1]),
        Box(title="Spec with a title that is far too long for it" * 3, lines=lambda width: long, small=True),
        box("Live", long * 2, right=True),
        box("Events", []),
        box("Tail", [[(f"line {at}", "")] for at in range(50)], right=True, tail=True),
        box("Last", [[("end", "")]]),
    ]
    for glyphs in ("braille", "ascii"):
        for width in (100, 101, 138):
            lines = _text(laid_out(boxes, width, 90, glyphs))
            assert {len(line) for line in lines} == {width}
            assert len(lines) == 90
            assert all(line.isascii() for line in lines) or glyphs != "ascii" or "…" in "".join(lines)
    framed = "\n".join(_text(laid_out(boxes, 120, 30, "braille")))
    assert "line 49" in framed
    narrow = _text(laid_out(boxes, 80, 20, "braille"))
    assert not any("│" in line for line in narrow)
    assert "Tail" in narrow


async def test_the_pulse_is_where_the_app_may_begin(seeded: Cloud) -> None:
    from tui.app import start

    async with driven(seeded, SMALL, start("pulse")) as app:
        await app.until("Needs attention")
        assert isinstance(app.app.screen, PulseScreen)
        assert isinstance(app.app, Skydeck)
        await app.press("i")
        await app.until("Instances(admin) 24")


async def test_a_page_is_second_by_second_through_the_engines_door(seeded: Cloud, tmp_path: Path) -> None:
    config, store = seeded
    with store.read() as session:
        instance = session.execute(select(Instance).where(col(Instance.name) == "web-00")).scalar_one()
    assert instance.host_id is not None
    station = Station(tmp_path / "station", id=instance.host_id)
    station.now = float(seed.NOW) - 300
    station.load = {instance.id: 0.5}
    station.run(300)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    runner = Runner(store)
    keeper = Doorkeeper(runner, Hosts(station), config.run_dir / door.SOCKET)  # type: ignore[arg-type]
    await keeper.start()
    try:
        async with driven(seeded, SMALL, Locator(kind="instance", filter="name=web-00")) as app:
            await app.press("d")
            await app.until("cpu   50%")
            await app.press("4")
            await app.until("cpu 50% avg 50% max 50%")
            assert "live" in app.lines[3]
            assert app.lines[3].count("every") == 0
            station.load = {instance.id: 1.0}
            station.run(2)
            await app.until("max 100%", tries=300)
            before = len(station.asked)
            await app.press("6")
            await app.pilot.pause(1.3)
            assert len(station.asked) <= before + 1, "nobody looks, nobody asks"
    finally:
        await keeper.stop()
        runner.close()
