"""The forms of a keypair: a public key is imported, or a pair is made and its private half written to a file here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tui.forms.command import Command, command
from tui.verbs import Row
from tui.view import Field, Form, Loaded
from tui.views.wires import fresh


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
    line = command("keypair", "create").option("--public-key", values["public_key"].strip())
    return [line.end(values["name"].strip())]


IMPORT = Form(
    title="Import a public key",
    fields=(
        Field(name="name", label="name"),
        Field(name="public_key", label="public key", hint="a .pub file, or the line itself"),
    ),
    load=_load,
    submit=_submit,
    command=_command,
)


def _load_generated(session: Any, ctx: Any, row: Row | None) -> Loaded:
    name = fresh(session, ctx, "keypair", f"{ctx.user_name}-1")
    return Loaded(values={"name": name, "private_key": f"~/.ssh/{name}"})


def _submit_generated(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.compute import keypairs

    path = Path(values["private_key"].strip()).expanduser()
    with store.write() as session:
        made = keypairs.generate(session, ctx, name=values["name"].strip(), private_key=path)
    return f"keypair {made.name} made; log in with: ssh -i {path}"


def _command_generated(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("keypair", "create").option("--private-key", values["private_key"].strip())
    return [line.end(values["name"].strip())]


GENERATE = Form(
    title="Make a keypair",
    fields=(
        Field(name="name", label="name"),
        Field(name="private_key", label="private key", hint="the file it is written to, for you alone"),
    ),
    load=_load_generated,
    submit=_submit_generated,
    command=_command_generated,
    # It writes a file: that cannot be taken back.
    rehearsed=False,
)
