"""The form of a new image: from the catalog, a URL or a file. Its command runs behind the app, as long as it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tui.forms.command import Command, command
from tui.verbs import Row
from tui.view import Field, Form, Handed, Loaded

URL, FILE = "url", "file"
CATALOG = "catalog "
"""Before the name of an entry."""

USUAL = "debian-13"
"""The entry to begin with."""

FORMATS = ("qcow2", "raw", "vmdk", "vhd", "vhdx", "vdi", "iso")


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    from core.images import catalog

    entries = catalog.entries()
    first = next((entry for entry in entries if entry.name == USUAL), entries[0])
    return Loaded(
        values={
            "source": f"{CATALOG}{first.name}",
            "url": "https://",
            "file": "~/",
            "checksum": "",
            "name": "",
            "format": "qcow2",
            "visibility": "private",
        },
        choices={
            "source": [
                *((f"{CATALOG}{entry.name}", f"{entry.name}  {entry.title}") for entry in entries),
                (URL, "a URL"),
                (FILE, "a file of this machine"),
            ],
            "format": [(each, each) for each in FORMATS],
            "visibility": [
                ("private", "this project"),
                ("shared", "this project, and those it is given to"),
                ("community", "whoever knows it; in nobody's list"),
                ("public", "every project (admin)"),
            ],
        },
    )


def _called(values: dict[str, str]) -> str:
    """Its name: as typed, else as its source is called."""
    if name := values["name"].strip():
        return name
    if values["source"].startswith(CATALOG):
        return values["source"].removeprefix(CATALOG)
    return Path(values["file" if values["source"] == FILE else "url"].strip().rstrip("/")).stem


def _record(values: dict[str, str]) -> dict[str, Any]:
    """As `bring.start` takes it."""
    from core.images import catalog

    source = values["source"]
    record: dict[str, Any] = {"name": _called(values), "visibility": values["visibility"]}
    if source.startswith(CATALOG):
        return {**record, "entry": catalog.find(source.removeprefix(CATALOG))}
    record["disk_format"] = values["format"]
    if source == FILE:
        return {**record, "path": Path(values["file"].strip()).expanduser()}
    return {**record, "url": values["url"].strip()}


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    """The record alone: its bytes are brought by the command."""
    from core.errors import Invalid
    from core.images import bring, checksums, web

    record = _record(values)
    if url := record.get("url"):
        web.split(url)
    checksum = values["checksum"].strip()
    if checksum and "://" not in checksum:
        checksums.check(checksum)
    if "path" in record and record["path"].is_dir():
        raise Invalid(f"{record['path']} is a directory", hint="Name the file.")
    with store.write() as session:
        made = bring.start(session, ctx, **record)
        return f"bringing image {made.name}; it goes on without the app"


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, source = command("image", "create"), values["source"]
    if source.startswith(CATALOG):
        line.option("--catalog", source.removeprefix(CATALOG))
    else:
        line.option("--disk-format", values["format"])
        if source == FILE:
            line.option("--file", str(Path(values["file"].strip()).expanduser()))
        else:
            line.option("--url", values["url"].strip())
        line.option("--checksum", values["checksum"].strip())
    return [line.option("--visibility", values["visibility"], usual="private").end(_called(values))]


def _elsewhere(values: dict[str, str]) -> bool:
    return not values["source"].startswith(CATALOG)


FORM = Form(
    title="New image",
    fields=(
        Field(name="source", label="from", choices=True),
        Field(name="url", label="URL", when=lambda values: values["source"] == URL),
        Field(name="file", label="file", when=lambda values: values["source"] == FILE),
        Field(name="format", label="format", choices=True, when=_elsewhere),
        Field(name="checksum", label="checksum", hint="sha256 or sha512, or the URL of such sums", when=_elsewhere),
        Field(name="name", label="name", hint="empty: as its source is called"),
        Field(name="visibility", label="seen by", choices=True),
    ),
    load=_load,
    submit=_submit,
    command=_command,
    handed=Handed.BEHIND,
)
