"""Flavors: the sizes an operator offers."""

from __future__ import annotations

from typing import Any

from tui.locator import Locator
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Row, deletion
from tui.view import Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import compact, facts, mebibytes, short, yes_no
from tui.views.policy import needs_role

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
    values = {"name": "", "vcpus": "1", "ram": "1024", "disk": "10", "ephemeral": "0", "swap": "0", "public": "yes"}
    return Loaded(values=values, choices={"public": [("yes", "yes"), ("no", "no")]})


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
            session, ctx, name=values["name"].strip(), is_public=values["public"] == "yes", **numbers
        )  # fmt: skip
    return f"flavor {made.name} made"


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
    ),
    load=_load,
    submit=_submit,
)


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
        NEW,
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
