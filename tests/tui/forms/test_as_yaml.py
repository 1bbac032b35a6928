"""Changing an object as YAML: only what can be changed, refused by name, and no text lost whatever happens."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml
from textual.widgets import TextArea

from core import cloud as clouds
from core import rehearsal
from core.errors import Invalid
from tests.tui.driving import SMALL, Cloud, driven
from tests.tui.forms.cases import Case, forms
from tests.tui.forms.test_form import rows
from tui.forms import document
from tui.locator import Locator
from tui.view import Form, Loaded

EDITS = [Case(kind, verb) for kind, verb, _ in forms() if verb == "edit"]


def opened(cloud: Cloud, case: Case) -> tuple[Form, Loaded, dict[str, Any]]:
    config, store = cloud
    with store.read() as session:
        ctx = clouds.context(session, config, source="test")
        row = case.row(session, ctx)
        assert row is not None
        return case.form, case.form.load(session, ctx, row), row


@pytest.mark.parametrize("case", EDITS, ids=str)
def test_every_form_is_a_document_that_reads_back_as_it_was(case: Case, cloud: Cloud) -> None:
    form, loaded, row = opened(cloud, case)
    text = document.write(form, loaded, about="it")
    assert document.read(form, loaded, text, row=row) == loaded.values
    found = yaml.safe_load(text)
    assert list(found) == [field.called for field in form.fields if field.name not in loaded.hidden]
    # What is left out stays as it was; what is not in the form is refused by its name.
    assert document.read(form, loaded, "", row=row) == loaded.values
    for name in ("id", "bogus"):
        with pytest.raises(Invalid, match=name):
            document.read(form, loaded, f"{text}{name}: 1\n", row={**row, "id": "x"})


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("port_security_enabled: false", {"security": "False"}),
        ("security_groups: [web]", "groups"),
        ("fixed_ips: [10.0.7.7, 10.0.7.8]", {"ips": "10.0.7.7, 10.0.7.8"}),
        ("ingress_limit: 10M", {"in": "10M"}),
        ("name: 12", {"name": "12"}),
        ("name: null", {"name": ""}),
        ("security_groups: web", None),
        ("security_groups: [nobody]", None),
        ("port_security_enabled: maybe", None),
        ("name: [a, b]", None),
        ("name: 'a", None),
        ("- name", None),
    ],
)
def test_what_a_document_says_in_the_forms_words(text: str, changed: Any, cloud: Cloud) -> None:
    form, loaded, row = opened(cloud, Case("port", "edit", {"device": "web-00", "network": "app"}))
    if changed is None:
        with pytest.raises(Invalid) as refused:
            document.read(form, loaded, text, row=row)
        assert refused.value.hint
        return
    if changed == "groups":
        changed = {"groups": next(key for key, name in loaded.choices["groups"] if name == "web")}
    assert document.read(form, loaded, text, row=row) == loaded.values | changed


def test_a_refusal_is_put_at_the_top_in_place_of_the_one_before() -> None:
    text = document.refused("name: a\n", "no", "do this")
    assert text == "# ! no\n# ! do this\nname: a\n"
    assert document.refused(text, "still\x1b[2J no", "") == "# ! still[2J no\nname: a\n"


def test_what_a_terminal_would_obey_is_escaped_for_the_editor(cloud: Cloud) -> None:
    form, loaded, row = opened(cloud, Case("network", "edit", {"name": "app"}))
    loaded.values["description"] = "a\x1b[31m\u202eb"
    text = document.write(form, loaded, about="a\x1b[2Jb")
    assert text.isprintable() or all(line.isprintable() for line in text.splitlines())
    assert document.read(form, loaded, text, row=row) == loaded.values


async def test_it_is_edited_in_the_app_where_there_is_no_terminal(seeded: Cloud) -> None:
    folder = seeded[0].home / "edits"
    async with driven(seeded, SMALL, Locator(kind="network", filter="app")) as app:
        await app.press("E")
        await app.until("port_security_enabled: true")
        await app.press("ctrl+s")
        await app.until("nothing was changed in app")
        assert not list(folder.iterdir())

        await app.press("E")
        await app.until("# Change network: network app")
        area = app.app.screen.query_one(TextArea)
        area.insert("bogus: 1", area.document.end)
        await app.pilot.pause()
        [kept] = folder.iterdir()
        assert kept.read_text().endswith("bogus: 1")  # letter by letter: a cut line loses none
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        await app.press("ctrl+s")
        await app.until("# ! there is no field 'bogus'")  # it comes back, with the reason on top
        await app.press("escape")
        await app.until("app was not changed")
        assert kept.read_text().endswith("bogus: 1")

        await app.press("E")  # and is there again the next time
        await app.until("# ! this text was left here before")
        app.app.screen.query_one(TextArea).text = "mtu: 12\n"
        await app.press("ctrl+s")
        await app.until("# ! an MTU cannot be 12")
        app.app.screen.query_one(TextArea).text = "mtu: 1400\ndescription: by hand\n"
        await app.press("ctrl+s")
        await app.until("network app changed")
        assert not list(folder.iterdir())
        await app.press("y")  # on the page of its YAML `e` does the same
        await app.until("dns_domain")
        await app.press("e")
        await app.until("# Change network: network app")
        await app.press("escape")
    [row] = rows(seeded, "network", name="app")
    assert (row["mtu"], row["description"]) == (1400, "by hand")


def test_the_editor_has_the_terminal_and_the_app_has_it_again(seeded: Cloud, tmp_path: Path) -> None:
    """Through a pty: EDITOR is a script that changes the document; the app goes on where it was."""
    config, _ = seeded
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\necho in the editor\nsed -i "s/^mtu: .*/mtu: 1400/" "$1"\n')
    script.chmod(0o755)
    program = (
        "import sys; from pathlib import Path; from tests.tui import seed; from core import cloud; "
        "from tui.app import Skydeck, start; from tui.seat import Seat; config = seed.config(Path(sys.argv[1])); "
        "Skydeck(Seat(config=config, store=cloud.open_store(config)), start(':net /app'), engine=False).run()"
    )
    env = {**os.environ, "EDITOR": str(script), "TERM": "xterm-256color", "TEXTUAL_ANIMATIONS": "none"}
    env.pop("VISUAL", None)
    app = pexpect.spawn(
        sys.executable, ["-c", program, str(config.home)], env=env, dimensions=(24, 80), timeout=60, encoding="utf-8"
    )
    try:
        app.expect("10.0.0.0/16")
        app.send("E")
        app.expect("in the editor")
        app.expect("network app changed")
        app.send(":q\r")
        app.expect(pexpect.EOF)
    finally:
        app.close(force=True)
    assert rows(seeded, "network", name="app")[0]["mtu"] == 1400


@pytest.mark.parametrize("case", EDITS, ids=str)
def test_what_was_not_changed_is_accepted_as_it_is(case: Case, cloud: Cloud) -> None:
    """What is there is no reason to refuse: nothing has to be repaired before anything can be changed."""
    config, store = cloud
    form, loaded, _ = opened(cloud, case)
    with store.read() as session:
        ctx = clouds.context(session, config, source="test")
    assert rehearsal.outcome(store, ctx, lambda trial: form.submit(trial, config, ctx, loaded.values)).refused is None
