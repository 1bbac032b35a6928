"""An instance as its host is told it: the row, its ports, images and volumes, turned into hostd's spec."""

from __future__ import annotations

import ipaddress
from typing import Any

from sqlmodel import Session, col

from core.compute.instances.disks import disks
from core.compute.instances.hardware import hardware
from core.compute.instances.table import Instance
from core.config import Config
from core.errors import Failed
from core.images.images import Image
from core.network import ports
from core.network.tables import FixedIP, Network, Port, PortSecurityGroup, SecurityGroup, Subnet
from core.sql import select
from hostd.spec import ImageRef, InstanceSpec, Metadata, Nic, Want


def spec(
    session: Session,
    config: Config,
    instance: Instance,
    *,
    want: str | None = None,
    hard: bool = False,
    without: str | None = None,
) -> InstanceSpec:
    """The whole of what the host shall make so. `want` overrides the row's wish, for undo; `without` leaves out
    a port or a volume that is being pulled out."""
    plugged = [port for port in ports.of_device(session, instance.id) if port.id != without]
    return InstanceSpec(
        uuid=instance.id,
        want=Want(want or instance.want),
        name=instance.name,
        project_id=instance.project_id,
        vcpus=instance.vcpus,
        ram_mb=instance.ram_mb,
        root_gb=instance.root_gb,
        ephemeral_gb=instance.ephemeral_gb,
        swap_mb=instance.swap_mb,
        os_type=instance.image_properties.get("os_type") or config.default_ephemeral_format or None,
        image=_ref(session, instance.image_id),
        kernel=_ref(session, instance.kernel_id),
        ramdisk=_ref(session, instance.ramdisk_id),
        cmdline=instance.image_properties.get("os_command_line", ""),
        nics=tuple(_nic(session, port) for port in plugged),
        metadata=_metadata(session, instance, plugged),
        config_drive=_wants_drive(instance),
        stop_timeout=config.shutdown_timeout,
        hard=hard,
        volumes=disks(session, instance, without=without),
        hardware=hardware(instance.image_properties),
    )


def images_of(spec: InstanceSpec) -> list[ImageRef]:
    """What must be in the host's cache before the spec can be applied."""
    return [ref for ref in (spec.kernel, spec.ramdisk, spec.image) if ref is not None]


def _wants_drive(instance: Instance) -> bool:
    # A guest without a network has no other way to learn of its key, and files are on this disk alone.
    return bool(instance.config_drive or instance.public_key or instance.user_data or instance.files)


def _ref(session: Session, image_id: str | None) -> ImageRef | None:
    if image_id is None:
        return None
    image = session.get(Image, image_id)
    if image is None or image.digest is None:
        raise Failed(f"image {image_id} has no data any more", hint="Delete the instance and launch from another.")
    return image.ref


def _nic(session: Session, port: Port) -> Nic:
    network = session.get(Network, port.network_id)
    assert network is not None  # a foreign key holds it
    return Nic(
        port_id=port.id,
        network_id=port.network_id,
        mac=port.mac,
        mtu=network.mtu,
        ips=tuple(ports.addresses(session, port.id)),
    )


def _metadata(session: Session, instance: Instance, plugged: list[Port]) -> Metadata:
    return Metadata(
        hostname=instance.hostname,
        meta=instance.properties,
        public_keys={instance.key_name or "key": instance.public_key} if instance.public_key else {},
        user_data=instance.user_data,
        network_data=network_data(session, plugged),
        availability_zone=instance.availability_zone or "nova",
        project_id=instance.project_id,
        instance_type=instance.flavor_name,
        image_id=instance.image_id or "",
        reservation_id=instance.reservation_id,
        launch_index=instance.launch_index,
        security_groups=_security_groups(session, plugged),
        name=instance.name,
        files=instance.files,
    )


def _security_groups(session: Session, plugged: list[Port]) -> tuple[str, ...]:
    """Names of the groups its ports are in, as EC2 tells them: each once."""
    query = (
        select(SecurityGroup.name)
        .where(
            col(PortSecurityGroup.port_id).in_([port.id for port in plugged]),
            col(SecurityGroup.id) == col(PortSecurityGroup.security_group_id),
        )
        .distinct()
        .order_by(col(SecurityGroup.name))
    )
    return tuple(session.execute(query).scalars())


def network_data(session: Session, plugged: list[Port]) -> dict[str, Any]:
    """OpenStack's network_data.json (nova/virt/netutils.py): links, networks, services."""
    links: list[dict[str, Any]] = []
    nets: list[dict[str, Any]] = []
    services: list[dict[str, str]] = []
    for port in plugged:
        network = session.get(Network, port.network_id)
        assert network is not None
        link = f"tap{port.id[:11]}"
        links.append(
            {"id": link, "vif_id": port.id, "type": "phy", "mtu": network.mtu, "ethernet_mac_address": port.mac}
        )
        rows = session.execute(
            select(FixedIP.ip, Subnet)
            .where(col(FixedIP.port_id) == port.id, col(Subnet.id) == col(FixedIP.subnet_id))
            .order_by(col(FixedIP.ip))
        ).all()
        for ip, subnet in rows:
            where = {"id": f"network{len(nets)}", "link": link, "network_id": network.id}
            nets.append(where | _addressing(ip, subnet))
            services += [
                {"type": "dns", "address": server}
                for server in subnet.dns_nameservers
                if {"type": "dns", "address": server} not in services
            ]
    return {"links": links, "networks": nets, "services": services}


def _addressing(ip: str, subnet: Subnet) -> dict[str, Any]:
    """How a guest gets an address: by DHCP, from its router's advertisements, or by being told it."""
    if subnet.ip_version == 4 and subnet.enable_dhcp:
        return {"type": "ipv4_dhcp"}
    if subnet.ipv6_mode is not None:
        return {"type": "ipv6_slaac" if subnet.ipv6_mode == "slaac" else f"ipv6_{subnet.ipv6_mode}"}
    routes = [_route(route["destination"], route["nexthop"]) for route in subnet.host_routes]
    if subnet.gateway_ip:
        routes.insert(0, _route("0.0.0.0/0" if subnet.ip_version == 4 else "::/0", subnet.gateway_ip))
    netmask = str(ipaddress.ip_network(subnet.cidr).netmask)
    return {"type": f"ipv{subnet.ip_version}", "ip_address": ip, "netmask": netmask, "routes": routes}


def _route(destination: str, gateway: str) -> dict[str, str]:
    block = ipaddress.ip_network(destination)
    return {"network": str(block.network_address), "netmask": str(block.netmask), "gateway": gateway}
