"""The forms of a volume: what is done to one that needs more than a key."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.text import moment
from tui.verbs import Row
from tui.view import Field, Form, Holds, Lines, Loaded
from tui.views.volumes.new import YES_NO, called, number, types
from tui.views.wires import handle, listed


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    kinds = types(session, ctx)
    return Loaded(
        values={
            "id": row["id"],
            "name": row["name"],
            "type": row["type"],
            "had": row["type"],
            "bootable": str(bool(row["bootable"])),
            "read_only": str(bool(row["read_only"])),
            "description": row["description"],
            "move": "never",
        },
        choices={
            "type": kinds or [("", "the one there is")],
            "bootable": YES_NO,
            "read_only": YES_NO,
            "move": [("never", "no: refuse a type that is kept elsewhere"), ("on-demand", "yes: copy it there")],
        },
        hidden=frozenset({"type", "move"}) if len(kinds) < 2 else frozenset(),
        facts={"handle": handle(session, ctx, "volume", row)},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("volume", "set"), Changes(loaded.values, values)
    changes.option(line, "--name", "name")
    changes.option(line, "--description", "description")
    if "type" in changes:
        line.option("--type", values["type"]).option("--migration-policy", values["move"], usual="never")
    changes.either(line, "bootable", "--bootable", "--non-bootable")
    changes.either(line, "read_only", "--read-only", "--read-write")
    return [line.end(loaded.facts["handle"])]


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import volumes

    with store.write() as session:
        found = volumes.find(session, ctx, values["id"])
        wanted = {"bootable": values["bootable"] == "True", "read_only": values["read_only"] == "True"}
        changed: dict[str, Any] = {key: value for key, value in wanted.items() if value != getattr(found, key)}
        volumes.set(
            session, ctx, found.id, name=values["name"].strip(), description=values["description"].strip(), **changed
        )
        if values["type"] and values["type"] != values["had"]:
            volumes.retype(session, ctx, config, found.id, type=values["type"], migration_policy=values["move"])
            return f"retyping volume {values['name'] or values['id'][:8]}"
    return f"volume {values['name'] or values['id'][:8]} changed"


EDIT = Form(
    title="Change volume",
    fields=(
        Field(name="name", label="name"),
        Field(name="type", label="type", choices=True),
        Field(
            name="move",
            label="may move",
            word="migration_policy",
            choices=True,
            when=lambda values: values["type"] != values["had"],
        ),
        Field(name="bootable", label="bootable", choices=True, holds=Holds.FLAG),
        Field(name="read_only", label="read-only", choices=True, holds=Holds.FLAG),
        Field(name="description", label="about"),
    ),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)


def _load_extend(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={"id": row["id"], "name": called(row), "size": str(row["size_gb"] * 2)},
        facts={"handle": handle(session, ctx, "volume", row)},
    )


def _command_extend(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    size = str(number(values["size"], "size"))
    return [command("volume", "set").option("--size", size).end(loaded.facts["handle"])]


def _submit_extend(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import volumes

    with store.write() as session:
        volumes.extend(session, ctx, values["id"], size_gb=number(values["size"], "size"))
    return f"growing {values['name']} to {values['size'].strip()} GiB"


EXTEND = Form(
    title="Grow volume",
    fields=(Field(name="size", label="size", hint="GiB"),),
    load=_load_extend,
    submit=_submit_extend,
    command=_command_extend,
)


def _in_use(row: Row, *, unless: str = "") -> Lines:
    if row["status"] != "in-use":
        return []
    who = ", ".join(each["server"] for each in row["attachments"])
    return [[("! ", "warn"), (f"{who or 'a guest'} writes it: it will be as after a power cut{unless}", "warn")]]


def _load_snapshot(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    busy = row["status"] == "in-use"
    return Loaded(
        values={
            "id": row["id"],
            "name": f"{row['name'] or row['id'][:8]}-{row['snapshots'] + 1}",
            "force": str(busy),
            "quiesce": "False",
            "description": "",
        },
        choices={"quiesce": [("False", "no: as if its power had been cut"), ("True", "yes, by the guest's agent")]},
        hidden=frozenset() if busy else frozenset({"quiesce"}),
        facts={
            "volumes": {row["id"]: handle(session, ctx, "volume", row)},
            "warn": _in_use(row, unless=", unless frozen"),
        },
    )


def _command_snapshot(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("volume", "snapshot", "create").option("--volume", loaded.facts["volumes"][values["id"]])
    line.option("--description", values["description"].strip())
    line.flag("--force", values["force"] == "True").flag("--quiesce", values["quiesce"] == "True")
    return [line.end(values["name"].strip())]


def _submit_snapshot(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import snapshots

    with store.write() as session:
        made, _operation = snapshots.create(
            session,
            ctx,
            volume=values["id"],
            name=values["name"].strip(),
            description=values["description"].strip(),
            force=values["force"] == "True",
            quiesce=values["quiesce"] == "True",
        )
        return f"taking snapshot {made.name or made.id[:8]}"


SNAPSHOT = Form(
    title="Take snapshot",
    fields=(
        Field(name="name", label="name"),
        Field(name="quiesce", label="frozen", choices=True),
        Field(name="description", label="about"),
    ),
    load=_load_snapshot,
    submit=_submit_snapshot,
    preview=lambda loaded, values: loaded.facts["warn"],
    command=_command_snapshot,
)


def _load_backup(session: Any, ctx: Any, row: Row | None) -> Loaded:
    from core.store import now

    assert row is not None
    before = listed(session, ctx, "backup", where={"volume_id": row["id"], "status": "available"}, limit=1)
    kinds = [("False", "whole"), ("True", "what changed since its newest backup")]
    return Loaded(
        values={
            "id": row["id"],
            "name": f"{called(row)}-{(moment(now(session)) or '')[:10]}",
            "incremental": str(bool(before)),
            "force": str(row["status"] == "in-use"),
            "description": "",
        },
        choices={"incremental": kinds[::-1] if before else kinds[:1]},
        facts={"volumes": {row["id"]: handle(session, ctx, "volume", row)}, "warn": _in_use(row)},
    )


def _command_backup(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("volume", "backup", "create").option("--name", values["name"].strip())
    line.option("--description", values["description"].strip())
    line.flag("--force", values["force"] == "True").flag("--incremental", values["incremental"] == "True")
    return [line.end(loaded.facts["volumes"][values["id"]])]


def _submit_backup(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import backups

    with store.write() as session:
        made, _operation = backups.create(
            session,
            ctx,
            config,
            volume=values["id"],
            name=values["name"].strip(),
            description=values["description"].strip(),
            incremental=values["incremental"] == "True",
            force=values["force"] == "True",
        )
        return f"backing up to {made.name or made.id[:8]}"


BACKUP = Form(
    title="Back up",
    fields=(
        Field(name="name", label="name"),
        Field(name="incremental", label="what", choices=True),
        Field(name="description", label="about"),
    ),
    load=_load_backup,
    submit=_submit_backup,
    preview=lambda loaded, values: loaded.facts["warn"],
    command=_command_backup,
)


def _load_image(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={
            "id": row["id"],
            "name": called(row),
            "format": "qcow2",
            "visibility": "private",
            "force": str(row["status"] == "in-use"),
        },
        choices={
            "format": [(each, each) for each in ("qcow2", "raw", "vmdk", "vdi")],
            "visibility": [(each, each) for each in ("private", "shared", "community", "public")],
        },
        facts={"handle": handle(session, ctx, "volume", row), "warn": _in_use(row)},
    )


def _command_image(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("image", "create").option("--disk-format", values["format"])
    line.option("--volume", loaded.facts["handle"]).flag("--force", values["force"] == "True")
    return [line.option("--visibility", values["visibility"], usual="private").end(values["name"].strip())]


def _submit_image(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import upload

    with store.write() as session:
        made, _operation = upload.upload(
            session,
            ctx,
            config,
            values["id"],
            image_name=values["name"].strip(),
            disk_format=values["format"],
            visibility=values["visibility"],
            force=values["force"] == "True",
        )
        return f"uploading to image {made.name}"


IMAGE = Form(
    title="Image of volume",
    fields=(
        Field(name="name", label="name"),
        Field(name="format", label="format", choices=True),
        Field(name="visibility", label="seen by", choices=True),
    ),
    load=_load_image,
    submit=_submit_image,
    preview=lambda loaded, values: loaded.facts["warn"],
    command=_command_image,
)


def _load_offer(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={"id": row["id"], "name": called(row)},
        facts={"volumes": {row["id"]: handle(session, ctx, "volume", row)}},
    )


def _command_offer(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("volume", "transfer", "request", "create").option("--name", values["name"].strip())
    return [line.end(loaded.facts["volumes"][values["id"]])]


def _submit_offer(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import transfers

    with store.write() as session:
        made, key = transfers.create(session, ctx, volume=values["id"], name=values["name"].strip())
        return f"they take it with: skydeck volume transfer request accept --auth-key {key} {made.id}"


OFFER = Form(
    title="Offer volume",
    fields=(Field(name="name", label="name", hint="of the offer"),),
    load=_load_offer,
    submit=_submit_offer,
    command=_command_offer,
    preview=lambda loaded, values: [
        [("The other project takes it with a key, which is told once: M shows it again while the app runs.", "dim")]
    ],
)
