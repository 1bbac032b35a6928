"""The forms of volumes: a new one, and what is done to one that needs more than a key."""

from __future__ import annotations

import shlex
from typing import Any

from tui.text import moment
from tui.verbs import Row
from tui.view import Cell, Field, Form, Lines, Loaded
from tui.views.cells import compact
from tui.views.wires import listed

EMPTY = ""
"""Instead of a source."""

_FLAG = {"image": "--image", "snapshot": "--snapshot", "volume": "--source"}
"""Kind of source to the option of the command line."""

YES_NO = [("True", "yes"), ("False", "no")]


def number(text: str, what: str) -> int:
    """Of what was typed. Raises Invalid."""
    from core.errors import Invalid

    plain = text.strip().upper().removesuffix("IB").removesuffix("G")
    if not plain.isdecimal() or not int(plain):
        raise Invalid(f"{text!r} is no {what}", hint="In GiB, for example 10.")
    return int(plain)


def _typed(text: str) -> int | None:
    plain = text.strip()
    return int(plain) if plain.isdecimal() and int(plain) else None


def quota(session: Any, ctx: Any, *resources: str) -> dict[str, tuple[int, int]]:
    """Resource to (used, limit)."""
    from core.identity import quotas

    limits = quotas.limits(session, ctx.project_id)
    return {what: (quotas.used(session, ctx.project_id, what), limits[what]) for what in resources}


def after(known: dict[str, tuple[int, int]], more: dict[str, int]) -> list[Cell]:
    """`quota after  volumes 3/10   gigabytes 120/1000`, what is too much in the colour of danger."""
    cells: list[Cell] = [("quota after  ", "dim")]
    for what, (used, limit) in known.items():
        left = used + more.get(what, 0)
        cells.append((f"{what} {left}/{limit if limit >= 0 else '-'}   ", "bad" if 0 <= limit < left else ""))
    return cells


def called(row: Row) -> str:
    return row["name"] or row["id"][:8]


def types(session: Any, ctx: Any) -> list[tuple[str, str]]:
    """Volume types, the default first."""
    found = listed(session, ctx, "volume_type", sort="name")
    found.sort(key=lambda row: not row["is_default"])
    return [(row["name"], f"{row['name']}{'  the default' if row['is_default'] else ''}") for row in found]


# ---------------------------------------------------------------------------- a new one


def _sources(session: Any, ctx: Any) -> list[tuple[str, str]]:
    """`kind id` of what a volume can be made from."""
    images = [
        (f"image {row['id']}", f"image {row['name']}  {compact(row['virtual_size'])}")
        for row in listed(session, ctx, "image", where={"status": "active"}, sort="name")
        if row["disk_format"] not in ("aki", "ari")
    ]
    snapshots = [
        (f"snapshot {row['id']}", f"snapshot {called(row)}  {row['size_gb']}G")
        for row in listed(session, ctx, "snapshot", where={"status": "available"}, sort="-created_at")
    ]
    volumes = [
        (f"volume {row['id']}", f"volume {called(row)}  {row['size_gb']}G")
        for row in listed(session, ctx, "volume", sort="name")
        if row["status"] in ("available", "in-use")
    ]
    return [(EMPTY, "nothing: it is empty"), *images, *snapshots, *volumes]


