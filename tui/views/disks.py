"""What an instance has of volumes: on its overview, on a page, and how they come and go; and images of it."""

from __future__ import annotations

from typing import Any, Final

from tui.forms.command import Command, command
from tui.text import duration
from tui.verbs import Needs, Option, Row, Verb
from tui.view import Cell, Field, Form, Lines, Loaded
from tui.views.cells import facts
from tui.views.wires import handle, listed, table

ON: Final = "volume"
OFF: Final = "unvolume"
"""What `change` is told to do."""

_STATUS = {
    "attached": ("+", "ok"),
    "error_attaching": ("!", "bad"),
    "error_detaching": ("!", "bad"),
}
"""Whatever else is on its way."""


def of(session: Any, ctx: Any, row: Row) -> list[Row]:
    """Its attachments, by the names the guest may give them."""
    return listed(session, ctx, "attachment", where={"server_id": row["id"]}, sort="device")


def status(row: Row) -> Cell:
    glyph, tone = _STATUS.get(row["status"], ("~", "busy"))
    return f"{glyph} {row['status']}", tone


def brief(session: Any, ctx: Any, row: Row) -> Lines:
    """A line a volume."""
    rows: list[list[str | Cell]] = [
        [
            (f"{status(each)[0][0]} {each['volume'] or each['volume_id'][:8]}", status(each)[1]),
            each["device"].removeprefix("/dev/"),
            f"{each['size_gb']}G",
            "root" if each["boot_index"] == 0 else "read-only" if each["read_only"] else "",
        ]
        for each in of(session, ctx, row)
    ]
    return table([("VOLUME", 26), ("DEVICE", 7), ("SIZE", 6), ("IS", 10)], rows, none="no volume: A plugs one in")


def page(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """Everything about each: what it is, how fast it may be, what becomes of it."""
    lines: Lines = []
    for each in of(session, ctx, row):
        shown, tone = status(each)
        name = each["volume"] or each["volume_id"][:8]
        lines.append([(f"{shown}  ", tone), (name, "head"), (f"  {each['volume_id']}", "dim")])
        lines += facts(
            [
                ("device", each["device"]),
                ("size", f"{each['size_gb']} GiB"),
                ("bus", each["bus"] or "as its image says"),
                ("boots", "it is the root disk" if each["boot_index"] == 0 else "no"),
                ("mode", "read-only" if each["read_only"] else "read and write"),
                ("at the end", "goes with the instance" if each["delete_on_termination"] else "stays"),
                ("since", f"{duration(now - each['attached_at'])} ago" if each["attached_at"] else "not yet"),
                ("tag", each["tag"]),
            ],
            columns=2,
            label=10,
            width=28,
        )
        lines.append([("", "")])
    return lines or [[("no volume: A plugs one in", "dim")]]


# ---------------------------------------------------------------------------- plugging in and pulling out


def offers(session: Any, ctx: Any, row: Row) -> list[Option]:
    """Volumes it can have, those that its host reaches first; those that can be taken from it."""
    here = of(session, ctx, row)
    mine = {each["volume_id"] for each in here}
    options = [
        Option(
            value=f"{OFF} {each['volume_id']}",
            label=f"pull out {each['volume'] or each['volume_id'][:8]}",
            note=f"a volume, {each['device']}",
            tone="bad",
        )
        for each in here
        if each["boot_index"] != 0
    ]
    free = [
        each
        for each in listed(session, ctx, "volume", sort="name")
        if each["project_id"] == row["project_id"]
        and each["id"] not in mine
        and (each["status"] == "available" or (each["multiattach"] and each["status"] == "in-use"))
    ]

    def away(volume: Row) -> bool:
        return bool(volume["host"] and row["host"] and volume["host"] != row["host"])

    for each in sorted(free, key=away):
        where = f"on {each['host']}, not reached from here" if away(each) else each["backend"]
        options.append(
            Option(
                value=f"{ON} {each['id']}",
                label=f"plug in {each['name'] or each['id'][:8]}",
                note=f"a volume of {each['size_gb']}G, {where}",
                tone="dim" if away(each) else "",
            )
        )
    return options


def change(session: Any, ctx: Any, config: Any, id: str, what: str, volume: str) -> object:
    """Do what `offers` offered."""
    from core.compute.instances import volumes

    if what == OFF:
        return volumes.detach(session, ctx, id, volume=volume)
    return volumes.attach(session, ctx, config, id, volume=volume)


# ---------------------------------------------------------------------------- an image of it


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={"id": row["id"], "name": f"{row['name']}-image", "quiesce": "False"},
        choices={"quiesce": [("False", "no: as if its power had been cut"), ("True", "yes, by the guest's agent")]},
        hidden=frozenset() if row["status"] == "ACTIVE" else frozenset({"quiesce"}),
        facts={"handle": handle(session, ctx, "instance", row)},
    )


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("server", "image", "create").option("--name", values["name"].strip())
    return [line.flag("--quiesce", values["quiesce"] == "True").end(loaded.facts["handle"])]


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.compute.instances import snapshots

    with store.write() as session:
        made, _operation = snapshots.create_image(
            session,
            ctx,
            config,
            values["id"],
            name=values["name"].strip(),
            quiesce=values["quiesce"] == "True",
        )
        return f"making image {made.name}; it keeps running"


def imaging(disabled_reason: Any) -> Verb:
    """The `I` of an instance."""
    return Verb(
        name="image",
        key="I",
        label="image",
        help="Make an image of its disk as it is now",
        needs=Needs.OBJECT,
        form=Form(
            title="Make image",
            fields=(Field(name="name", label="name"), Field(name="quiesce", label="frozen", choices=True)),
            load=_load,
            submit=_submit,
            command=_command,
        ),
        disabled_reason=disabled_reason,
    )
