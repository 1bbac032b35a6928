"""Read-only mode: no verb, form or command that changes anything is there, and what came through would be refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Forbidden
from tests.tui import seed
from tests.tui.driving import SMALL, Cloud
from tui import readonly, registry
from tui.app import Skydeck
from tui.commands import ALL
from tui.locator import Locator
from tui.screens.acting import ActingScreen
from tui.screens.browser import BrowserScreen
from tui.screens.detail import DetailScreen
from tui.seat import Seat
from tui.settings import Settings, load
from tui.verbs import GENERAL

CHANGES = frozenset(
    {
        *("new", "clone", "edit_yaml", "plan"),
        *("console", "ssh", "display"),  # whoever types there changes what is there
    }
)
"""Actions of the screens that change something, or let it be changed."""


def test_every_action_is_known_to_look_or_to_change() -> None:
    verbs = [*GENERAL, *(verb for view in registry.VIEWS.values() for verb in view.verbs)]
    actions = {verb.action for verb in verbs if verb.action}
    assert actions <= readonly.LOOKING_ACTIONS | CHANGES, "say in tui/readonly.py, or here, what a new action does"
    assert not readonly.LOOKING_ACTIONS & CHANGES
    # What can be reached without a key is reached by one of these names as well.
    for screen in (ActingScreen, BrowserScreen, DetailScreen):
        goes = {name.removeprefix("go_") for name in dir(screen) if name.startswith("go_")}
        assert goes - {"to", "recent"} <= readonly.LOOKING_ACTIONS | CHANGES | {"undo"}, screen


def test_every_command_is_known_to_look_or_to_change() -> None:
    words = {command.words[0] for command in ALL}
    assert {word for word in words if readonly.changing_command(word)} == {"undo", "launch"}


async def test_nothing_that_changes_is_offered_anywhere(seeded: Cloud) -> None:
    config, store = seeded
    before = _everything(store)
    app = Skydeck(Seat(config=config, store=store), engine=False, settings=Settings(read_only=True))
    async with app.run_test(size=SMALL) as pilot:
        from tests.tui.driving import Driver

        driver = Driver(app, pilot)
        await driver.until(lambda: app.browser.header is not None)
        assert "admin:admin RO" in driver.lines[0]
        for kind, view in registry.VIEWS.items():
            app.browser.visit(Locator(kind=kind))
            await pilot.pause()
            offered = {verb.name for verb in (*app.browser.verbs, *app.browser.generals)}
            changing = {verb.name for verb in (*view.verbs, *GENERAL) if readonly.changes(verb)}
            assert not offered & changing, kind
            bound = {binding.action for _, binding in app.browser._bindings}
            assert not {f"do('{name}')" for name in changing} & bound, kind
        palette = {command.title for command in app.get_system_commands(app.browser)}
        assert not any("Delete" in title or "Stop" in title or "Start" in title for title in palette)
        app.browser.visit(Locator(kind="instance"))
        await driver.until("batch-04")
        for key in ("S", "X", "b", "R", "n", "N", "e", "E", "z", "L", "F", "A", "I", "o", "s", "O"):
            await driver.press(key)
        await driver.press("a")
        await driver.until("Everything about it")
        assert "Delete" not in driver.text
        await driver.press("q")
        await driver.press("question_mark")
        await driver.until("Help:")
        assert "Stop" not in driver.text
        await driver.press("q")
        for word in ("undo", "launch"):
            await driver.press("colon")
            await driver.type(f"{word} web" if word == "launch" else word)
            await driver.press("enter")
            await driver.until("this is read-only mode")
        assert len(app.screen_stack) == 1
        # The second fence: whatever found its way past the first.
        with pytest.raises(Forbidden, match="read-only"):
            await app.seat.write(lambda session: None)
        with pytest.raises(Forbidden, match="read-only"):
            await app.seat.call(lambda: store.write().__enter__())
        assert await app.seat.ticket(lambda session: 1) == 1, "looking needs tickets"
    assert _everything(store) == before


async def test_one_cloud_may_be_closed_to_writing(seeded: Cloud) -> None:
    config, store = seeded
    for clouds, sign in ((frozenset({"local"}), "RO"), (frozenset({"other"}), "RW")):
        app = Skydeck(Seat(config=config, store=store), engine=False, settings=Settings(read_only_clouds=clouds))
        async with app.run_test(size=SMALL) as pilot:
            from tests.tui.driving import Driver

            driver = Driver(app, pilot)
            await driver.until(f"admin:admin {sign}")
            assert ("stop" in {verb.name for verb in app.browser.verbs}) is (sign == "RW")
        store.read_only = ""


async def test_a_plan_is_shown_and_no_more(seeded: Cloud) -> None:
    config, store = seeded
    app = Skydeck(Seat(config=config, store=store), Locator(kind="network"), engine=False,
                  settings=Settings(read_only=True))  # fmt: skip
    async with app.run_test(size=SMALL) as pilot:
        from tests.tui.driving import Driver

        driver = Driver(app, pilot)
        await driver.until("Networks(admin)")
        await driver.until("app ")
        await driver.press("colon")
        await driver.type("plan")
        await driver.press("enter")
        await driver.until("the plan is only shown")
        assert not driver.app.screen.query_one("#word").display


def test_the_file_says_so_and_the_command_line_obeys(empty: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from tui.cli.root import app

    config, _ = empty
    path = config.home / "config.toml"
    path.write_text("[app.clouds.local]\nread_only = true\nprotected = true\n")
    settings = load(path)
    assert settings.forbids_writing("local")
    assert settings.protected_clouds == frozenset({"local"})
    monkeypatch.setenv("SKYDECK_HOME", str(config.home))
    refused = CliRunner().invoke(app, ["network", "create", "net"])
    assert (refused.exit_code, "read-only" in refused.stderr) == (4, True)
    assert CliRunner().invoke(app, ["network", "list"]).exit_code == 0


def _everything(store: seed.Store) -> dict[str, int]:
    """How many rows each table has, and the newest event."""
    from sqlalchemy import func, select
    from sqlmodel import SQLModel

    with store.read() as session:
        return {
            name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in SQLModel.metadata.tables.items()
            if name != "ticket"
        }


def test_home_is_left_alone(tmp_path: Path) -> None:
    """`--read-only` is a flag of the program."""
    from tui.__main__ import opening

    assert opening(["--read-only", ":i"]) == ({"read_only": True}, ":i")