def _least(session: Any, ctx: Any) -> dict[str, int]:
    """Source to the GiB it needs."""
    gib = 1 << 30
    found = {
        f"image {row['id']}": max(1, row["min_disk_gb"], -(-(row["virtual_size"] or 0) // gib))
        for row in listed(session, ctx, "image", where={"status": "active"})
    }
    found |= {f"snapshot {row['id']}": row["size_gb"] for row in listed(session, ctx, "snapshot")}
    return found | {f"volume {row['id']}": row["size_gb"] for row in listed(session, ctx, "volume")}


def load_new(session: Any, ctx: Any, row: Row | None, *, source: str = EMPTY) -> Loaded:
    """A volume from nothing, or from the source that is named."""
    kinds = types(session, ctx)
    least = _least(session, ctx)
    return Loaded(
        values={
            "name": "",
            "source": source,
            "size": str(least.get(source, 10)),
            "type": kinds[0][0] if kinds else "",
            "description": "",
            "zone": "",
        },
        choices={"source": _sources(session, ctx), "type": kinds or [("", "the one there is")]},
        hidden=frozenset({"type"}) if len(kinds) < 2 else frozenset(),
        facts={
            "quota": quota(session, ctx, "volumes", "gigabytes"),
            "least": least,
            "default": kinds[0][0] if kinds else "",
        },
    )


def preview_new(loaded: Loaded, values: dict[str, str]) -> Lines:
    """The quota as it will be, what the source needs, and the command that does the same."""
    size = _typed(values["size"])
    lines: Lines = [after(loaded.facts["quota"], {"volumes": 1, "gigabytes": size or 0})]
    least = loaded.facts["least"].get(values["source"], 1)
    if size is None or size < least:
        lines.append([("! ", "warn"), (f"it needs at least {least} GiB", "warn")])
    line = ["skydeck", "volume", "create", "--size", values["size"].strip()]
    kind, _, id = values["source"].partition(" ")
    line += [_FLAG[kind], id] if kind else []
    line += ["--type", values["type"]] if values["type"] != loaded.facts["default"] else []
    line += ["--availability-zone", values["zone"]] if values["zone"] else []
    line += [values["name"]] if values["name"].strip() else []
    return [*lines, [("same as      ", "dim"), (shlex.join(line), "")]]


def _submit_new(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import volumes

    kind, _, id = values["source"].partition(" ")
    source = {"image": "image", "snapshot": "snapshot", "volume": "source"}.get(kind)
    made, _operation = volumes.create_kept(
        store,
        config,
        ctx,
        name=values["name"].strip(),
        size_gb=number(values["size"], "size"),
        type=values["type"] or None,
        availability_zone=values["zone"].strip() or None,
        description=values["description"].strip(),
        **({source: id} if source else {}),
    )
    return f"creating volume {made.name or made.id[:8]}"


NEW_FORM = Form(
    title="New volume",
    fields=(
        Field(name="name", label="name", hint="may be empty"),
        Field(name="source", label="made from", choices=True),
        Field(name="size", label="size", hint="GiB"),
        Field(name="type", label="type", choices=True),
        Field(name="zone", label="zone", hint="an availability zone; may be empty"),
        Field(name="description", label="about"),
    ),
    load=load_new,
    submit=_submit_new,
    preview=preview_new,
)


def from_source(kind: str) -> Form:
    """The same form, opened about an image, a snapshot or a volume."""

    def load(session: Any, ctx: Any, row: Row | None) -> Loaded:
        assert row is not None
        return load_new(session, ctx, None, source=f"{kind} {row['id']}")

    return Form(title="New volume", fields=NEW_FORM.fields, load=load, submit=_submit_new, preview=preview_new)


# ---------------------------------------------------------------------------- of one that is


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
    )


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
        Field(name="move", label="may move", choices=True),
        Field(name="bootable", label="bootable", choices=True),
        Field(name="read_only", label="read-only", choices=True),
        Field(name="description", label="about"),
    ),
    load=_load_edit,
    submit=_submit_edit,
)


def _load_extend(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={"id": row["id"], "name": called(row), "size": str(row["size_gb"] * 2)},
        facts={"quota": quota(session, ctx, "gigabytes"), "had": row["size_gb"]},
    )


def _preview_extend(loaded: Loaded, values: dict[str, str]) -> Lines:
    had, size = loaded.facts["had"], _typed(values["size"])
    lines: Lines = [after(loaded.facts["quota"], {"gigabytes": max(0, (size or had) - had)})]
    if size is None or size <= had:
        lines.append([("! ", "warn"), (f"it has {had} GiB, and only grows", "warn")])
    return [*lines, [("same as      ", "dim"), (f"skydeck volume set --size {values['size']} {values['name']}", "")]]


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
    preview=_preview_extend,
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
            "quota": quota(session, ctx, "snapshots", "gigabytes"),
            "size": row["size_gb"],
            "warn": _in_use(row, unless=", unless frozen"),
        },
    )


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
    preview=lambda loaded, values: [
        after(loaded.facts["quota"], {"snapshots": 1, "gigabytes": loaded.facts["size"]}),
        *loaded.facts["warn"],
    ],
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
        facts={
            "quota": quota(session, ctx, "backups", "backup_gigabytes"),
            "size": row["size_gb"],
            "warn": _in_use(row),
        },
    )


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
    preview=lambda loaded, values: [
        after(loaded.facts["quota"], {"backups": 1, "backup_gigabytes": loaded.facts["size"]}),
        *loaded.facts["warn"],
    ],
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
        facts={"warn": _in_use(row)},
    )


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
)


def _load_offer(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(values={"id": row["id"], "name": called(row)})


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
    preview=lambda loaded, values: [
        [("The other project takes it with a key, which is told once: M shows it again while the app runs.", "dim")]
    ],
)
