"""Volumes: disks that outlive instances."""

from __future__ import annotations

from tui.view import Column, Tab, View
from tui.views.cells import aged, named, plain, short, yes_no
from tui.views.volumes.cells import attached, note, size, status, type_
from tui.views.volumes.new import NEW_FORM
from tui.views.volumes.pages import kept, overview, preview
from tui.views.volumes.verbs import VERBS

VIEW = View(
    kind="volume",
    title="Volumes",
    aliases=("vol", "volume"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=10, cell=named()),
        Column(title="SIZE", key="size_gb", width=6, cell=size, right=True),
        Column(title="TYPE", key="type", width=7, cell=type_, grow=4),
        Column(title="STATUS", key="status", width=15, cell=status),
        Column(title="ATTACHED", width=11, cell=attached, grow=8),
        Column(title="BOOT", key="bootable", width=4, cell=yes_no("bootable")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="SNAPS", key="snapshots", width=5, wide=True, right=True),
        Column(title="BACKEND", key="backend", width=8, wide=True),
        Column(title="HOST", key="host", width=8, cell=plain("host"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True),
        Column(title="PROVEN", key="proven_at", width=6, cell=aged("proven_at"), wide=True, right=True),
        Column(title="NOTE", width=8, grow=40, cell=note),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=VERBS,
    form=NEW_FORM,
    tabs=(Tab(title="Overview", read=overview), Tab(title="Kept", read=kept)),
    preview=preview,
    empty=lambda session, ctx: [
        ("No volumes yet.", "head"),
        ("n makes one: empty, or of an image, a snapshot or another volume.", ""),
    ],
    headline=lambda row, now: [
        (row["id"][:8], "dim"),
        status(row, now),
        size(row, now),
        (row["type"] or "no type", ""),
    ],
    faults="status=error*",
)
