"""Image members: which project a shared image is shown to, and what it said."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Command, command
from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Choice, Confirm, Reason, Row, Verb, deletion
from tui.view import Cell, Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, plain
from tui.views.policy import needs_role
from tui.views.wires import handle, listed

STATUS = {"accepted": ("+", "ok"), "pending": ("~", "warn"), "rejected": ("x", "off")}


def status(row: Row, now: int) -> Cell:
    glyph, tone = STATUS.get(row["status"], ("?", ""))
    return f"{glyph} {row['status']}", tone


def _answer(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.images import members

    image, _, project = id.partition("/")
    return members.set(session, ctx, image, status=value, project=project if project != ctx.project_id else None)


def _answers(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("image:share")(ctx, row)
    if refused is None and row["member_id"] != ctx.project_id and not ctx.is_admin:
        return f"project {row['member'] or row['member_id'][:8]} answers itself", ""
    return refused


def _remove(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.images import members

    image, _, project = id.partition("/")
    return members.remove(session, ctx, image, project)


def share(session: Any, ctx: Any, image: str, project: str) -> None:
    """Make it a shared image, if it is not, and show it to the project."""
    from core.images import images, members

    if images.find(session, ctx, image).visibility == "private":
        images.set(session, ctx, image, visibility="shared")
    members.add(session, ctx, image, project)


def load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    images = [
        each
        for each in listed(session, ctx, "image", sort="name")
        if each["project_id"] == ctx.project_id and each["visibility"] in ("private", "shared")
    ]
    if not images:
        return Loaded(values={}, problem=("There is no image of yours to share.", "skydeck image create --help"))
    chosen = (row or {}).get("image_id") or (row or {}).get("id")
    first = next((each["id"] for each in images if each["id"] == chosen), images[0]["id"])
    return Loaded(
        values={"image": first, "project": ""},
        choices={"image": [(each["id"], f"{each['name']}  {each['visibility']}") for each in images]},
        facts={
            "images": {each["id"]: handle(session, ctx, "image", each) for each in images},
            "private": {each["id"] for each in images if each["visibility"] == "private"},
        },
    )


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    image = loaded.facts["images"][values["image"]]
    lines = [command("image", "set", "--shared").end(image)] if values["image"] in loaded.facts["private"] else []
    return [*lines, command("image", "add", "project").end(image, values["project"].strip())]


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    with store.write() as session:
        share(session, ctx, values["image"], values["project"].strip())
    return f"shared with {values['project'].strip()}; it lists the image when it has accepted"


FORM = Form(
    title="Share image",
    fields=(
        Field(name="image", label="image", choices=True),
        Field(name="project", label="with", hint="a project's name or id"),
    ),
    load=load,
    submit=_submit,
    command=_command,
)


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    return facts(
        [
            ("image", row["image"]),
            ("of", row["owner"]),
            ("project", row["member"] or row["member_id"]),
            ("said", row["status"]),
        ]
    )


VIEW = View(
    kind="image_member",
    title="Image members",
    aliases=("im", "member"),
    columns=(
        Column(title="IMAGE", key="image", width=20, grow=16),
        Column(title="OF", key="owner", width=12, cell=plain("owner"), grow=6),
        Column(
            title="SHARED WITH",
            key="member",
            width=14,
            cell=lambda row, now: (row["member"] or row["member_id"][:8], ""),
            grow=8,
        ),
        Column(title="SAID", key="status", width=11, cell=status),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="answer",
            key="b",
            label="answer",
            help="Accept it, so that lists show it, or reject it",
            confirm=Confirm.BAR,
            choices=(
                Choice(key="a", label="[a]ccept", value="accepted"),
                Choice(key="r", label="[r]eject", value="rejected"),
                Choice(key="p", label="[p]ending", value="pending"),
            ),
            disabled_reason=_answers,
            run=_answer,
            done="answered about",
        ),
        NEW,
        deletion(_remove, help="Show it to this project no longer", disabled_reason=needs_role("image:share")),
        EVENTS,
        YAML,
        COPY,
    ),
    form=FORM,
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [(f"{row['image']} of {row['owner']} for {row['member'] or row['member_id']}: {row['status']}", "")],
        [(row["image_id"], "dim")],
    ],
    empty=lambda session, ctx: [
        ("Nothing is shared.", "head"),
        ("n shares an image of yours with a project; what others share with you is here too.", ""),
    ],
    headline=lambda row, now: [(f"for {row['member'] or row['member_id'][:8]}", ""), status(row, now)],
    name="image",
    sort="image",
    copies=("image_id", "member_id"),
)
