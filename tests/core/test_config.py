"""Where settings come from, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import config
from core.errors import Invalid


def write(home: Path, text: str) -> None:
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(text)


def test_defaults(tmp_path: Path) -> None:
    found = config.load({"SKYDECK_HOME": str(tmp_path)})
    assert found.home == tmp_path
    assert found.database_url == f"sqlite:///{tmp_path / 'skydeck.db'}"
    assert (found.project, found.scheduler, found.cpu_allocation_ratio) == ("admin", "filter", 4.0)


def test_xdg(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "c"), "XDG_DATA_HOME": str(tmp_path / "d")}
    (tmp_path / "c/skydeck").mkdir(parents=True)
    (tmp_path / "c/skydeck/config.toml").write_text('project = "demo"')
    found = config.load(environ)
    assert (found.home, found.project) == (tmp_path / "d/skydeck", "demo")
    assert config.load({"HOME": str(tmp_path)}).home == tmp_path / ".local/share/skydeck"


def test_environment_over_file(tmp_path: Path) -> None:
    write(tmp_path, 'project = "demo"\ndatabase_url = "sqlite:///x"\ncpu_allocation_ratio = 2')
    environ = {"SKYDECK_HOME": str(tmp_path)}
    assert config.load(environ).project == "demo"
    assert config.load(environ).cpu_allocation_ratio == 2.0
    changed = config.load(environ | {"SKYDECK_PROJECT": "p", "SKYDECK_DATABASE_URL": "postgresql+psycopg:///y"})
    assert (changed.project, changed.database_url) == ("p", "postgresql+psycopg:///y")


def test_tables(tmp_path: Path) -> None:
    write(tmp_path, '[image_stores.fast]\ndriver = "s3"\nport = 9\nsecure = true')
    found = config.load({"SKYDECK_HOME": str(tmp_path)}).image_stores
    assert found == {"fast": {"driver": "s3", "port": "9", "secure": "true"}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image_stores = 1", "image_stores must be tables"),
        ("[image_stores]\nfast = 1", "image_stores must be tables"),
        ("[image_stores.fast]\nhosts = []", "image_stores.fast.hosts must be a word"),
        ("projekt = 1", "unknown setting 'projekt'"),
        ("project = 1", "project must be str"),
        ("host_builds = true", "host_builds must be int"),
        ("host_builds = 1.5", "host_builds must be int"),
        ('home = "/x"', "unknown setting 'home'"),
        ("project = ", "is not TOML"),
    ],
)
def test_refused(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, text)
    with pytest.raises(Invalid) as refused:
        config.load({"SKYDECK_HOME": str(tmp_path)})
    assert says in refused.value.title
    assert str(tmp_path / "config.toml") in refused.value.title
