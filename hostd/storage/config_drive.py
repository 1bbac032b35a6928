"""What a guest is told about itself, on a CD: OpenStack's layout and NoCloud's.

Readers find their CD by its file system label: cloud-init's Metadata, Ignition and cloudbase-init look for
`config-2`, cloud-init's NoCloud for `cidata` (cloudinit/sources/DataSourceNoCloud.py, tools/ds-identify). An ISO
has one label that counts: of a primary and a different Joliet one, libblkid reports the Joliet alone. So
there are two CDs of a few hundred KB with the same files and different labels. cloud-init tries NoCloud
first; it therefore finds there, beside its own keys, those of OpenStack's meta_data.json.

Both say the same instance id, so that a guest which changes from one reader to the other is not taken for a new one.
"""

from __future__ import annotations

import hashlib
import io
import ipaddress
from pathlib import Path
from typing import Any, Final

from hostd.metadata import openstack
from hostd.spec import InstanceSpec, Metadata

OPENSTACK_LABEL: Final = "config-2"
NOCLOUD_LABEL: Final = "cidata"

VERSIONS: Final = ("2018-08-27", openstack.LATEST)
"""The metadata versions written: the newest dated one, for readers that ask by date, and latest."""


def contents(spec: InstanceSpec, drive: Metadata) -> dict[str, bytes]:
    """The files of the drive: path without leading slash to bytes.

    Raises HostError(PROTOCOL) when user data or an injected file is not base64.
    """
    files: dict[str, bytes] = {}
    for version in VERSIONS:
        for name in openstack.files(version, drive):
            if name != openstack.PASSWORD:  # a guest cannot post one to a CD
                files[f"openstack/{version}/{name}"] = openstack.read(name, spec.uuid, drive)
    for number, (path, content) in enumerate(sorted(drive.files.items())):
        files[f"openstack/{openstack.content_path(number)}"] = openstack.decoded(content, path)
    # YAML 1.2 includes JSON, so NoCloud's YAML files are written as JSON: nothing there needs quoting rules.
    files["meta-data"] = openstack.plain_json(
        {
            **openstack.meta_data(spec.uuid, drive),
            "instance-id": spec.uuid,
            "local-hostname": drive.hostname,
            "public-keys": sorted(drive.public_keys.values()),
        }
    )
    files["user-data"] = openstack.user_data(drive)
    network = network_config(drive.network_data)
    if network["ethernets"]:
        files["network-config"] = openstack.plain_json(network)
    return files


def digest(files: dict[str, bytes]) -> str:
    """sha256 over names and contents: whether a drive on disk says what is wanted."""
    total = hashlib.sha256()
    for name, content in sorted(files.items()):
        total.update(f"{len(name)} {name} {len(content)} ".encode() + content)
    return total.hexdigest()


def network_config(network_data: dict[str, Any]) -> dict[str, Any]:
    """OpenStack's network_data.json as a network-config of version 2 (netplan's form), for NoCloud."""
    ethernets: dict[str, dict[str, Any]] = {}
    by_link: dict[str, dict[str, Any]] = {}
    for number, link in enumerate(network_data.get("links", ())):
        entry: dict[str, Any] = {"match": {"macaddress": str(link["ethernet_mac_address"]).lower()}}
        if link.get("mtu"):
            entry["mtu"] = link["mtu"]
        # The id is the controller's to choose; as a key it could be taken for an interface's name.
        ethernets[f"nic{number}"] = by_link[link["id"]] = entry
    for network in network_data.get("networks", ()):
        entry = by_link.get(network.get("link", ""), {})
        _addressing(entry, network)
    servers = [service["address"] for service in network_data.get("services", ()) if service.get("type") == "dns"]
    if servers:
        for entry in ethernets.values():
            entry["nameservers"] = {"addresses": servers}
    return {"version": 2, "ethernets": ethernets}


def write_iso(path: Path, label: str, files: dict[str, bytes]) -> None:
    """Write an ISO 9660 image with Rock Ridge (Linux) and Joliet (Windows) names. Raises OSError."""
    # Only this function needs it, and it takes as long to import as the rest of the daemon.
    import pycdlib

    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, vol_ident=label, joliet=3, rock_ridge="1.09", sys_ident="LINUX")
    try:
        plain = {"": ""}  # the path of each directory to its ISO 9660 path, whose names are numbers in base 10
        for name, content in sorted(files.items()):
            parent = ""
            for folder in name.split("/")[:-1]:
                here = f"{parent}/{folder}"
                if here not in plain:
                    plain[here] = f"{plain[parent]}/D{len(plain):06}"
                    image.add_directory(plain[here], rr_name=folder, joliet_path=here)
                parent = here
            image.add_fp(
                io.BytesIO(content),
                len(content),
                f"{plain[parent]}/F{len(plain):06}.;1",
                rr_name=name.rpartition("/")[2],
                joliet_path=f"/{name}",
            )
            plain[f"/{name}"] = ""
        image.write(str(path))
    finally:
        image.close()


def _addressing(entry: dict[str, Any], network: dict[str, Any]) -> None:
    kind = network.get("type", "")
    if kind == "ipv4_dhcp":
        entry["dhcp4"] = True
    elif kind in ("ipv6_dhcp", "ipv6_dhcpv6-stateful"):
        entry["dhcp6"] = True
    elif kind in ("ipv6_slaac", "ipv6_dhcpv6-stateless"):
        entry["accept-ra"] = True
    elif network.get("ip_address"):
        address = str(network["ip_address"])
        if "/" not in address:
            address = f"{address}/{_prefix(str(network['netmask']))}"
        entry.setdefault("addresses", []).append(address)
    for route in network.get("routes", ()):
        target = f"{route['network']}/{_prefix(str(route['netmask']))}"
        entry.setdefault("routes", []).append({"to": target, "via": route["gateway"]})


def _prefix(netmask: str) -> int:
    """24 of 255.255.255.0, 64 of ffff:ffff:ffff:ffff::."""
    return int(ipaddress.ip_address(netmask)).bit_count()
