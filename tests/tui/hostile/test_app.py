"""Nothing a stranger wrote reaches the terminal as anything but letters: the app, run on a pty, page after page."""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path

import pexpect
import pyte
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.tui.hostile.poison import poison
from tests.tui.hostile.strings import ATTACKS, TEXTS
from tests.tui.hostile.wire import complaints, taken_apart
from tui import registry

QUIT = "\x11"


class Terminal:
    """The program on a pty, everything it sends, and what a terminal would show of it."""

    def __init__(self, home: Path, width: int, height: int) -> None:
        kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "PYTHONPATH")}
        environment = {
            **kept, "SKYDECK_HOME": str(home), "TERM": "xterm-256color", "TEXTUAL_ANIMATIONS": "none",
            "PYTHONIOENCODING": "utf-8", "LANG": "C.UTF-8",
        }  # fmt: skip
        self.child = pexpect.spawn(
            sys.executable, ["-m", "tests.tui.hostile.child"], env=environment, dimensions=(height, width), timeout=20
        )  # fmt: skip
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def take(self, *, quiet: float = 0.05, longest: int = 40) -> None:
        """All that comes until nothing has come for a moment."""
        for _ in range(longest):
            try:
                data = self.child.read_nonblocking(1 << 16, timeout=quiet)
            except (pexpect.TIMEOUT, pexpect.EOF):
                return
            self.raw += data
            self._stream.feed(data)

    def until(self, text: str) -> None:
        for _ in range(200):
            if any(text in line for line in self.screen.display):
                return
            self.take(longest=1)
        raise AssertionError("\n".join([text, *self.screen.display]))

    def press(self, keys: str) -> None:
        self.child.send(keys)
        self.take()

    def leave(self) -> None:
        self.child.send(QUIT)
        self.take(quiet=0.5)
        self.child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=10)
        self.raw += self.child.before or b""
        self.child.close()


PAGES = ("messages", "topology", "pulse", "undo", "keys", "logs")


def _walk(terminal: Terminal, kinds: tuple[str, ...] = tuple(registry.VIEWS)) -> None:
    """Every list, each with its page and all of its tabs, its menu, its help, its forms, its questions."""
    terminal.until("Instances(admin)")
    for kind in kinds:
        view = registry.VIEWS[kind]
        terminal.press(f":{view.aliases[0]}\r")
        terminal.press("w")
        terminal.press("d")
        for _ in range(len(view.tabs) + 2):
            terminal.press("\t")
        terminal.press("q")
        for keys in ("a", "W", "u", "t"):
            terminal.press(keys)
            terminal.press("q")
        keys = {verb.key for verb in view.verbs}
        for form in ("X", "n", "e"):
            if form in keys:
                terminal.press(form)
                terminal.press("\x1b")
                terminal.take(quiet=0.15)  # so long it takes a terminal's Escape to be one
    for page in PAGES:
        terminal.press(f":{page}\r")
        terminal.press("q")
    for key in ("?", "q", "T", "\x10", "x", "\x1b"):
        terminal.press(key)
    terminal.take(quiet=0.15)


LONG = [pytest.mark.e2e, pytest.mark.timeout(900)]

FEW = ("instance", "volume", "event")
"""Kinds that together have every sort of page."""


@pytest.mark.parametrize(
    ("width", "height", "kinds"),
    [
        (80, 24, FEW),
        pytest.param(80, 24, tuple(registry.VIEWS), marks=LONG),
        pytest.param(140, 40, tuple(registry.VIEWS), marks=LONG),
    ],
)
def test_no_page_obeys_a_stranger(tmp_path: Path, width: int, height: int, kinds: tuple[str, ...]) -> None:
    poison(tmp_path, ATTACKS)
    terminal = Terminal(tmp_path, width, height)
    _walk(terminal, kinds)
    terminal.leave()
    assert terminal.child.exitstatus == 0, terminal.raw[-3000:].decode(errors="replace")
    assert complaints(terminal.raw) == []
    assert len(taken_apart(terminal.raw).text) > 20_000, "it was shown something"


def test_columns_stay_in_line_whatever_stands_in_them(tmp_path: Path) -> None:
    # pyte, which stands for a terminal here, forgets the rest of a line behind a Hangul vowel.
    poison(tmp_path, [text for text in ATTACKS if text.strip() and "\u1161" not in text], instances=36)
    terminal = Terminal(tmp_path, 140, 40)
    terminal.until("Instances(admin)")
    terminal.take(quiet=0.5)
    cells = terminal.screen.buffer
    top = next(y for y, line in enumerate(terminal.screen.display) if "NAME" in line and "AGE" in line)
    head = "".join(cells[top][x].data for x in range(140))
    ages, states = head.rindex("AGE"), head.index("STATUS")
    rows = 0
    for y in range(top + 1, top + 25):
        age = "".join(cells[y][x].data for x in range(ages - 1, ages + 3))
        assert re.fullmatch(r" *\d+[dhms]", age), (y, age, terminal.screen.display[y])
        assert cells[y][ages - 2].data == " ", terminal.screen.display[y]
        assert cells[y][states].data in "+~!o=z?", terminal.screen.display[y]
        assert cells[y][states - 1].data == " ", terminal.screen.display[y]
        rows += 1
    assert rows == 24
    terminal.leave()


def test_only_c_writes_the_clipboard_and_writes_it_in_base64(tmp_path: Path) -> None:
    poison(tmp_path, ["\x1b]52;c;b3duZWQ=\x07x"])
    terminal = Terminal(tmp_path, 80, 24)
    terminal.until("Instances(admin)")
    terminal.take()
    assert complaints(terminal.raw) == []
    terminal.press("c")
    terminal.press("n")
    terminal.take(quiet=0.3)
    terminal.leave()
    [copied] = [text for text in taken_apart(terminal.raw).strings if text.startswith("52;c;")]
    assert base64.b64decode(copied.removeprefix("52;c;")).startswith(b"\x1b]52"), "as it is, for whoever pastes it"
    assert complaints(terminal.raw, copied=(copied,)) == []


@pytest.mark.e2e
@pytest.mark.timeout(900)
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(texts=st.lists(TEXTS, min_size=20, max_size=40))
def test_no_page_obeys_what_nobody_thought_of(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    home = tmp_path_factory.mktemp("poisoned")
    poison(home, texts)
    terminal = Terminal(home, 100, 30)
    _walk(terminal, FEW)
    terminal.leave()
    assert complaints(terminal.raw) == []
