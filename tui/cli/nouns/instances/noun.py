"""What a server shows, in a list and alone."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from tui.cli.commands import name_of, names_of_many
from tui.cli.noun import Column, Filter, Noun, Row, column, entries, long, moment

_POWER = {0: "NOSTATE", 1: "Running", 3: "Paused", 4: "Shutdown", 6: "Crashed", 7: "Suspended"}
"""nova's numbers, as openstack's client writes them in lists."""


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core import listing
    from core.compute.instances import reads, verbs
    from core.lists import LISTINGS

    row = reads.show(session, verbs.find(session, ctx, name))
    wide = dataclasses.replace(ctx, all_projects=ctx.is_admin)
    attached = listing.page(session, wide, LISTINGS["attachment"], where={"server_id": row["id"]}, sort="device")
    volumes = [{"id": each["volume_id"], "delete_on_termination": each["delete_on_termination"]} for each in attached]
    return row | {"volumes_attached": volumes}


def _by_network(addresses: list[tuple[str, str]]) -> dict[str, list[str]]:
    networks: dict[str, list[str]] = {}
    for network, address in addresses:
        networks.setdefault(network, []).append(address)
    return networks


def _shown_networks(addresses: list[tuple[str, str]]) -> str:
    return "; ".join(f"{network}={', '.join(ips)}" for network, ips in _by_network(addresses).items())


def _networks(header: str) -> Column:
    return column(header, "addresses", human=_shown_networks, machine=_by_network)


def _shown_fault(fault: dict[str, Any] | None) -> str:
    return "" if fault is None else "\n".join(part for part in (fault.get("title"), fault.get("hint")) if part)


def _named(header: str, id: str, name: str) -> Column:
    """Of a server that boots a volume there is a name, and no id."""
    return column(header, lambda row: f"{row[name]} ({row[id]})" if row[id] else row[name] or "")


SERVER = Noun(
    kind="instance",
    word="server",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Status", "status"),
        long("Task State", "task_state"),
        long("Power State", "power_state", human=lambda state: _POWER.get(state, "NOSTATE")),
        _networks("Networks"),
        column("Image", "image"),
        column("Flavor", "flavor"),
        long("Availability Zone", "availability_zone"),
        long("Host", "host"),
        long("Project", "project"),
        moment("Created At", "created_at", long=True),
    ),
    fields=(
        column("OS-EXT-AZ:availability_zone", "availability_zone"),
        column("OS-EXT-SRV-ATTR:host", "host"),
        column("OS-EXT-SRV-ATTR:hostname", "hostname"),
        column("OS-EXT-SRV-ATTR:reservation_id", "reservation_id"),
        column("OS-EXT-STS:power_state", "power_state", human=lambda state: _POWER.get(state, "NOSTATE")),
        column("OS-EXT-STS:task_state", "task_state"),
        column("OS-EXT-STS:vm_state", "vm_state"),
        moment("OS-SRV-USG:launched_at", "launched_at"),
        _networks("addresses"),
        column("config_drive", "config_drive"),
        moment("created", "created_at"),
        column("fault", "fault", human=_shown_fault),
        _named("flavor", "flavor_id", "flavor_name"),
        column("id", "id"),
        _named("image", "image_id", "image_name"),
        column("key_name", "key_name"),
        column("locked", "locked"),
        column("locked_reason", "locked_reason"),
        column("name", "name"),
        column("project_id", "project_id"),
        column("properties", "properties"),
        column("status", "status"),
        moment("updated", "updated_at"),
        column("user_id", "user_id"),
        entries("volumes_attached", "volumes_attached"),
    ),
    find=_find,
    filters=(
        Filter(option="--status", column="status", help="For example ACTIVE or ERROR."),
        Filter(option="--host", column="host", help="On the host of this name (admin)."),
        Filter(option="--flavor", column="flavor", help="Of the flavor of this name."),
        Filter(option="--image", column="image", help="Made from the image of this name."),
    ),
)

ServerName = Annotated[str, name_of(SERVER)]
ServerNames = Annotated[list[str], names_of_many(SERVER)]
