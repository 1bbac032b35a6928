"""The command line and the filter: what is offered, what was typed before, and what a line may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.driving import LARGE, Cloud, driven
from tui import completion
from tui.app import start
from tui.history import History
from tui.locator import Locator, parse, quoted, split_filter, without
from tui.settings import Settings, load


@pytest.mark.parametrize(
    ("text", "what", "before", "typed", "column"),
    [
        ("", "word", "", "", ""),
        ("inst", "word", "", "inst", ""),
        ("i ", "project", "i ", "", ""),
        ("i de", "project", "i ", "de", ""),
        ("i /st", "column", "i /", "st", ""),
        ("i /web st", "column", "i /web ", "st", ""),
        ("i status=er", "value", "i status=", "er", "status"),
        ("i /status=!error,bu", "value", "i /status=!error,", "bu", "status"),
        ("i status!=er", "value", "i status!=", "er", "status"),
        ('i network="my n', "value", "i network=", '"my n', "network"),
        ("i demo sort=-cr", "sort", "i demo sort=-", "cr", ""),
        ("bm add x", "argument", "bm ", "add x", "bm"),
    ],
)
def test_what_is_typed_is_known(text: str, what: str, before: str, typed: str, column: str) -> None:
    asked = completion.asked(text, is_command=lambda word: word == "bm")
    assert (asked.what, asked.before, asked.typed, asked.column) == (what, before, typed, column)


def test_candidates_contain_what_is_typed_and_begin_with_it_first() -> None:
    asked = completion.asked("i host=vm", is_command=lambda word: False)
    assert [one.line for one in asked.candidates(["kvm01", "vm02", "x"])] == ["i host=vm02", "i host=kvm01"]
    spaced = completion.asked('i network="my n', is_command=lambda word: False)
    assert [one.line for one in spaced.candidates(["my net", "other"])] == ['i network="my net"']
    filtered = completion.asked_filter("web st")
    assert [one.line for one in filtered.candidates(["status", "host"])] == ["web status=", "web host="]


def test_quotes_hold_blanks() -> None:
    word, locator = parse(':port network="my net" web sort=-name')
    assert (word, locator.filter, locator.project, locator.sort) == ("port", 'network="my net"', "web", "-name")
    assert split_filter(locator.filter) == ({"network": "my net"}, "")
    assert split_filter("-f wb !x") == ({}, "-f wb !x")
    assert split_filter("-f ") == ({}, "")
    assert quoted("my net") == '"my net"'
    assert without('web status=error network="my net"', "status=error") == 'web network="my net"'


def test_a_history_is_bounded_private_and_shared_between_sessions(tmp_path: Path) -> None:
    path = tmp_path / "state" / "commands"
    history, other = History(path, kept=4), History(path, kept=4)
    for line in ("i", "vol /x", "i", "bad\x1bline", "  ", "i   demo"):
        history.add(line)
    assert history.lines == ["vol /x", "i", "i demo"]
    other.add("hv")
    history.add("net")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().splitlines() == ["vol /x", "i", "i demo", "net"], "the oldest went"
    assert history.older("i", None) == "i demo"
    assert history.older("i", "i demo") == "i"
    assert history.older("i", "i") is None
    assert history.newer("i", "i") == "i demo"
    assert history.newer("i", "i demo") is None
    nowhere = History(Path("/proc/nowhere/commands"))
    nowhere.add("i")
    assert nowhere.lines == ["i"]


def test_where_the_program_starts() -> None:
    kept = {"errors": ":i @all /status=error", "odd": ":nothing"}
    wanted = Locator(kind="instance", project="@all", filter="status=error")
    assert start(":bm errors", kept) == start(":errors", kept) == start(":i @all status=error") == wanted
    for text in (":bm none", ":odd", ":nothing"):
        with pytest.raises(SystemExit, match="there is no"):
            start(text, kept)


async def test_a_line_is_completed_as_it_is_typed(seeded: Cloud) -> None:
    async with driven(seeded) as app:
        await app.press("colon")
        await app.type("i ")
        await app.until("@all   admin   demo")
        await app.type("de")
        await app.press("tab")
        await app.until(":i demo")
        await app.press("ctrl+u")
        await app.type("i st")
        await app.until("status")
        await app.press("tab")
        await app.type("er")
        await app.until(" ERROR ")
        await app.press("tab")
        await app.until(":i status=ERROR")
        await app.type(" sort=-age")
        await app.press("enter")
        await app.until("Instances(admin) 4/24   /status=ERROR")
        assert "sort:AGEv" in app.lines[1], "a column is called by its title, too"
        # What was typed comes back, and only what begins with what is typed.
        await app.press("colon")
        await app.type("vol")
        await app.press("enter")
        await app.until("Volumes(")
        await app.press("colon", "up")
        await app.until(lambda: app.lines[-1] == ":vol")
        await app.press("up")
        await app.until(":i status=ERROR sort=-age")
        await app.press("down", "down")
        await app.until(lambda: app.lines[-1] == ":")
        await app.type("i")
        await app.press("up", "enter")
        await app.until("Instances(admin) 4/24")
        # A filter has its own history, and is completed with what the column holds.
        await app.press("slash", "ctrl+u")
        await app.type("host=k")
        await app.until("kvm01   kvm02")
        await app.press("tab", "enter")
        await app.until("/host=kvm01 ")
        await app.press("slash", "ctrl+u")
        await app.type("-f w1")
        await app.until("2/24   /-f w1")
        await app.press("up")
        assert app.lines[-1] == "/-f w1", "nothing typed before begins so"
        await app.press("escape")
        await app.until("/host=kvm01 ")
    assert (seeded[0].home / "state" / "commands").read_text().splitlines() == [
        "vol",
        "i status=ERROR sort=-age",
    ]


async def test_bookmarks_are_locators_with_a_name(seeded: Cloud) -> None:
    path = seeded[0].home / "config.toml"
    async with driven(seeded, locator=Locator(kind="instance", filter="status=error", sort="-name")) as app:
        await app.press("colon")
        await app.type("bm add bad")
        await app.press("enter")
        await app.until("bookmark bad is :i admin /status=error sort=-name")
        await app.until(path.exists)
        await app.press("colon")
        await app.type("vol")
        await app.press("enter")
        await app.until("Volumes(")
        await app.press("d", "colon")
        await app.until("instances")
        await app.type("bad")
        await app.press("enter")
        await app.until("Instances(admin) 4/24   /status=error")
        await app.press("c", "l")
        await app.until("copied the locator: :i admin /status=error sort=-name")
        assert app.app._clipboard == ":i admin /status=error sort=-name"
        await app.press("colon")
        await app.type("bm rm bad")
        await app.press("enter")
        await app.until("bookmark bad is gone")
        await app.press("colon")
        await app.type("bm bad")
        await app.press("enter")
        await app.until("there is no bookmark 'bad'")
        await app.until(lambda: load(path).bookmarks == {})
    assert load(path) == Settings()


async def test_a_short_word_looks_where_its_long_one_does(seeded: Cloud) -> None:
    async with driven(seeded, settings=Settings(read_only=True)) as app:
        await app.press("colon")
        await app.type("pu")
        await app.press("enter")
        await app.until("Pulse(")
        await app.press("q", "colon")
        await app.type("bookmark")
        await app.press("enter")
        await app.until("no bookmarks yet")


async def test_the_lists_used_last_have_numbers(seeded: Cloud) -> None:
    async with driven(seeded, LARGE) as app:
        for word, title in (("vol", "Volumes("), ("hv", "Hosts(")):
            await app.press("colon")
            await app.type(word)
            await app.press("enter")
            await app.until(title)
        assert " 1 :i  2 :vol  3 :hv " in app.lines[-1]
        await app.press("1")
        await app.until("Instances(")
        await app.press("2", "9")
        await app.until("there is no list 9 yet")
        assert "Volumes(" in app.lines[1]
        going = app.app.browser
        for number in range(8):
            going.remember_recent(Locator(kind="instance", filter=str(number)))
        # The hosts were used longest ago, then the instances; the volumes keep their number.
        assert [going.recent[at].filter for at in (2, 0)] == ["6", "7"]
        assert going.recent[1] == Locator(kind="volume")
