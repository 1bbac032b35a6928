"""The form's screen: judged while one types, at the field that is meant; kept as a draft; its command for the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import TextArea

from core import cloud as clouds
from core import listing
from core.identity import quotas
from core.lists import LISTINGS
from tests.tui.driving import SMALL, Cloud, Driver, driven
from tests.tui.forms.cases import Case
from tui.forms.judging import judge
from tui.locator import Locator

NARROW = (34, 20)


def rows(cloud: Cloud, kind: str, **where: str) -> list[dict[str, Any]]:
    config, store = cloud
    with store.read() as session:
        ctx = clouds.context(session, config, source="test")
        return listing.page(session, ctx, LISTINGS[kind], where=where)


def roomy(cloud: Cloud) -> None:
    config, store = cloud
    with store.write() as session:
        ctx = clouds.context(session, config, source="test")
        quotas.update(session, ctx, ctx.project_id, ctx.project_name, {"instances": 30, "cores": -1, "ram": -1})


def below(app: Driver, label: str) -> str:
    """The line under a field's."""
    at = next(at for at, line in enumerate(app.lines) if line.startswith(f" {label} "))
    return app.lines[at + 1].strip()


async def judged(app: Driver) -> None:
    await app.until(lambda: getattr(app.app.screen, "judged", True))
    await app.pilot.pause()


async def test_what_is_wrong_is_said_at_the_field_while_it_is_typed(seeded: Cloud) -> None:
    async with driven(seeded, SMALL, Locator(kind="network", filter="app")) as app:
        await app.press("A")
        await app.until("same as")
        await app.press("down", "down", "home", "ctrl+k")
        await app.type("10.0.9.0/24")
        await judged(app)
        assert below(app, "addresses").startswith("! 10.0.9.0/24 overlaps subnet app (10.0.0.0/16)")
        await app.press("home", "ctrl+k")
        await app.type("10.99.0.0/24")
        await app.press("down")
        await app.type("10.1.1.1")
        await judged(app)
        assert below(app, "gateway").startswith("! gateway 10.1.1.1 is not a usable address of 10.99.0.0/24")
        assert not below(app, "addresses").startswith("!")
        await app.press("ctrl+s")  # refused where it stands, with the cursor on it
        await app.until(lambda: getattr(app.app.screen.focused, "id", "") == "gateway")
        assert not rows(seeded, "subnet", cidr="10.99.0.0/24")
        await app.press("home", "ctrl+k")
        await judged(app)
        assert "quota after  subnets 4/100" in app.text
        await app.press("ctrl+y")
        assert app.app.clipboard == "skydeck subnet create --network app --subnet-range 10.99.0.0/24 app"
        await app.press("ctrl+s")
        await app.until("subnet app made")
    assert len(rows(seeded, "subnet", cidr="10.99.0.0/24")) == 1


async def test_a_draft_is_kept_and_what_was_chosen_last_is_there_again(seeded: Cloud) -> None:
    async with driven(seeded, SMALL, Locator(kind="volume")) as app:
        await app.press("n")
        await app.until("same as")
        await app.type("half")
        await app.press("escape")
        await app.until(":vol")
        assert not rows(seeded, "volume", name="half")
        await app.press("n")
        await app.until("a draft you left")
        assert " name        half" in app.text
        await app.press("ctrl+r")
        await app.until(" name        vol-1")
        assert "draft" not in app.text
        await app.press("down", "down", "down", "l")  # another type than the default
        await judged(app)
        chosen = app.app.screen.values()["type"]  # type: ignore[attr-defined]
        await app.press("ctrl+s")
        await app.until("creating volume vol-1")
    async with driven(seeded, SMALL, Locator(kind="volume")) as app:  # in the next start as well
        await app.press("n")
        await app.until(" name        vol-2")
        assert app.app.screen.values()["type"] == chosen  # type: ignore[attr-defined]
        assert f"--type {chosen}" in app.text


async def test_two_keys_launch_and_two_keys_clone(seeded: Cloud) -> None:
    roomy(seeded)
    before = len(rows(seeded, "instance"))
    async with driven(seeded, SMALL) as app:
        await app.press("n", "ctrl+s")
        await app.until("creating ")
        await app.until(lambda: len(rows(seeded, "instance")) == before + 1)
        await app.press("slash")
        await app.type("web-06")
        await app.press("enter")
        await app.until(lambda: "web-06" in app.cursor)
        await app.press("N", "ctrl+s")
        await app.until("creating web-07")
        await app.press("q", "colon")
        await app.type("flavors /m1.small")
        await app.press("enter")
        await app.until(lambda: "m1.small" in app.cursor)
        await app.press("b", "ctrl+s")
        await app.until("creating web-08")
    [like] = rows(seeded, "instance", name="web-06")
    [made] = rows(seeded, "instance", name="web-07")
    assert {key: like[key] for key in ("flavor", "image", "key_name")} == {
        key: made[key] for key in ("flavor", "image", "key_name")
    }


