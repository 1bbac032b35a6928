"""The form of a new volume: empty, or from an image, a snapshot or a volume; and what all forms of volumes share."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Command, command
from tui.verbs import Row
from tui.view import Field, Form, Loaded
from tui.views.cells import compact
from tui.views.wires import fresh, handle, listed

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
            "name": fresh(session, ctx, "volume", "vol-1"),
            "source": source,
            "size": str(least.get(source, 10)),
            "type": kinds[0][0] if kinds else "",
            "description": "",
            "zone": "",
        },
        choices={"source": _sources(session, ctx), "type": kinds or [("", "the one there is")]},
        hidden=frozenset({"type"}) if len(kinds) < 2 else frozenset(),
        facts={
            "sources": _handles(session, ctx),
            "default": kinds[0][0] if kinds else "",
        },
    )


def _handles(session: Any, ctx: Any) -> dict[str, str]:
    """Source to what a command calls it."""
    return {
        f"{kind} {row['id']}": handle(session, ctx, kind, row) for kind in _FLAG for row in listed(session, ctx, kind)
    }


def command_new(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("volume", "create").option("--size", str(number(values["size"], "size")))
    if source := values["source"]:
        line.option(_FLAG[source.partition(" ")[0]], loaded.facts["sources"][source])
    # Without a type, one that is made of another volume is of that one's.
    line.option("--type", values["type"], usual="" if values["source"] else loaded.facts["default"])
    line.option("--availability-zone", values["zone"].strip())
    line.option("--description", values["description"].strip())
    name = values["name"].strip()
    return [line.end(*[each for each in [name] if each])]


def load_like(session: Any, ctx: Any, row: Row) -> Loaded:
    """Another with what is in this one, of its size and type."""
    loaded = load_new(session, ctx, None, source=f"volume {row['id']}")
    loaded.values["name"] = fresh(session, ctx, "volume", f"{called(row)}")
    loaded.values["description"] = row["description"]
    if any(row["type"] == kind for kind, _ in loaded.choices["type"]):
        loaded.values["type"] = row["type"]
    return loaded


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
        Field(name="type", label="type", choices=True, kept=True),
        Field(name="zone", label="zone", hint="an availability zone; may be empty", kept=True),
        Field(name="description", label="about"),
    ),
    load=load_new,
    submit=_submit_new,
    command=command_new,
    like=load_like,
)


def from_source(kind: str) -> Form:
    """The same form, opened about an image, a snapshot or a volume."""

    def load(session: Any, ctx: Any, row: Row | None) -> Loaded:
        assert row is not None
        return load_new(session, ctx, None, source=f"{kind} {row['id']}")

    return Form(title="New volume", fields=NEW_FORM.fields, load=load, submit=_submit_new, command=command_new)
