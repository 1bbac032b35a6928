"""The app's own table of the configuration file: read strictly, written without losing a comment."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import config
from core.errors import Invalid
from tui import settings

FILE = """\
# mine
project = "x"  # why

[app]
theme = "light"  # for the day

[app.clouds.prod]
read_only = true
"""


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    assert settings.load(tmp_path / "config.toml") == settings.Settings()


def test_writing_keeps_comments_and_what_is_not_the_apps(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    path.chmod(0o640)
    settings.save(
        path,
        {
            "columns": {"instance": ["name", "status:9"]},
            "keymap": {"list.down": "n"},
            "bookmarks": {"errors": ":i /status=error", "gone": ":i"},
            "mouse": False,
        },
    )
    settings.save(path, {"bookmarks": {"gone": None}, "mouse": None})
    assert path.read_text().startswith('# mine\nproject = "x"  # why\n\n[app]\ntheme = "light"  # for the day\n')
    assert path.stat().st_mode & 0o777 == 0o640
    assert settings.load(path) == settings.Settings(
        theme="light",
        read_only_clouds=frozenset({"prod"}),
        columns={"instance": ["name", "status:9"]},
        keymap={"list.down": "n"},
        bookmarks={"errors": ":i /status=error"},
    )
    assert config.load({"SKYDECK_HOME": str(tmp_path)}).project == "x"
    assert settings.load(path).forbids_writing("prod")
    assert not settings.load(path).forbids_writing("local")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("app = 3", "app must be a table"),
        ("[app]\ncolour = 1", "unknown setting app.colour"),
        ('[app]\ntheme = "pink"', "app.theme must be one of dark"),
        ("[app]\nmouse = 1", "app.mouse must be true or false"),
        ("[app.columns]\ninstance = 3", "app.columns.instance must be a list of words"),
        ("[app.keymap]\n'list.down' = 3", "app.keymap.list.down must be a word"),
        ("[app.clouds.prod]\nro = true", "unknown setting app.clouds.prod.ro"),
        ("[app", "is not TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(Invalid, match=said):
        settings.load(path)


def test_nothing_is_written_that_could_not_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    with pytest.raises(Invalid, match="must be one of"):
        settings.save(path, {"theme": "pink"})
    assert path.read_text() == FILE


def test_the_command_line_has_the_last_word() -> None:
    set_so = settings.Settings(theme="light", glyphs="block")
    assert settings.override(set_so) == set_so
    over = settings.override(set_so, read_only=True, ascii_only=True, theme="grey")
    assert (over.read_only, over.glyphs, over.theme) == (True, "ascii", "grey")
    with pytest.raises(Invalid, match="no theme"):
        settings.override(set_so, theme="pink")
