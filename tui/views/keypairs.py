"""Keypairs: public keys of the person who sits here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tui.forms.command import Command, command
from tui.verbs import COPY, DESCRIBE, NEW, OPEN, YAML, Row, deletion
from tui.view import Column, Field, Form, Loaded, Tab, View
from tui.views.cells import aged, facts, plain
from tui.views.policy import needs_role


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.compute import keypairs

    return keypairs.delete(session, ctx, id)


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """The newest public key of this machine's user is offered."""
    files = sorted(Path.home().glob(".ssh/*.pub"), key=lambda path: path.stat().st_mtime, reverse=True)
    return Loaded(values={"name": ctx.user_name, "public_key": f"~/.ssh/{files[0].name}" if files else ""})


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.compute import keypairs
    from core.errors import Invalid

    text = values["public_key"].strip()
    if text.startswith(("~", "/", ".")):
        try:
            text = Path(text).expanduser().read_text(errors="replace")
        except OSError as bad:
            raise Invalid(f"the key cannot be read: {bad.strerror}", hint=f"It was {text}.") from bad
    with store.write() as session:
        made = keypairs.create(session, ctx, name=values["name"].strip(), public_key=text)
    return f"keypair {made.name} imported"


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    return [
        command("keypair", "create").option("--public-key", values["public_key"].strip()).end(values["name"].strip())
    ]


VIEW = View(
    kind="keypair",
    title="Keypairs",
    aliases=("key", "keypair"),
    columns=(
        Column(title="NAME", key="name", width=18, grow=14),
        Column(
            title="KIND", width=8, cell=lambda row, now: (row["public_key"].split()[0].removeprefix("ssh-")[:8], "")
        ),
        Column(title="FINGERPRINT", key="fingerprint", width=38, grow=14, cell=plain("fingerprint")),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        deletion(
            _delete, help="Delete the key; guests that have it keep it", disabled_reason=needs_role("keypair:delete")
        ),
        YAML,
        COPY,
    ),
    form=Form(
        title="Import a public key",
        fields=(
            Field(name="name", label="name"),
            Field(name="public_key", label="public key", hint="a .pub file, or the line itself"),
        ),
        load=_load,
        submit=_submit,
        command=_command,
    ),
    tabs=(
        Tab(
            title="Overview",
            read=lambda session, ctx, row, now: facts(
                [("fingerprint", row["fingerprint"]), ("public key", row["public_key"])]
            ),
        ),
    ),
    preview=lambda row, now: [[(row["public_key"], "")]],
    empty=lambda session, ctx: [
        ("No keypairs yet.", "head"),
        ("n imports a public key, e.g. ~/.ssh/id_ed25519.pub.", ""),
    ],
    key="name",
    copies=("name", "fingerprint"),
)
