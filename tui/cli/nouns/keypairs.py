"""`skydeck keypair`: public keys for logging in to servers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, group, name_of, shows
from tui.cli.noun import Noun, Row, column, listed, moment
from tui.cli.options import contents
from tui.text import safe


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.compute import keypairs

    return listed(session, ctx, "keypair", keypairs.find(session, ctx, name).name)


KEYPAIR = Noun(
    kind="keypair",
    word="keypair",
    columns=(column("Name", "name"), column("Fingerprint", "fingerprint"), column("Type", "type")),
    fields=(
        moment("created_at", "created_at"),
        column("fingerprint", "fingerprint"),
        column("id", "name"),
        column("name", "name"),
        column("type", "type"),
    ),
    find=_find,
)

app = group("Public keys of yours.")
add_list(app, KEYPAIR, help="List your keypairs.")

KeypairName = Annotated[str, name_of(KEYPAIR)]


@app.command()
@shows(KEYPAIR)
def show(
    name: KeypairName,
    public_key: Annotated[bool, typer.Option("--public-key", help="Print the key line alone.")] = False,
) -> Row | None:
    """Show a keypair."""
    with caller().read() as (session, ctx):
        row = _find(session, ctx, name)
    if public_key:
        print(safe(row["public_key"]))
        return None
    return row


@app.command()
@shows(KEYPAIR)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    public_key: Annotated[
        str | None,
        typer.Option("--public-key", metavar="FILE|KEY", help="The .pub file, or its line; `-` reads stdin."),
    ] = None,
    private_key: Annotated[
        Path | None, typer.Option("--private-key", metavar="FILE", help="Make a pair; its private half goes here.")
    ] = None,
) -> Row:
    """Import a public key, or make a pair. The private half stays with you."""
    from core.compute import keypairs

    if (public_key is None) == (private_key is None):
        raise Invalid(
            "a public key to import is needed, or a file for the private key of a new pair",
            hint="--public-key ~/.ssh/id_ed25519.pub, or --private-key FILE.",
        )
    if private_key is not None:
        with caller().write() as (session, ctx):
            made = keypairs.generate(session, ctx, name=name, private_key=private_key.expanduser())
            return _find(session, ctx, made.name)
    assert public_key is not None
    if " " in public_key.strip() and not Path(public_key).expanduser().exists():
        data = public_key.encode()  # the line itself
    else:
        data = sys.stdin.buffer.read() if public_key == "-" else contents(public_key, "public key")
    try:
        line = data.decode()
    except UnicodeDecodeError as bad:
        raise Invalid("this is not an OpenSSH public key", hint="It looks like: ssh-ed25519 AAAA… comment") from bad
    with caller().write() as (session, ctx):
        made = keypairs.create(session, ctx, name=name, public_key=line)
        session.flush()
        return _find(session, ctx, made.name)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.compute import keypairs

    keypairs.delete(session, ctx, name)


add_delete(app, KEYPAIR, _delete, help="Delete keypairs. Servers that were given the key keep it.")
