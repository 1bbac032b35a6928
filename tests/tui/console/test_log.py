"""The Log tab and `:logs`: read as it grows, searched, wrapped, marked, copied; what guests tell is said."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from sqlmodel import col

from core.compute.instances.table import Instance
from core.consoles import heard
from core.consoles.client import LogPart
from core.consoles.searching import Found, Search
from core.consoles.ways import Kind, Target, Way
from core.errors import HostFailed
from core.sql import select
from tests.tui.driving import LARGE, SMALL, Cloud, Driver, driven
from tui.console import lines as kept
from tui.console import page, ssh
from tui.console.lines import LogLines
from tui.console.logview import LogPanel, LogView
from tui.locator import Locator


def part(text: str, *, whole: bool = False, times: tuple[tuple[int, float], ...] = ()) -> LogPart:
    return LogPart(text=text, whole=whole, times=times)


class Log:
    """core.consoles.client.Log, as the test says."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[LogPart] = asyncio.Queue()

    async def read(self, lines: int) -> LogPart | None:
        return self.parts.get_nowait() if not self.parts.empty() else part("")

    async def close(self) -> None: ...


def test_pieces_become_lines_with_times(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogLines()
    assert log.feed(part("one\r\ntwo\x1b[2J\npar", whole=True, times=((1, 10.0),))) == 0
    assert (log.lines, log.times) == (["one", "two", "par"], [None, 10.0, 10.0])
    log.feed(part("tial\nnext\n", times=((0, 20.0), (1, 30.0))))
    assert log.lines == ["one", "two", "partial", "next"]
    assert log.times == [None, 10.0, 10.0, 30.0], "a line that goes on keeps the time it began"
    monkeypatch.setattr(kept, "MOST", 3)
    assert log.feed(part("last\n")) == 2
    assert log.lines == ["partial", "next", "last"]
    assert log.feed(part("new\n", whole=True)) == 3
    assert (log.lines, log.times) == (["new"], [None])


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()

    async def opened(self: Any, instance: str, lines: int) -> Log:
        return made

    monkeypatch.setattr("tui.seat.Seat.open_log", opened)
    monkeypatch.setattr(page, "LOOK_AGAIN", 0.01)
    return made


def panel(app: Driver) -> LogPanel:
    return app.app.screen.query_one(LogPanel)


async def test_a_log_is_read_searched_and_copied_from(seeded: Cloud, log: Log) -> None:
    boot = "".join(f"[{number:3}] booting step {number}\n" for number in range(200))
    log.parts.put_nowait(part(boot + "Error: disk\x1b]52;c;AA\x07 lost\n", whole=True, times=((200, 1e9),)))
    async with driven(seeded, SMALL, Locator(kind="instance", filter="web-00")) as app:
        await app.press("l")
        await app.until("Error: disk lost")
        view = app.app.screen.query_one(LogView)
        assert "201 lines  follow on  wrap off  times off" in app.text
        # followed as it grows, until one looks at a line
        log.parts.put_nowait(part("grown\n"))
        await app.until("grown")
        await app.press("k")
        assert not view.following
        log.parts.put_nowait(part("unseen\n"))
        await app.until("203 lines  follow off")
        assert "unseen" not in app.text
        await app.press("s")
        await app.until("unseen")
        # searched while it is typed, around the ends, and given up
        await app.press("slash")
        await app.type("step 1")
        await app.until("/step 1")
        assert (len(view.matches), view.lines[view.cursor]) == (111, "[199] booting step 199")
        await app.press("enter", "N")
        assert view.cursor == 198
        await app.press("n", "n")
        assert view.cursor == 1, "around the end"
        assert "[  1] booting step 1" in app.text
        await app.press("slash")
        await app.type("Error")
        await app.until("1/1")
        await app.press("escape")
        assert (view.needle, view.cursor) == ("step 1", 1)
        await app.press("slash")
        await app.type("booting STEP")
        await app.until("-/0")
        await app.press("enter", "G")
        # marks, times, wrapping
        await app.press("m")
        await app.until("── mark ")
        log.parts.put_nowait(part("after " + "long " * 30 + "end\n", times=((0, 1e9),)))
        await app.until("after long")
        assert not any("long end" in line for line in app.lines)
        await app.press("w", "t")
        await app.until("end")
        assert "wrap on  times on" in app.text
        await app.press("w", "t")
        # copied: a line, and a selection
        await app.press("k", "k", "c")
        assert app.app.clipboard == "grown"
        await app.press("V", "k", "k")
        await app.until("3 selected")
        await app.press("c")
        assert app.app.clipboard == "[199] booting step 199\nError: disk lost\ngrown\n"
        # over the whole screen, and back; the keys of the page still work
        await app.press("f")
        await app.until(lambda: "Overview" not in app.text)
        await app.press("f")
        await app.until("Overview")
        await app.press("1")
        await app.until("vcpu")
        assert not panel(app).display
        await app.press("q")


async def test_why_there_is_no_log_is_said(seeded: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: Any, instance: str, lines: int) -> Log:
        raise HostFailed("host kvm01 is down", hint="")

    monkeypatch.setattr("tui.seat.Seat.open_log", refused)
    async with driven(seeded, SMALL, Locator(kind="instance", filter="web-00")) as app:
        await app.press("l")
        await app.until("no console: host kvm01 is down")


async def test_logs_of_all_instances(seeded: Cloud, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    _, store = seeded
    with store.read() as session:
        web = session.execute(select(Instance).where(Instance.name == "web-00")).scalar_one()
    line = Found(
        instance_id=web.id, instance="web-00", project="admin", host="kvm01", deleted=False, number=3, at=None,
        text="a needle\x1b[2J in hay",
    )  # fmt: skip

    async def search(self: Any, text: str, *, deleted: bool = False) -> Search:
        asked.append((text, deleted))
        gone = dataclasses.replace(line, instance="gone", deleted=True)
        lines = (line, gone) if deleted else (line,)
        return Search(lines=lines, searched=60, more=False, silent=(("kvm03", "host kvm03 is down"),))

    monkeypatch.setattr("tui.seat.Seat.search_logs", search)
    async with driven(seeded, LARGE) as app:
        await app.press("colon")
        await app.type("logs needle")
        await app.press("enter")
        await app.until("1 lines of 1 instances; 60 searched")
        assert "kvm03: host kvm03 is down" in app.text
        assert "a needle[2J in hay" in app.text.replace("\x1b", "?")
        await app.press("D")
        await app.until("gone")
        await app.press("j", "enter")
        await app.until("kept for a week")
        log.parts.put_nowait(part("first\na needle[2J in hay\nlast needle\n", whole=True))
        await app.press("k", "enter")
        await app.until("/needle 1/2")
        assert app.app.screen.query_one(LogView).cursor == 1
        await app.press("q")
        await app.until("Console logs of")
        await app.press("slash")
        await app.type("s")
        await app.press("enter")
        await app.until(lambda: asked[-1] == ("s", True))
        await app.press("q")
    assert asked[:2] == [("needle", False), ("needle", True)]


async def test_what_guests_tell_is_said_once(seeded: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.app.ATTEND_AFTER", 0.01)
    _, store = seeded

    def tell(name: str, pattern: str, line: str) -> None:
        with store.write() as session:
            found = session.execute(select(Instance).where(Instance.name == name)).scalar_one()
            assert heard.take(session, str(found.host_id), found.id, {"pattern": pattern, "line": line, "times": 2})

    with store.read() as session:
        query = select(Instance.name).where(col(Instance.host_id).is_not(None)).order_by(col(Instance.name)).limit(4)
        names = list(session.execute(query).scalars())
    tell(names[0], "panic", "of before")
    async with driven(seeded, LARGE) as app:
        await app.pilot.pause(0.3)
        tell(names[0], "panic", "Kernel panic - not syncing\x1b[2J: bad")
        await app.until(f"{names[0]}: kernel panic (2 times)")
        assert "Kernel panic - not syncing[2J: bad" in app.text
        tell(names[1], "login", "web-01 login: ")
        for name in names:
            tell(name, "oom", "Out of memory")
        await app.until(lambda: len(app.app.notes.newest_first()) >= 6)
        said = [note.title for note in app.app.notes.newest_first()]
        assert not any("of before" in title for title in said)
        assert f"{names[1]} is up: it asks for a login" in said
        await app.press("s")
        await app.until("cannot ssh: batch-04 is SHUTOFF")


def test_ssh_takes_the_first_way_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    floating = Way(kind=Kind.FLOATING, address="203.0.113.5", network_id="n")
    provider = Way(kind=Kind.PROVIDER, address="192.0.2.7", network_id="p")
    inside = Way(kind=Kind.INSIDE, address="10.0.0.3", network_id="n")
    target = Target(id="u-1", name="web", user="debian", ways=(floating, provider, inside))
    answering = {"192.0.2.7"}
    monkeypatch.setattr(ssh, "_answers", lambda address, port: address in answering)
    login = ssh.Login()
    assert ssh.choose(target, login) is provider
    assert ssh.choose(target, dataclasses.replace(login, through_host=True)) is inside
    answering.clear()
    assert ssh.choose(target, login) is inside
    direct = ssh.arguments(target, floating, ssh.Login(user="me", port=2222, command=("uptime",)), project_id="p")
    assert direct[:5] == ["ssh", "-l", "me", "-p", "2222"]
    assert direct[-3:] == ["--", "203.0.113.5", "uptime"]
    assert not any("ProxyCommand" in word for word in direct)
    through = ssh.arguments(target, inside, login, project_id="p")
    (proxy,) = [word for word in through if "ProxyCommand" in word]
    assert "--project p server tunnel u-1 --address 10.0.0.3 --port %p" in proxy
    assert through[1:3] == ["-l", "debian"]
