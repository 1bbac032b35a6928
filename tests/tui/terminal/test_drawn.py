"""The app in every theme, in ASCII, in every size; what is away; the list as a file; what was seen last."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.store import Store
from tests.tui import seed
from tests.tui.driving import LARGE, SMALL, Cloud, driven
from tui import export
from tui.banner import Away, banner
from tui.locator import Locator
from tui.settings import THEMES, Settings, load
from tui.widgets.lines import Line
from tui.widgets.table import RowList

PORTRAIT = (34, 92)
MIDDLE = (100, 30)


async def test_themes_glyphs_and_mouse_change_while_it_runs_and_are_kept(
    seeded: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    async with driven(seeded, LARGE) as driver:
        app = driver.app
        looks = {}
        for theme in (*THEMES, "dark"):
            app.command("theme", theme)
            await driver.until(f"theme: {theme}")
            await driver.pilot.pause()
            looks[theme] = app.export_screenshot(simplify=True)
            # A glyph and a word always stand beside the colour.
            assert "! ERROR" in driver.text
            assert "+ ACTIVE" in driver.text
        assert len(set(looks.values())) == len(THEMES)
        file = app.places.file
        assert load(file).theme == "dark"
        app.command("theme", "mauve")
        await driver.until("theme 'mauve' does not exist")
        assert not driver.text.isascii()
        app.command("glyphs", "ascii")
        await driver.until("glyphs: ascii")
        for keys in ((), ("d",), ("q", "n"), ("escape", "question_mark"), ("q", "a"), ("escape", "t")):
            await driver.press(*keys)
            await driver.pilot.pause(0.2)
            assert driver.text.isascii(), driver.text
        assert load(file).glyphs == "ascii"
        app.command("mouse", "off")
        assert load(file).mouse is False
        assert app.settings.mouse is False
        monkeypatch.setenv("TERM", "linux")
        app.command("theme", "light")
        assert app.current_theme.ansi
        assert load(file).theme == "light"


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE, PORTRAIT], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_size_gives_the_list_most_of_its_room(seeded: Cloud, size: tuple[int, int]) -> None:
    width, height = size
    async with driven(seeded, size, Locator(kind="instance", filter="web")) as driver:
        lines = driver.lines
        rows = driver.app.query_one(RowList)
        assert rows.size.width == width
        assert rows.size.height >= height * 0.6
        assert "skydeck" in lines[0]
        assert lines[0].rstrip().endswith(("no engine", "live 1s"))  # how fresh it is, always
        assert "Instances" in lines[1]
        assert "NAME^" in lines[1]
        assert any("web-00" in line and "ACTIVE" in line for line in lines)
        # What does not fit beside the name is reached by scrolling.
        seen = set()
        for _ in range(12):
            seen |= set(driver.lines[2].replace("^", " ").split())
            await driver.press("right")
        assert {"NAME", "STATUS", "IP", "FLAVOR", "HOST", "AGE"} <= seen
        # A detail page, a form, the menu and the help keep what they say inside the screen.
        for key, said in (("d", "image"), ("n", "Name"), ("a", "stop"), ("question_mark", "Help")):
            await driver.press(key)
            await driver.until(lambda said=said: said.lower() in driver.text.lower())
            assert all(len(line) <= width for line in driver.lines)
            await driver.press("escape")
        # A question has its answers in sight.
        await driver.press("g", "S")
        await driver.until("[N] cancel")
        await driver.press("n")


def test_what_is_away_has_its_cause_and_the_next_act() -> None:
    def said(**what: Any) -> str:
        return "".join(text for text, _ in banner(Away(**what)))

    assert not said()
    assert not said(silence=2.0, engine_gone=4.0)
    assert said(opening=("disk is full", "")) == (
        " the database cannot be opened: disk is full   it is tried again every 2 s"
    )
    text = said(silence=65.0, trouble="connection refused", engine_gone=9.0)
    assert "does not answer: connection refused" in text
    assert "rows are 1m old" in text
    assert "operations go on" in text
    assert "skydeck serve" in said(engine_gone=6.0, engine_trouble="no space")
    assert "no space" in said(engine_gone=6.0, engine_trouble="no space")
    text = said(hosts=(("kvm03", "no answer for 14 s"),), hosts_more=2)
    assert "host kvm03 and 2 more is away: no answer for 14 s" in text
    assert ":hosts" in text


async def test_the_banner_comes_and_goes_by_itself(seeded: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    _, store = seeded
    async with driven(seeded, SMALL) as driver:
        app = driver.app
        broken = True
        version = Store.version

        def failing(self: Store) -> int:
            if broken:
                raise OSError("connection refused\nsecond line")
            return version(self)

        monkeypatch.setattr(Store, "version", failing)
        await driver.until("the database does not answer: connection refused")
        assert driver.lines[1].startswith(" the database")
        assert "batch-04" in driver.text  # rows stay
        await driver.press("G", "g", "d")  # and can be walked about in
        await driver.until("the database does not answer")
        await driver.press("q")
        broken = False
        await driver.until(lambda: not app.browser.query("#banner"), tries=600)
        with store.write() as session:
            host = session.get(seed.Host, "00000000-0000-4000-8000-000000000002")
            assert host is not None
            host.state, host.state_reason = "down", "no answer for 3 s"
        await driver.until("host kvm02 is away: no answer for 3 s")
        assert isinstance(app.browser.query_one("#banner"), Line)


async def test_the_list_is_written_as_json_csv_and_yaml_and_the_screen_as_svg(
    seeded: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "PAGE", 5)
    _, store = seeded
    with store.write() as session:
        row = session.get(seed.Instance, seed.instance_id(0))
        assert row is not None
        row.name = "=web\x1b]0;x\x07,é"
    async with driven(seeded, LARGE) as driver:
        for key, ending in (("j", "json"), ("c", "csv"), ("y", "yaml"), ("s", "svg")):
            await driver.press("ctrl+s")
            await driver.until("[j]son")
            await driver.press(key)
            await driver.until(lambda ending=ending: list(tmp_path.glob(f"*.{ending}")))
        await driver.until(lambda: all(path.stat().st_size for path in tmp_path.glob("skydeck-*")))
        await driver.until("wrote ")
        files = {path.suffix[1:]: path for path in tmp_path.glob("skydeck-*")}
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files.values())
        rows = json.loads(files["json"].read_text())
        assert len(rows) == 24
        assert rows == yaml.safe_load(files["yaml"].read_text())
        table = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
        assert [row["id"] for row in table] == [row["id"] for row in rows]
        assert "\x1b" not in files["csv"].read_text()
        assert "\x1b" not in files["json"].read_text()
        assert any(row["name"].startswith("'=web") for row in table)
        assert b"\x1b" not in files["svg"].read_bytes()
        xml.etree.ElementTree.fromstring(files["svg"].read_text())
        # Only what the filter shows, or what is marked; never over a file that exists.
        driver.app.command("export", f"csv {tmp_path / 'some.csv'}")
        await driver.until("wrote 24 rows")
        await driver.press("space", "space")
        driver.app.command("export", f"csv {tmp_path / 'two.csv'}")
        await driver.until("wrote 2 rows")
        driver.app.command("export", f"csv {tmp_path / 'two.csv'}")
        await driver.until("File exists")
        driver.app.command("export", "xlsx")
        await driver.until("there is no format 'xlsx'")


async def test_a_start_shows_what_was_seen_last_until_the_rows_are_read(
    seeded: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, store = seeded
    async with driven(seeded, SMALL) as driver:
        before = driver.lines[3:10]
    folder = config.home / "state" / "seen"
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    from tui.app import Skydeck
    from tui.seat import Seat

    away = True
    opening = Seat._open

    def later(self: Seat) -> None:
        if away:
            raise OSError("connection refused")
        opening(self)

    monkeypatch.setattr(Seat, "_open", later)
    from tests.tui.driving import Driver

    app = Skydeck(Seat(config=config, store=store), None, engine=False, settings=Settings())
    async with app.run_test(size=SMALL) as pilot:
        driver = Driver(app, pilot)
        await driver.until("the database cannot be opened: connection refused")
        assert "24, as of 0s ago" in driver.text
        assert [line[2:] for line in driver.lines[4:11]] == [line[2:] for line in before]
        await driver.press("j", "j")
        kept = driver.cursor.split()[1]
        await driver.press("S")  # nothing can be done to what may be long gone
        await driver.until("the store is not open yet")
        away = False
        await driver.until(lambda: app.browser.header is not None, tries=600)
        assert driver.cursor.split()[1] == kept
        assert "as of" not in driver.text
    file.write_text("{broken")
    async with driven(seeded, SMALL) as driver:
        assert "web-" in driver.text or "batch-" in driver.text
    assert os.listdir(folder) == [file.name]
