"""The pictures in README and docs show the app as it is, and every one is shown somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.hosts import REPOSITORY
from tests.tui.picture import FOLDER, SCENES, Scene, draw


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_the_picture_is_what_the_app_draws(scene: Scene, tmp_path: Path) -> None:
    drawn = await draw(scene, tmp_path)
    assert drawn == (FOLDER / f"{scene.name}.svg").read_text(), "look at what changed, then: make picture"


def test_every_picture_is_shown_and_none_is_missing() -> None:
    shown: set[Path] = set()
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        shown |= {(page.parent / link).resolve() for link in re.findall(r"\]\(([^)]*\.svg)\)", page.read_text())}
    assert shown == {(FOLDER / f"{scene.name}.svg").resolve() for scene in SCENES}
    assert shown == {path.resolve() for path in FOLDER.iterdir()}
