"""`skydeck server create`: from options to a CreateSpec, and what is printed of the result."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import report, wait
from tui.cli.caller import caller
from tui.cli.commands import Outcome, names_of, shows
from tui.cli.noun import Row, listed
from tui.cli.nouns.instances import block_devices
from tui.cli.nouns.instances.noun import SERVER
from tui.cli.options import PropertyOption, WaitOption, contents, pairs

NO_NETWORK = ("none",)
"""How core is told that no NIC is wanted."""


@shows(SERVER)
def create(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Several make one of each name, or none.")],
    flavor: Annotated[
        str, typer.Option("--flavor", metavar="FLAVOR", help="Its size.", autocompletion=names_of("flavor"))
    ],
    image: Annotated[
        str | None, typer.Option("--image", metavar="IMAGE", help="What it boots.", autocompletion=names_of("image"))
    ] = None,
    volume: Annotated[
        str | None,
        typer.Option("--volume", metavar="VOLUME", help="Or this volume.", autocompletion=names_of("volume")),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            "--snapshot",
            metavar="SNAPSHOT",
            help="Or a new volume, as one was at this snapshot.",
            autocompletion=names_of("snapshot"),
        ),
    ] = None,
    boot_from_volume: Annotated[
        int | None,
        typer.Option("--boot-from-volume", metavar="GIB", min=1, help="Its disk is a new volume, made of --image."),
    ] = None,
    delete_on_termination: Annotated[
        bool, typer.Option("--delete-on-termination", help="The boot volume goes with the server.")
    ] = False,
    block_device: Annotated[
        list[str] | None,
        typer.Option(
            "--block-device",
            metavar="KEY=VALUE,...|FILE",
            help="One more disk: uuid, source_type, destination_type, volume_size, boot_index, volume_type, "
            "delete_on_termination, disk_bus, device_type, guest_format, tag; may be repeated.",
        ),
    ] = None,
    block_device_mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--block-device-mapping",
            metavar="DEVICE=ID[:TYPE[:GIB[:DELETE]]]",
            help="The same in the older way; may be repeated.",
        ),
    ] = None,
    ephemeral: Annotated[
        list[str] | None,
        typer.Option(
            "--ephemeral", metavar="size=GIB[,format=FORMAT]", help="An empty disk on its host; may be repeated."
        ),
    ] = None,
    swap: Annotated[int | None, typer.Option("--swap", metavar="MIB", min=1, help="A swap disk on its host.")] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="NETWORK",
            help="A NIC on this network; may be repeated. `auto`: the project's own; `none`: no NIC.",
            autocompletion=names_of("network"),
        ),
    ] = None,
    nic: Annotated[
        list[str] | None,
        typer.Option(
            "--nic",
            metavar="net-id=NETWORK[,v4-fixed-ip=IP]|port-id=PORT|auto|none",
            help="An interface, whole; may be repeated.",
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port", metavar="PORT", help="A port of one's own; may be repeated.", autocompletion=names_of("port")
        ),
    ] = None,
    security_group: Annotated[
        list[str] | None,
        typer.Option(
            "--security-group",
            metavar="GROUP",
            help="Of the ports that are made; may be repeated.",
            autocompletion=names_of("security_group"),
        ),
    ] = None,
    no_network: Annotated[bool, typer.Option("--no-network", help="No NIC at all.")] = False,
    fixed_ip: Annotated[str | None, typer.Option("--fixed-ip", metavar="IP", help="This address.")] = None,
    key_name: Annotated[
        str | None,
        typer.Option("--key-name", metavar="KEYPAIR", help="Who may log in.", autocompletion=names_of("keypair")),
    ] = None,
    user_data: Annotated[str | None, typer.Option("--user-data", metavar="FILE", help="For cloud-init.")] = None,
    config_drive: Annotated[
        bool, typer.Option("--config-drive/--no-config-drive", "--use-config-drive", help="Metadata on a disk.")
    ] = False,
    file: Annotated[
        list[str] | None, typer.Option("--file", metavar="DEST=SOURCE", help="Put a file into it; may be repeated.")
    ] = None,
    property: PropertyOption = None,
    hint: Annotated[
        list[str] | None,
        typer.Option("--hint", metavar="KEY=VALUE", help="same_host=SERVER or different_host=SERVER; may be repeated."),
    ] = None,
    availability_zone: Annotated[
        str | None,
        typer.Option("--availability-zone", metavar="ZONE[:HOST]", help="Where; a host is an admin's to name."),
    ] = None,
    least: Annotated[int | None, typer.Option("--min", metavar="N", min=1, help="At least this many, or none.")] = None,
    most: Annotated[int | None, typer.Option("--max", metavar="N", min=1, help="As many as fit, up to this.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="Asking twice with one key makes one.")
    ] = None,
    wait_: WaitOption = False,
) -> Outcome:
    """Create servers. Prints them as accepted, or with --wait as they became."""
    from core.compute.instances import create as verb

    at = caller()
    disks = block_devices.devices(
        image=image,
        volume=volume,
        snapshot=snapshot,
        boot_from_volume=boot_from_volume,
        delete_on_termination=delete_on_termination,
        mapped=block_device_mapping or [],
        block_devices=block_device or [],
        ephemerals=ephemeral or [],
        swap=swap,
    )
    spec = verb.CreateSpec(
        name=names[0],
        names=tuple(names) if len(names) > 1 else (),
        flavor=flavor,
        # A volume that is made of it is the disk; then the image is no disk besides.
        image=None if boot_from_volume is not None else image,
        block_devices=disks,
        networks=_networks([*(network or ()), *(text for text in nic or () if "=" not in text)], no_network=no_network),
        nics=_nics(nic, port),
        security_groups=tuple(security_group or ()),
        fixed_ip=fixed_ip,
        key_name=key_name,
        user_data=contents(user_data, "user data file") if user_data else None,
        config_drive=config_drive,
        files={path: contents(source, "file") for path, source in pairs(file, "file").items()},
        properties=pairs(property),
        hints=_hints(hint),
        availability_zone=availability_zone,
        min_count=least or len(names),
        max_count=most or least or len(names),
        idempotency_key=idempotency_key,
    )
    ctx = at.who()
    made = verb.create(at.store, at.config, ctx, spec)
    if len(made.instances) < spec.max_count:
        report.notice(f"{len(made.instances)} of {spec.max_count} were made: there was room for no more")
    status = wait.finish(made.operations) if wait_ else 0
    rows = _rows([instance.id for instance in made.instances])
    # What became of it is worth seeing even when it failed.
    return Outcome(rows if len(rows) > 1 else rows[0], status)


def _nics(nics: list[str] | None, ports: list[str] | None) -> tuple[Any, ...]:
    """`--nic key=value,…` and `--port`, in their order."""
    from core.compute.instances.nics import Nic

    found = []
    for text in nics or ():
        if "=" not in text:
            continue  # a network's name, auto or none
        given = pairs(text.split(","), "nic")
        fixed = given.pop("v4-fixed-ip", None) or given.pop("v6-fixed-ip", None)
        network, port = given.pop("net-id", None), given.pop("port-id", None)
        if given:
            raise Invalid(f"unknown in --nic: {', '.join(given)}", hint="net-id, v4-fixed-ip, v6-fixed-ip, port-id.")
        found.append(Nic(network=network, port=port, fixed_ip=fixed))
    return (*found, *(Nic(port=port) for port in ports or ()))


def _networks(names: list[str] | None, *, no_network: bool) -> tuple[str, ...]:
    """Core's word for what was asked: empty means the project's own network."""
    wanted = tuple(names or ())
    if no_network or wanted == NO_NETWORK:
        if no_network and wanted not in ((), NO_NETWORK):
            raise Invalid("--no-network and --network contradict each other", hint="Choose one.")
        return NO_NETWORK
    if "none" in wanted or ("auto" in wanted and len(wanted) > 1):
        raise Invalid("`none` and `auto` stand alone", hint="Name the networks, or none of them.")
    return () if wanted == ("auto",) else wanted


def _hints(given: list[str] | None) -> dict[str, str]:
    """Repeated hints of one key are one hint of several values."""
    hints: dict[str, str] = {}
    for text in given or ():
        [(key, value)] = pairs([text], "hint").items()
        hints[key] = f"{hints[key]},{value}" if key in hints else value
    return hints


def _rows(ids: list[str]) -> list[Row]:
    """One is shown whole, several as a list."""
    with caller().read() as (session, ctx):
        if len(ids) == 1:
            return [SERVER.find(session, ctx, ids[0])]
        return [listed(session, ctx, "instance", id) for id in ids]