async def test_a_form_scrolls_where_there_is_no_room(seeded: Cloud) -> None:
    async with driven(seeded, NARROW, Locator(kind="project")) as app:
        await app.press("f")
        await app.until(" instances")
        for _ in range(16):
            await app.press("down")
        assert app.app.screen.focused.id == "images"  # type: ignore[union-attr]
        assert any(line.startswith(" images") for line in app.lines)
        await app.press("home", "ctrl+k")
        await app.type("7x")
        await judged(app)
        await app.until("'7x' is no")
        assert app.lines[-1].startswith("Ctrl+S quotas  Esc leave")


BLAMED = [
    (Case("instance", "new", typed={"name": " "}), "name"),
    (Case("instance", "new", typed={"zone": "nowhere:kvm09"}), ""),
    (Case("instance", "new", typed={"user_data": "/nowhere"}), "user_data"),
    (Case("instance", "new", typed={"count": "x"}), "count"),
    (Case("volume", "new", typed={"size": "big"}), "size"),
    (Case("volume", "new", typed={"source": "~image debian", "size": "1"}), "size"),
    (Case("volume", "extend", {"status": "available"}, {"size": "1"}), "size"),
    (Case("network", "new", typed={"cidr": "10.0.0.0/33"}), "cidr"),
    (Case("network", "new", typed={"dns": "nine"}), "dns"),
    (Case("network", "edit", {"name": "app"}, {"mtu": "12"}), "mtu"),
    (Case("port", "new", typed={"network": "~app", "ips": "192.0.2.1"}), "ips"),
    (Case("port", "new", typed={"network": "~app", "in": "fast"}), "in"),
    (Case("router", "edit", {"name": "gate"}, {"routes": "nonsense"}), "routes"),
    (Case("flavor", "new", typed={"vcpus": "0"}), "vcpus"),
    (Case("flavor", "new", typed={"specs": "nonsense"}), "specs"),
    (Case("flavor", "new", typed={"name": "m1.tiny"}), "name"),
    (Case("keypair", "new", typed={"public_key": "hello"}), "public_key"),
    (Case("image", "new", typed={"source": "url", "url": "gopher://x"}), "url"),
    (Case("image", "new", typed={"source": "url", "url": "https://x.test/a", "checksum": "zz"}), "checksum"),
    (Case("image", "edit", {"name": "debian-13"}, {"min_disk": "some"}), "min_disk"),
    (Case("host", "new", typed={"address": ""}), "address"),
    (Case("security_group", "rule", {"name": "web"}, {"what": "other", "other": "tcp http"}), "other"),
    (Case("qos", "new", typed={"specs": "speed=9"}), "specs"),
    (Case("backend", "new", typed={"name": "x", "over": "much"}), "over"),
    (Case("project", "quotas", {"name": "other"}, {"cores": "-5"}), "cores"),
]


@pytest.mark.parametrize(("case", "field"), BLAMED, ids=str)
def test_a_refusal_is_laid_at_the_field_it_is_about(case: Case, field: str, cloud: Cloud) -> None:
    """The sentence is the verb's own; only where it stands is the form's doing."""
    config, store = cloud
    with store.read() as session:
        ctx = clouds.context(session, config, source="test")
        loaded, values = case.opened(session, ctx)
    form = case.form
    shown = [each for each in form.fields if each.name not in loaded.hidden]
    verdict = judge(store, config, ctx, form=form, fields=shown, start=loaded.values, values=values)
    assert verdict.refused is not None
    assert verdict.field == field, verdict.refused.title


def test_a_quota_that_is_passed_is_told_with_its_numbers(cloud: Cloud) -> None:
    config, store = cloud
    with store.read() as session:
        ctx = clouds.context(session, config, source="test")
        loaded, values = Case("volume", "new", typed={"size": "9000"}).opened(session, ctx)
        was = quotas.tally(session, ctx.project_id)["gigabytes"]
    form = Case("volume", "new").form
    verdict = judge(store, config, ctx, form=form, fields=form.fields, start=loaded.values, values=values)
    assert verdict.field == ""
    assert "quota exceeded for gigabytes" in str(verdict.refused)
    assert (verdict.counts["gigabytes"].after, verdict.counts["gigabytes"].over) == (was + 9000, True)
    assert not verdict.counts["volumes"].over
    with store.read() as session:  # and nothing of it happened
        assert quotas.tally(session, ctx.project_id)["gigabytes"] == was


async def test_user_data_is_written_in_an_editor(seeded: Cloud, tmp_path: Path) -> None:
    roomy(seeded)
    async with driven(seeded, SMALL) as app:
        await app.press("n")
        await app.until("same as")
        await app.press("ctrl+o")  # no terminal to hand over here: the editor within the app
        await app.until("#cloud-config")
        area = app.app.screen.query_one(TextArea)
        area.insert("ssh_pwauth: true", area.document.end)
        await app.press("ctrl+s")
        await app.until("--user-data")
        await judged(app)
        await app.press("ctrl+s")
        await app.until("creating ")
    [file] = (seeded[0].home / "edits").iterdir()
    assert file.read_text() == "#cloud-config\nssh_pwauth: true"


async def test_a_command_says_which_project_it_works_in_when_that_is_not_the_usual_one(seeded: Cloud) -> None:
    async with driven(seeded, SMALL, Locator(kind="network"), project="demo") as app:
        await app.press("n")
        await app.until("skydeck --project demo network create")
