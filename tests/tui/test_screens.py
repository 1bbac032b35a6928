"""Every main screen as a grid of text, at both sizes, with clock and ids frozen."""

from __future__ import annotations

import pytest

from tests.tui.driving import LARGE, SMALL, Cloud, driven, same_as_golden
from tui.locator import Locator

SIZES = [pytest.param(SMALL, id="80x24"), pytest.param(LARGE, id="140x40")]


def _name(what: str, size: tuple[int, int]) -> str:
    return f"{what}-{size[0]}x{size[1]}"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "kind",
    ["instance", "volume", "backup", "image", "flavor", "keypair", "network", "subnet", "port", "router", "floating_ip",
     "security_group", "security_group_rule", "host", "project", "operation", "event", "finding"],
)  # fmt: skip
async def test_lists(seeded: Cloud, size: tuple[int, int], kind: str) -> None:
    async with driven(seeded, size, Locator(kind=kind)) as app:
        same_as_golden(app.text, _name(f"list-{kind}", size))


@pytest.mark.parametrize("kind", ["snapshot", "volume_type", "backend", "image_member"])
async def test_lists_of_storage(seeded: Cloud, kind: str) -> None:
    async with driven(seeded, SMALL, Locator(kind=kind)) as app:
        same_as_golden(app.text, _name(f"list-{kind}", SMALL))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kind", "filter", "tab"),
    [("instance", "web-00", 0), ("instance", "lb-03", 0), ("instance", "web-00", 1), ("instance", "web-00", 6),
     ("operation", "lb-03", 0), ("host", "kvm03", 0), ("network", "app", 0), ("project", "demo", 0),
     ("image", "debian", 0), ("volume", "db-data", 0), ("host", "kvm01", 2)],
)  # fmt: skip
async def test_details(seeded: Cloud, size: tuple[int, int], kind: str, filter: str, tab: int) -> None:
    async with driven(seeded, size, Locator(kind=kind, filter=filter)) as app:
        await app.press("d")
        if tab:
            await app.press(str(tab + 1))
        await app.until(lambda: app.lines[3].strip() not in ("", "…"))
        if kind == "instance" and not tab:
            await app.until("nothing is measured")
            if size == LARGE:
                await app.until("No console")
        same_as_golden(app.text, _name(f"detail-{kind}-{filter}-{tab}", size))


@pytest.mark.parametrize(
    ("kind", "filter", "tab"),
    [("network", "app", 3), ("subnet", "app", 0), ("port", "web-00", 0), ("port", "web-00", 2), ("router", "gate", 0),
     ("router", "gate", 2), ("floating_ip", "203.0.113.5", 0), ("security_group", "web", 0),
     ("security_group", "web", 2), ("security_group_rule", "443", 0), ("host", "kvm02", 1)],
)  # fmt: skip
async def test_details_of_the_network(seeded: Cloud, kind: str, filter: str, tab: int) -> None:
    async with driven(seeded, SMALL, Locator(kind=kind, filter=filter)) as app:
        await app.press("d")
        if tab:
            await app.press(str(tab + 1))
        await app.until(lambda: app.lines[3].strip() not in ("", "…"))
        same_as_golden(app.text, _name(f"detail-{kind}-{filter}-{tab}", SMALL))


@pytest.mark.parametrize(
    ("kind", "filter", "tab"),
    [("volume", "db-data", 1), ("snapshot", "golden", 0), ("backup", "sunday", 0), ("volume_type", "ssd", 0),
     ("backend", "ceph", 0), ("instance", "web-00", 2), ("host", "kvm02", 2), ("image", "debian", 1)],
)  # fmt: skip
async def test_details_of_storage(seeded: Cloud, kind: str, filter: str, tab: int) -> None:
    async with driven(seeded, SMALL, Locator(kind=kind, filter=filter)) as app:
        await app.press("d")
        if tab:
            await app.press(str(tab + 1))
        await app.until(lambda: app.lines[3].strip() not in ("", "…"))
        same_as_golden(app.text, _name(f"detail-{kind}-{filter}-{tab}", SMALL))


@pytest.mark.parametrize(
    ("name", "kind", "filter", "key", "shown"),
    [
        ("new-volume", "volume", "", "n", "same as"),
        ("attach", "volume", "scratch", "A", "of 16"),
        ("snapshot", "volume", "db-data", "I", "power cut"),
        ("restore", "backup", "sunday", "b", "same as"),
        ("disks", "instance", "web-00", "A", "of 9"),
        ("cache", "host", "kvm01", "i", "prune"),
        ("edit-image", "image", "debian", "e", "properties"),
    ],
)
async def test_forms_of_storage(seeded: Cloud, name: str, kind: str, filter: str, key: str, shown: str) -> None:
    async with driven(seeded, SMALL, Locator(kind=kind, filter=filter)) as app:
        await app.press(key)
        await app.until(shown)
        await app.until(lambda: getattr(app.app.screen, "judged", True))
        same_as_golden(app.text, _name(name, SMALL))


@pytest.mark.parametrize(
    ("name", "kind", "key", "shown"),
    [
        ("pick", "floating_ip", "F", "of 16"),
        ("join", "router", "A", "of network backup"),
        ("allow", "security_group", "A", "same as"),
        ("new-network", "network", "n", "same as"),
        ("edit-port", "port", "e", "state"),
        ("edit-router", "router", "e", "state"),
        ("new-subnet", "subnet", "n", "advertised"),
    ],
)
async def test_forms_of_the_network(seeded: Cloud, name: str, kind: str, key: str, shown: str) -> None:
    async with driven(seeded, SMALL, Locator(kind=kind, filter="web-00" if kind == "port" else "")) as app:
        await app.press(key)
        await app.until(shown)
        await app.until(lambda: getattr(app.app.screen, "judged", True))
        same_as_golden(app.text, _name(name, SMALL))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("menu", ["a"]),
        ("help", ["question_mark"]),
        ("launch", ["n"]),
        ("confirm", ["G", "S"]),
        ("marks", ["space", "space", "R"]),
        ("type-out", ["asterisk", "X"]),
        ("command", ["colon", "o"]),
        ("wide", ["w", "right"]),
    ],
)
async def test_in_front_of_the_list(seeded: Cloud, size: tuple[int, int], name: str, keys: list[str]) -> None:
    async with driven(seeded, size) as app:
        for key in keys:
            await app.press(key)
            await app.pilot.pause(0.05)
        if name == "launch":
            await app.until("same as")
            await app.until(lambda: getattr(app.app.screen, "judged", True))
        same_as_golden(app.text, _name(name, size))


@pytest.mark.parametrize(
    "kind", ["instance", "volume", "image", "keypair", "network", "router", "floating_ip", "host", "operation"]
)
async def test_empty_lists_name_the_next_act(empty: Cloud, kind: str) -> None:
    async with driven(empty, SMALL, Locator(kind=kind)) as app:
        await app.until("No ")
        same_as_golden(app.text, f"empty-{kind}")
