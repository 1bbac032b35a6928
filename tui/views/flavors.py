"""Flavors: the sizes an operator offers."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.locator import Locator
from tui.verbs import CLONE, COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Needs, Row, Verb, deletion, editing
from tui.view import Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views import launch
from tui.views.cells import compact, facts, mebibytes, short, yes_no
from tui.views.policy import needs_role
from tui.views.wires import as_properties, changed_properties, fresh, handle, properties

_NUMBERS = (
    ("vcpus", "vcpus"),
    ("ram_mb", "ram"),
    ("disk_gb", "disk"),
    ("ephemeral_gb", "ephemeral"),
    ("swap_mb", "swap"),
)


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.compute import flavors

    return flavors.delete(session, ctx, id)


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    values = {
        "description": "",
        "specs": "",
        "vcpus": "1",
        "ram": "1024",
        "disk": "10",
        "ephemeral": "0",
        "swap": "0",
        "public": "yes",
    }
    values["name"] = fresh(session, ctx, "flavor", "custom-1")
    return Loaded(values=values, choices={"public": [("yes", "yes"), ("no", "no")]})


def _load_like(session: Any, ctx: Any, row: Row) -> Loaded:
    loaded = _load(session, ctx, None)
    columns = {"vcpus": "vcpus", "ram": "ram_mb", "disk": "disk_gb", "ephemeral": "ephemeral_gb", "swap": "swap_mb"}
    loaded.values.update({field: str(row[column]) for field, column in columns.items()})
    loaded.values["name"] = fresh(session, ctx, "flavor", f"{row['name']}-1")
    loaded.values["public"] = "yes" if row["is_public"] else "no"
    loaded.values["specs"] = as_properties(row["extra_specs"])
    loaded.values["description"] = row["description"]
    return loaded


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("flavor", "create")
    for field in ("vcpus", "ram", "disk", "ephemeral", "swap"):
        line.option(f"--{field}", values[field].strip())
    line.either(values["public"] == "yes", "--public", "--private")
    line.each("--property", (f"{key}={value}" for key, value in properties(values["specs"]).items()))
    line.option("--description", values["description"].strip())
    return [line.end(values["name"].strip())]


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.compute import flavors
    from core.errors import Invalid

    numbers: dict[str, int] = {}
    for argument, field in _NUMBERS:
        if not values[field].strip().isdigit():
            raise Invalid(f"{field} is a number", hint=f"It was {values[field]!r}.")
        numbers[argument] = int(values[field])
    with store.write() as session:
        made = flavors.create(
            session,
            ctx,
            name=values["name"].strip(),
            is_public=values["public"] == "yes",
            description=values["description"].strip(),
            extra_specs=properties(values["specs"]),
            **numbers,
        )  # fmt: skip
    return f"flavor {made.name} made"


SPECS = Field(
    name="specs", label="properties", word="properties", hint="KEY=VALUE, by comma: extra specs", holds=Holds.PAIRS
)
ABOUT = Field(name="description", label="about")

FORM = Form(
    title="New flavor",
    fields=(
        Field(name="name", label="name"),
        Field(name="vcpus", label="vCPUs"),
        Field(name="ram", label="RAM", hint="MiB"),
        Field(name="disk", label="disk", hint="GiB; 0: the image's own size"),
        Field(name="ephemeral", label="ephemeral", hint="GiB"),
        Field(name="swap", label="swap", hint="MiB"),
        Field(name="public", label="public", choices=True),
        SPECS,
        ABOUT,
    ),
    load=_load,
    submit=_submit,
    command=_command,
    like=_load_like,
)


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={"id": row["id"], "description": row["description"], "specs": as_properties(row["extra_specs"])},
        facts={"handle": handle(session, ctx, "flavor", row)},
    )


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.compute import flavors

    with store.write() as session:
        found = flavors.find(session, ctx, values["id"])
        given, gone = changed_properties(found.extra_specs, properties(values["specs"]))
        about = values["description"].strip()
        flavors.update(session, ctx, found.id, description=about, extra_specs=given, unset=gone)
        return f"flavor {found.name} changed"


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("flavor", "set"), Changes(loaded.values, values)
    given, gone = changed_properties(properties(loaded.values["specs"]), properties(values["specs"]))
    changes.option(line, "--description", "description")
    line.each("--property", (f"{key}={value}" for key, value in given.items()))
    lines = [line.end(loaded.facts["handle"])] if len(line) > 2 else []
    return [
        *lines,
        *([command("flavor", "unset").each("--property", gone).end(loaded.facts["handle"])] if gone else []),
    ]


EDIT = Form(title="Change flavor", fields=(SPECS, ABOUT), load=_load_edit, submit=_submit_edit, command=_command_edit)


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts(
        [
            ("vCPUs", row["vcpus"]),
            ("RAM", compact(row["ram_mb"] << 20)),
            ("disk", f"{row['disk_gb']}G"),
            ("ephemeral", f"{row['ephemeral_gb']}G"),
            ("swap", f"{row['swap_mb']}M"),
            ("public", "yes" if row["is_public"] else "no"),
            ("used by", f"{row['used']} instances"),
            ("about", row["description"]),
        ],
        columns=2,
    )
    return lines + facts(sorted((row["extra_specs"] or {}).items()), label=28)


def preview(row: Row, now: int) -> Lines:
    sizes = f"{row['vcpus']} vCPU   {compact(row['ram_mb'] << 20)} RAM   {row['disk_gb']}G disk"
    return [
        [(f"{sizes}   {row['ephemeral_gb']}G ephemeral", "")],
        [(row["description"] or f"used by {row['used']} instances", "dim")],
    ]


VIEW = View(
    kind="flavor",
    title="Flavors",
    aliases=("flv", "flavor"),
    columns=(
        Column(title="NAME", key="name", width=18, grow=18),
        Column(title="VCPU", key="vcpus", width=5, right=True),
        Column(title="RAM", key="ram_mb", width=6, cell=mebibytes("ram_mb"), right=True),
        Column(title="DISK", key="disk_gb", width=6, cell=lambda row, now: (f"{row['disk_gb']}G", ""), right=True),
        Column(title="PUBLIC", key="is_public", width=6, cell=yes_no("is_public")),
        Column(title="USED", key="used", width=5, right=True),
        Column(title="EPHEMERAL", key="ephemeral_gb", width=9, right=True, wide=True),
        Column(title="SWAP", key="swap_mb", width=5, right=True, wide=True),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="launch",
            key="b",
            label="launch",
            help="Launch an instance of this size",
            needs=Needs.OBJECT,
            form=launch.OF_FLAVOR,
            disabled_reason=needs_role("instance:create"),
        ),
        NEW,
        CLONE,
        *editing(
            EDIT,
            help="Change properties and description; its numbers never change",
            disabled_reason=needs_role("flavor:set"),
        ),
        deletion(
            _delete, help="Delete the flavor; instances keep their size", disabled_reason=needs_role("flavor:delete")
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(Tab(title="Overview", read=overview),),
    preview=preview,
    empty=lambda session, ctx: [("No flavors.", "head"), ("n makes one.", "")],
    enter=lambda row: Locator(kind="instance", filter=f"flavor={row['name']}"),
    sort="ram_mb",
)
