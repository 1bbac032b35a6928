"""The one file that is pushed to a host: it runs on the system's own python3, alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hostd import __version__

PYTHON = "/usr/bin/python3"
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not os.path.exists(PYTHON), reason="needs the distribution's python3")


def built(out: Path, seed: str) -> str:
    command = [sys.executable, "-m", "hostd.bundle", str(out)]
    environment = os.environ | {"PYTHONHASHSEED": seed}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "hostd"
    built(out, "1")
    return out


def run(bundle: Path, *arguments: str) -> str:
    # From an empty directory and without the environment: nothing of this checkout can leak in.
    return subprocess.run(
        [PYTHON, "-I", str(bundle), *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=bundle.parent,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
    ).stdout


def test_the_same_environment_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    digest = built(tmp_path / "again", "2")
    assert (tmp_path / "again").read_bytes() == bundle.read_bytes()
    assert re.fullmatch("[0-9a-f]{64}", digest)


def test_it_is_a_command(bundle: Path) -> None:
    assert subprocess.check_output([bundle, "--version"], text=True) == f"hostd {__version__}\n"
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_it_serves_and_relays_alone(bundle: Path, tmp_path: Path) -> None:
    where = ("--state", str(tmp_path / "s"), "--run", str(tmp_path / "r"), "--drivers", "memory")
    assert run(bundle, "relay", *where) == ""  # starts the daemon
    pid = int((tmp_path / "r" / "hostd.pid").read_text())
    try:
        assert "tcg (in memory)" in run(bundle, "status", *where)
    finally:
        os.kill(pid, 15)


def test_all_it_stands_on_is_inside(bundle: Path) -> None:
    names = ("attrs", "cattrs", "typing_extensions", "pyroute2", "pycdlib", "hostd.serve")
    check = f"import sys; sys.path.insert(0, {str(bundle)!r}); import {', '.join(names)}"
    loaded = f"{check}; print([m.__file__ for m in ({', '.join(names)},)])"
    output = subprocess.check_output([PYTHON, "-I", "-S", "-c", loaded], text=True)
    assert output.count(str(bundle)) == len(names)


def test_the_real_drivers_load_in_it(bundle: Path) -> None:
    labels = run(bundle, "labels").split()
    assert {"instance:intent", "networking:intent", "act:outcome"} <= set(labels)
