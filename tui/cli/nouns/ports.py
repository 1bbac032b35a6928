"""`skydeck port`: where servers are plugged into networks."""

from __future__ import annotations

from typing import Any

from tui.cli.commands import add_list, add_show, group
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment


def _find(session: Any, ctx: Any, name: str) -> Row:
    return listed(session, ctx, "port", name)


def _network(session: Any, ctx: Any, name: str) -> str:
    from core.network import networks

    return networks.find(session, ctx, name).id


def _server(session: Any, ctx: Any, name: str) -> str:
    from core.compute.instances import verbs

    return verbs.find(session, ctx, name).id


def _addresses(row: Row) -> list[dict[str, str]]:
    return [{"ip_address": row["ip"]}] if row["ip"] else []


def _shown(addresses: list[dict[str, str]]) -> str:
    return ", ".join(f"ip_address='{each['ip_address']}'" for each in addresses)


PORT = Noun(
    kind="port",
    word="port",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("MAC Address", "mac"),
        column("Fixed IP Addresses", _addresses, human=_shown),
        column("Status", "status"),
        long("Device Owner", "device_owner"),
        long("Device ID", "device_id"),
        long("Network", "network_id"),
        long("Project", "project_id"),
    ),
    fields=(
        moment("created_at", "created_at"),
        column("device_id", "device_id"),
        column("device_owner", "device_owner"),
        column("fixed_ips", _addresses, human=_shown),
        column("id", "id"),
        column("mac_address", "mac"),
        column("name", "name"),
        column("network_id", "network_id"),
        column("project_id", "project_id"),
        column("status", "status"),
    ),
    find=_find,
    filters=(
        Filter(option="--network", column="network_id", help="On this network.", resolve=_network),
        Filter(option="--server", column="device_id", help="Of this server.", resolve=_server),
        Filter(option="--device-owner", column="device_owner", help="For example network:dhcp."),
    ),
)

app = group("Where servers are plugged into networks.")
add_list(app, PORT, help="List ports.")
add_show(app, PORT, help="Show a port, by its id.")
