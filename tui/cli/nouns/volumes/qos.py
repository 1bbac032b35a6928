"""`skydeck volume qos`: how fast the volumes of a type may be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, names_of, shows
from tui.cli.noun import Noun, Row, column, listed, moment
from tui.cli.nouns.volumes.noun import NoPropertyFlag, TypeName
from tui.cli.options import PropertyOption, UnsetOption, pairs


class Consumer(StrEnum):
    """Who limits, as cinder has it. Here QEMU always does."""

    FRONT_END = "front-end"
    BACK_END = "back-end"
    BOTH = "both"


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.volumes import qos

    return listed(session, ctx, "qos", qos.find(session, ctx, name).id)


QOS = Noun(
    kind="qos",
    word="volume qos",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Consumer", "consumer"),
        column("Associations", "types"),
        column("Properties", "specs"),
    ),
    fields=(
        column("associations", "types"),
        column("consumer", "consumer"),
        moment("created_at", "created_at"),
        column("id", "id"),
        column("name", "name"),
        column("properties", "specs"),
    ),
    find=_find,
)

QosName = Annotated[str, name_of(QOS)]

app = group("How fast the volumes of a type may be.")
add_list(app, QOS, help="List QoS specs (admin).")
add_show(app, QOS, help="Show a QoS spec (admin).")


@app.command()
@shows(QOS)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    consumer: Annotated[Consumer, typer.Option("--consumer", help="Who limits.")] = Consumer.FRONT_END,
    property: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="KEY=VALUE",
            help="total_iops_sec, read_iops_sec, write_iops_sec, total_bytes_sec, read_bytes_sec, write_bytes_sec, "
            "total_iops_sec_per_gb, total_bytes_sec_per_gb; may be repeated.",
        ),
    ] = None,
) -> Row:
    """Create a QoS spec (admin)."""
    from core.volumes import qos

    with caller().write() as (session, ctx):
        made = qos.create(session, ctx, name=name, consumer=str(consumer), specs=pairs(property))
        return _find(session, ctx, made.id)


@app.command("set")
def set_(qos_spec: QosName, no_property: NoPropertyFlag = False, property: PropertyOption = None) -> None:
    """Change the limits of a QoS spec (admin); running guests feel it at once."""
    from core.volumes import qos

    with caller().write() as (session, ctx):
        found = qos.find(session, ctx, qos_spec)
        if no_property and found.specs:
            qos.unset(session, ctx, found.id, specs=tuple(found.specs))
        if property:
            qos.set(session, ctx, found.id, specs=pairs(property))


@app.command()
def unset(qos_spec: QosName, property: UnsetOption = None) -> None:
    """Remove limits of a QoS spec (admin)."""
    from core.volumes import qos

    with caller().write() as (session, ctx):
        qos.unset(session, ctx, qos_spec, specs=tuple(property or ()))


@app.command()
def associate(qos_spec: QosName, volume_type: TypeName) -> None:
    """Have the volumes of a type be limited so (admin)."""
    from core.volumes import qos

    with caller().write() as (session, ctx):
        qos.associate(session, ctx, qos_spec, volume_type)


@app.command()
def disassociate(
    qos_spec: QosName,
    volume_type: Annotated[
        str | None,
        typer.Option(
            "--volume-type", metavar="VOLUME-TYPE", help="From this one.", autocompletion=names_of("volume_type")
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="From all types.")] = False,
) -> None:
    """Let the volumes of a type, or of all types, be as fast as they are (admin)."""
    from core.volumes import qos

    if (volume_type is None) != every:
        raise Invalid("it is one type or all of them", hint="Either --volume-type VOLUME-TYPE or --all.")
    with caller().write() as (session, ctx):
        qos.disassociate(session, ctx, qos_spec, volume_type)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.volumes import qos

    qos.delete(session, ctx, name)


add_delete(app, QOS, _delete, help="Delete QoS specs that no volume type has.")
