"""Volume types: the kinds of volumes an operator offers."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Needs, Option, Pick, Reason, Row, Verb, deletion, editing
from tui.view import Cell, Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views.cells import facts, plain, short, yes_no
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.volumes.new import YES_NO
from tui.views.wires import handle, listed

BACKEND_SPEC = "volume_backend_name"
SHARING_SPEC = "multiattach"
SHARED = "<is> True"
ANY = ""
"""Instead of a backend: whichever has room."""


def backend(row: Row, now: int) -> Cell:
    name = row["extra_specs"].get(BACKEND_SPEC)
    return (name, "") if name else ("any", "dim")


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import types

    return types.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("volume_type:manage")(ctx, row)
    if refused is None and row["volumes"]:
        return f"{row['volumes']} volumes are of this type", "Retype or delete them first."
    if refused is None and row["is_default"]:
        return "it is the default", "Make another the default first."
    return refused


FIELDS = (
    Field(name="name", label="name"),
    Field(name="backend", label="kept in", choices=True),
    Field(name="shared", label="multiattach", word="multiattach", choices=True, holds=Holds.FLAG),
    Field(name="qos", label="limits", choices=True),
    Field(name="public", label="public", choices=True, holds=Holds.FLAG),
    Field(name="default", label="default", choices=True, holds=Holds.FLAG),
    Field(name="description", label="about"),
)


def _choices(session: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    backends = listed(session, ctx, "backend", sort="name")
    limits = listed(session, ctx, "qos", sort="name")
    return {
        "backend": [
            (ANY, "whichever has room"),
            *((row["name"], f"{row['name']}  {row['driver']}") for row in backends),
        ],
        "shared": [("False", "no: one instance at a time"), ("True", "several instances at once")],
        "qos": [("", "none"), *((row["id"], f"{row['name']}  {_limits(row['specs'])}") for row in limits)],
        "public": [("True", "for every project"), ("False", "for those given it")],
        "default": YES_NO,
    }


def _limits(specs: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(specs.items()))


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    if refused := needs_role("volume_type:manage")(ctx, row or {}):
        return Loaded(values={}, problem=refused)
    return Loaded(
        values={
            "name": "",
            "backend": ANY,
            "shared": "False",
            "qos": "",
            "public": "True",
            "default": "False",
            "description": "",
        },
        choices=_choices(session, ctx),
        facts={"qos": _qos_handles(session, ctx)},
    )


def _qos_handles(session: Any, ctx: Any) -> dict[str, str]:
    return {row["id"]: handle(session, ctx, "qos", row) for row in listed(session, ctx, "qos")}


def _properties(specs: dict[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in specs.items()]


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    name = values["name"].strip()
    line = command("volume", "type", "create").option("--description", values["description"].strip())
    line.either(values["public"] == "True", "--public", "--private")
    line.each("--property", _properties(_specs(values))).flag("--default", values["default"] == "True")
    lines = [line.end(name)]
    if values["qos"]:
        lines.append(command("volume", "qos", "associate").end(loaded.facts["qos"][values["qos"]], name))
    return lines


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("volume", "type", "set"), Changes(loaded.values, values)
    had, wanted = _specs(loaded.values), _specs(values)
    changes.option(line, "--name", "name")
    changes.option(line, "--description", "description")
    line.each("--property", _properties({key: value for key, value in wanted.items() if had.get(key) != value}))
    changes.either(line, "public", "--public", "--private")
    line.flag("--default", "default" in changes and values["default"] == "True")
    named = loaded.facts["handle"]
    lines = [line.end(named)] if len(line) > 3 else []
    named = values["name"].strip() if "name" in changes and named == loaded.values["name"] else named
    if gone := [key for key in had if key not in wanted]:
        lines.append(command("volume", "type", "unset").each("--property", gone).end(named))
    if "qos" in changes and values["qos"]:
        lines.append(command("volume", "qos", "associate").end(loaded.facts["qos"][values["qos"]], named))
    elif "qos" in changes:
        line = command("volume", "qos", "disassociate").option("--volume-type", named)
        lines.append(line.end(loaded.facts["qos"][values["had"]]))
    return lines


def _specs(values: dict[str, str]) -> dict[str, str]:
    specs = {BACKEND_SPEC: values["backend"]} if values["backend"] else {}
    return specs | ({SHARING_SPEC: SHARED} if values["shared"] == "True" else {})


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import qos, types

    with store.write() as session:
        made = types.create(
            session,
            ctx,
            name=values["name"].strip(),
            description=values["description"].strip(),
            public=values["public"] == "True",
            extra_specs=_specs(values),
            default=values["default"] == "True",
        )
        if values["qos"]:
            qos.associate(session, ctx, values["qos"], made.id)
    return f"volume type {made.name} made"


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    specs = row["extra_specs"]
    return Loaded(
        values={
            "id": row["id"],
            "name": row["name"],
            "backend": specs.get(BACKEND_SPEC, ANY),
            "shared": str(specs.get(SHARING_SPEC) == SHARED),
            "qos": row["qos_id"] or "",
            "had": row["qos_id"] or "",
            "public": str(row["is_public"]),
            "default": str(row["is_default"]),
            "description": row["description"],
        },
        choices=_choices(session, ctx),
        facts={"qos": _qos_handles(session, ctx), "handle": handle(session, ctx, "volume_type", row)},
    )


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import qos, types

    with store.write() as session:
        found = types.find(session, ctx, values["id"])
        specs = _specs(values)
        given = {key: value for key, value in specs.items() if found.extra_specs.get(key) != value}
        gone = tuple(key for key in (BACKEND_SPEC, SHARING_SPEC) if key in found.extra_specs and key not in specs)
        changes: dict[str, Any] = {"extra_specs": given} if given else {}
        for key, now in (("public", found.is_public), ("default", found.is_default)):
            if (values[key] == "True") != now:
                changes[key] = values[key] == "True"
        types.set(
            session,
            ctx,
            found.id,
            name=values["name"].strip() if values["name"].strip() != found.name else None,
            description=values["description"].strip(),
            **changes,
        )
        if gone:
            types.unset(session, ctx, found.id, extra_specs=gone)
        if values["qos"] and values["qos"] != values["had"]:
            qos.associate(session, ctx, values["qos"], found.id)
        elif values["had"] and not values["qos"]:
            qos.disassociate(session, ctx, values["had"], found.id)
    return f"volume type {values['name']} changed"


def _private(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("volume_type:manage")(ctx, row)
    if refused is None and row["is_public"]:
        return "it is public: every project may use it", "e makes it private."
    return refused


def _access(session: Any, ctx: Any, row: Row) -> list[Option]:
    found = listed(session, ctx, "project", sort="name")
    may = set(row["projects"])
    give = [
        Option(value=f"on {one['id']}", label=f"let {one['name']} use it") for one in found if one["name"] not in may
    ]
    take = [
        Option(value=f"off {one['id']}", label=f"{one['name']} no longer", note="volumes it has stay", tone="warn")
        for one in found
        if one["name"] in may
    ]
    return [*give, *take]


def _give(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import types

    what, project = value.split()
    return (types.add_access if what == "on" else types.remove_access)(session, ctx, id, project)


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts(
        [
            ("public", "yes" if row["is_public"] else "no"),
            ("default", "yes" if row["is_default"] else "no"),
            ("kept in", backend(row, now)[0]),
            ("volumes", row["volumes"]),
            ("limits", row["qos"]),
            ("about", row["description"]),
        ],
        columns=2,
    )
    if not row["is_public"]:
        lines += facts([("projects", ", ".join(row["projects"]) or "none: it is of no use yet")])
    if row["extra_specs"]:
        lines += [[("", "")], [("Extra specs", "head")], *facts(sorted(row["extra_specs"].items()), label=24)]
    return [*lines, *recent(session, ctx, row, now)]


VIEW = View(
    kind="volume_type",
    title="Volume types",
    aliases=("vt", "voltype"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=10),
        Column(title="PUBLIC", key="is_public", width=6, cell=yes_no("is_public")),
        Column(title="DEFAULT", key="is_default", width=7, cell=yes_no("is_default")),
        Column(title="KEPT IN", width=10, cell=backend, grow=6),
        Column(title="LIMITS", key="qos", width=10, cell=plain("qos"), grow=6),
        Column(title="VOLUMES", key="volumes", width=7, right=True),
        Column(title="DESCRIPTION", key="description", width=14, grow=40, cell=plain("description")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        Verb(
            name="access",
            key="A",
            label="access",
            help="Let a project use it, or no longer",
            needs=Needs.OBJECT,
            pick=Pick(title="Projects of", load=_access, none=("there is no project", "")),
            disabled_reason=_private,
            run=_give,
            done="changed who may use",
        ),
        *editing(
            Form(
                title="Change volume type",
                fields=FIELDS,
                load=_load_edit,
                submit=_submit_edit,
                command=_command_edit,
            ),
            help="Change where it is kept, its limits, who may use it",
            disabled_reason=needs_role("volume_type:manage"),
        ),
        deletion(_delete, help="Delete the volume type", disabled_reason=_deletable),
        EVENTS,
        YAML,
        COPY,
    ),
    form=Form(title="New volume type", fields=FIELDS, load=_load, submit=_submit, command=_command),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [(f"kept in {backend(row, now)[0]}   limits {row['qos'] or 'none'}   {row['description']}", "")],
        [(row["id"], "dim")],
    ],
    empty=lambda session, ctx: [("No volume types.", "head"), ("n makes one (admin).", "")],
    headline=lambda row, now: [(row["id"][:8], "dim"), (f"{row['volumes']} volumes", "")],
)
