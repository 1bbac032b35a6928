"""`make picture`: the app drawn by itself, for README: docs/app.svg.

The cloud is the tests' seeded one, with its frozen clock and ids, so that the picture changes only when the app does.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from core import cloud
from core.identity import quotas
from tests.lab.hosts import REPOSITORY
from tests.tui import seed
from tests.tui.driving import driven

PICTURE = REPOSITORY / "docs" / "app.svg"
SIZE = (110, 30)


async def draw(home: Path) -> str:
    """The app's own SVG of its instance list, with the preview and the operations below."""
    config, store, ctx = seed.fresh(home)
    seed.populate(store, ctx, instances=18)
    with store.write() as session:
        cloud.take_lease(session, owner="picture", lasts=60_000_000)  # the app then sees an engine
        quotas.update(session, ctx, ctx.project_id, ctx.project_name, {"cores": 80, "ram": 163840, "instances": 42})
    async with driven((config, store), SIZE) as driver:
        await driver.press("j", "j", "space", "j")
        await driver.until("live")
        picture = driver.app.export_screenshot(title="skydeck")
    store.close()
    return picture


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        PICTURE.write_text(asyncio.run(draw(Path(home))))
    print(PICTURE, file=sys.stderr)


if __name__ == "__main__":
    main()
