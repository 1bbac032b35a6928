"""Large lists: what is read and held is what is in sight, whatever there is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tui import seed
from tests.tui.driving import SMALL, driven
from tui import export
from tui.verbs import Row
from tui.widgets.pages import KEEP, PAGE
from tui.widgets.table import RowList

MANY = 10_000


async def test_a_list_holds_what_is_in_sight_and_a_file_takes_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, store, ctx = seed.fresh(tmp_path / "home")
    seed.populate(store, ctx, instances=MANY)
    monkeypatch.chdir(tmp_path)
    taken = []
    writer = export._WRITERS["json"]

    def counted(columns: Sequence[str], rows: Sequence[Row], first: bool) -> str:
        taken.append(len(rows))
        return writer.rows(columns, rows, first)

    monkeypatch.setitem(export._WRITERS, "json", dataclasses.replace(writer, rows=counted))
    async with driven((config, store), SMALL) as driver:
        rows = driver.app.query_one(RowList)
        assert rows.pages.count == MANY
        for leap in range(40):
            await driver.press("G" if leap % 7 == 6 else "pagedown")
            rows.scroll_to(y=(leap * 337) % MANY, animate=False)
            await driver.pilot.pause()
        await driver.press("G")
        await driver.until(lambda: driver.cursor.split()[1].startswith("web-"))
        held = sum(len(page) for page in rows.pages._pages.values())
        assert held <= KEEP * PAGE < MANY
        driver.app.command("export", "json all.json")
        await driver.until(f"wrote {MANY} rows", tries=3000)
        assert sum(taken) == MANY
        assert max(taken) <= export.PAGE
        assert len(json.loads((tmp_path / "all.json").read_text())) == MANY
    store.close()
