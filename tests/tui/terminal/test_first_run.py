"""An empty cloud: whatever is missing first, one key leads to the form that brings it."""

from __future__ import annotations

from tests.tui import seed
from tests.tui.driving import SMALL, Cloud, driven
from tui.locator import Locator


async def test_one_key_brings_what_is_missing_first(empty: Cloud) -> None:
    _, store = empty
    async with driven(empty, SMALL) as driver:
        await driver.until("There is no host to run them.")
        assert "n adds this machine or another" in driver.text
        await driver.press("n")
        await driver.until("there is no host to run them")
        assert "Hosts > " in driver.lines[1]
        await driver.press("escape")
        with store.write() as session:
            seed.host(session, "kvm01")
        await driver.until("There is no image to boot.")
        await driver.press("n")
        await driver.until("there is no image to boot")
        assert "Images > " in driver.lines[1]
        await driver.press("escape")
        ctx = driver.app.seat.ctx
        with store.write() as session:
            seed.image(session, ctx, "debian-13", visibility="public")
        await driver.until("n opens the launch form")
        await driver.press("n")
        # No network is no hindrance: the first launch makes one, and the form says so.
        await driver.until("same as")
        assert "Instances > Launch" in driver.text


async def test_every_empty_list_names_a_key_or_a_command(empty: Cloud) -> None:
    kinds = ("host", "image", "network", "volume", "keypair", "router", "security_group", "floating_ip", "snapshot")
    for kind in kinds:
        async with driven(empty, SMALL, Locator(kind=kind)) as driver:
            if driver.app.browser.rows.pages.count:
                continue
            said = " ".join(driver.lines[4:18])
            assert any(word in said for word in ("n ", " n:", ": n", "press ", ":")), (kind, said)
