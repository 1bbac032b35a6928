"""Transfers: volumes that are offered to another project, and taking one."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Command, command
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Confirm, Needs, Row, Verb
from tui.view import Column, Field, Form, Loaded, Tab, View
from tui.views.cells import aged, facts, named, plain, short
from tui.views.policy import needs_role
from tui.views.volumes.forms import OFFER
from tui.views.wires import handle, listed


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import transfers

    transfers.delete(session, ctx, id)
    return None


# ---------------------------------------------------------------------------- offering


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    volumes = listed(session, ctx, "volume", where={"status": "available"}, sort="name")
    if not volumes:
        return Loaded(values={}, problem=("There is no volume to offer.", "It must be available: :volumes, then n"))
    return Loaded(
        values={"id": volumes[0]["id"], "name": ""},
        choices={
            "id": [(each["id"], f"{each['name'] or each['id'][:8]}  {each['size_gb']}G") for each in volumes],
        },
        facts={"volumes": {each["id"]: handle(session, ctx, "volume", each) for each in volumes}},
    )


FORM = Form(
    title="Offer volume",
    fields=(
        Field(name="id", label="volume", word="volume", choices=True),
        Field(name="name", label="name", hint="of the offer; may be empty"),
    ),
    load=_load,
    submit=OFFER.submit,
    preview=OFFER.preview,
    command=OFFER.command,
)


# ---------------------------------------------------------------------------- taking


def _submit_accept(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import transfers

    with store.write() as session:
        taken = transfers.accept(session, ctx, values["id"].strip(), auth_key=values["auth_key"].strip())
        return f"volume {taken.volume_id[:8]} is this project's now"


def _command_accept(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("volume", "transfer", "request", "accept").option("--auth-key", values["auth_key"].strip())
    return [line.end(values["id"].strip())]


ACCEPT = Verb(
    name="accept",
    key="A",
    label="accept",
    help="Take a volume that another project offers, by its id and key",
    needs=Needs.NOTHING,
    form=Form(
        title="Take volume",
        fields=(
            Field(name="id", label="transfer", word="transfer", hint="its id, as it came with the key"),
            Field(name="auth_key", label="key", hint="as its owner was shown it"),
        ),
        load=lambda session, ctx, row: Loaded(values={"id": "", "auth_key": ""}),
        submit=_submit_accept,
        command=_command_accept,
    ),
)

VIEW = View(
    kind="transfer",
    title="Transfers",
    aliases=("xfer", "transfer"),
    columns=(
        Column(title="NAME", key="name", width=16, grow=14, cell=named()),
        Column(title="VOLUME", key="volume", width=16, grow=14, cell=plain("volume")),
        Column(title="SIZE", key="size_gb", width=6, right=True, cell=lambda row, now: (f"{row['size_gb']}G", "")),
        Column(title="PROJECT", key="project", width=12, cell=plain("project")),
        Column(title="ID", key="id", width=8, cell=short("id")),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        ACCEPT,
        NEW,
        Verb(
            name="delete",
            key="X",
            label="del",
            help="Take the offer back; the volume is available again",
            confirm=Confirm.BAR,
            dangerous=True,
            disabled_reason=needs_role("volume:transfer"),
            run=_delete,
            done="taken back",
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(
        Tab(
            title="Overview",
            read=lambda session, ctx, row, now: facts(
                [("volume", row["volume"]), ("size", f"{row['size_gb']} GiB"), ("project", row["project"])]
            ),
        ),
    ),
    preview=lambda row, now: [
        [(f"volume {row['volume'] or row['volume_id']}   {row['size_gb']}G", "")],
        [(row["id"], "dim")],
    ],
    empty=lambda session, ctx: [
        ("Nothing is offered.", "head"),
        ("n offers a volume to another project; A takes one, by its id and key.", ""),
    ],
    copies=("id", "name"),
)
