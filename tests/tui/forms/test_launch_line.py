"""`:launch web-{1..3} m1.small debian net=app`: completed, previewed, and done; what makes no sense is named."""

from __future__ import annotations

from typing import Any

import pytest

from core import cloud as clouds
from core.errors import Invalid
from tests.tui.driving import SMALL, Cloud, driven
from tests.tui.forms.test_form import roomy, rows
from tui.forms import braces, launch_line
from tui.forms.derived import commands
from tui.registry import VIEWS
from tui.view import Loaded
from tui.views import launch


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web", ["web"]),
        ("web-{1..3}", ["web-1", "web-2", "web-3"]),
        ("{a,b}-{08..10}", ["a-08", "a-09", "a-10", "b-08", "b-09", "b-10"]),
        ("w{3..1}", ["w3", "w2", "w1"]),
        ("w{x}{}", ["w{x}{}"]),
    ],
)
def test_braces_mean_what_they_mean_in_a_shell(text: str, names: list[str]) -> None:
    assert braces.expanded(text) == names


@pytest.mark.parametrize("text", ["w{1..99999}", "{1..99}-{1..99}"])
def test_a_slip_of_the_finger_is_not_a_thousand_machines(text: str) -> None:
    with pytest.raises(Invalid, match="more than 1000 names"):
        braces.expanded(text)


@pytest.fixture
def loaded(cloud: Cloud) -> Loaded:
    config, store = cloud
    with store.read() as session:
        return launch.load(session, clouds.context(session, config, source="test"), None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "web-{1..3} m1.small debian net=app",
            "--image debian-13 --flavor m1.small --network app WHO web-1 web-2 web-3",
        ),
        ("w ubuntu m1.sm count=2 key=", "--image ubuntu-24.04 --flavor m1.small --network app --min 2 --max 2 w"),
        (
            "w m1.small debian net=app,backup sg=web volume=9 az=nova user-data=/x key=alice",
            "--image debian-13 --boot-from-volume 9 --flavor m1.small --network app --network backup "
            "--security-group web --key-name alice-ed25519 --user-data /x --availability-zone nova w",
        ),
        ("w m1.small volume=golden", "--volume golden --flavor m1.small --network app WHO w"),
    ],
)
def test_a_line_is_the_form_filled_in(text: str, words: str, loaded: Loaded) -> None:
    values = launch_line.meant(loaded, text)
    [line] = commands(VIEWS["instance"], launch.FORM, loaded, values)
    assert line == ["server", "create", *words.replace("WHO", "--key-name alice-ed25519").split()]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("", "a launch needs a name"),
        ("net=app", "a launch needs a name"),
        ("w nope", "'nope' is no flavor or image"),
        ("w m1", "'m1' is more than one flavor or image"),
        ("w net=nope", "'nope' is no network"),
        ("w sg=nope", "'nope' is no group"),
        ("w volume=nope", "'nope' is no bootable volume"),
        ("w colour=red", "there is no colour="),
    ],
)
def test_the_word_that_makes_no_sense_is_named(text: str, title: str, loaded: Loaded) -> None:
    with pytest.raises(Invalid) as refused:
        launch_line.meant(loaded, text)
    assert refused.value.title == title
    assert refused.value.hint


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("w m1.s", ["m1.small"]),
        ("w m1.small deb", ["debian-13"]),
        ("w m1.small debian-13 n", ["net="]),
        ("w net=ba", ["net=backup"]),
        ("w net=app,b", ["net=app,backup"]),
        ("w volume=gol", ["volume=golden"]),
        ("w net=app key=a", ["key=alice-ed25519"]),
    ],
)
def test_words_are_completed(text: str, offered: list[str], loaded: Loaded) -> None:
    before, _, last = text.rpartition(" ")
    assert launch_line._words(loaded, before.split()[1:], last) == offered


async def test_a_line_says_what_it_would_do_and_does_it(seeded: Cloud) -> None:
    roomy(seeded)

    def there() -> list[Any]:
        return [row["name"] for row in rows(seeded, "instance") if row["name"].startswith("new-")]

    async with driven(seeded, SMALL) as app:
        await app.press("colon")
        await app.type("launch new-{1..3} m1.small deb")
        await app.until(lambda: "debian-13" in app.lines[-2])
        await app.press("tab")
        assert app.lines[-1].startswith(":launch new-{1..3} m1.small debian-13")
        await app.type(" nte=app")
        await app.until("! there is no nte=")
        for _ in "nte=app":
            await app.press("backspace")
        await app.type("net=app")
        await app.until("3: new-1 to new-3, m1.small, debian-13 on app  instances 27/30")
        assert there() == []  # a look ahead is no launch
        await app.press("enter")
        await app.until("creating 3: new-1 to new-3")
        await app.until(lambda: sorted(there()) == ["new-1", "new-2", "new-3"])
        await app.press("colon")
        await app.type("launch new-{1..9} m1.small")
        await app.until("! quota exceeded for instances")
        await app.press("enter")
        await app.until("quota exceeded for instances: 27 of 30 used, 9 more wanted")
        await app.press("colon", "up")  # the line is not lost
        await app.until(":launch new-{1..9} m1.small")
        await app.press("escape", "colon")
        await app.type("launch")
        await app.press("enter")  # alone it is the form
        await app.until("Instances > Launch")
    assert len(there()) == 3
