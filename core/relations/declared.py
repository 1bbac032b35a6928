"""Every relation between nouns, declared once: what is used by what, what belongs to what, and the tree of both.

A new noun adds a line for each column by which it refers to another.
"""

from __future__ import annotations

from sqlalchemy import String, literal
from sqlmodel import col

from core.compute.instances.table import Instance
from core.hosts.aggregates import AggregateHost
from core.hosts.drift import Finding
from core.identity.users import Assignment
from core.images.images import Image
from core.network.tables import (
    ROUTER_GATEWAY,
    ROUTER_INTERFACE,
    FixedIP,
    FloatingIP,
    Network,
    Port,
    PortSecurityGroup,
    RbacPolicy,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from core.relations.relation import Relation, narrowed, pairs
from core.volumes.tables import (
    BackendHost,
    Backup,
    CachedImageRow,
    ImageMember,
    Snapshot,
    Volume,
    VolumeAttachment,
    VolumeTransfer,
    VolumeType,
)

_attached = col(VolumeAttachment.detached_at) == 0
_slash = literal("/", String)

RELATIONS: tuple[Relation, ...] = (
    # ------------------------------------------------------------------ servers
    Relation(
        above="host",
        below="instance",
        title="servers",
        pairs=pairs(col(Instance.host_id), col(Instance.id), col(Instance.deleted_at) == 0),
        owner=True,
        filter="host={name}",
    ),
    Relation(
        above="image",
        below="instance",
        title="servers made from it",
        pairs=pairs(col(Instance.image_id), col(Instance.id), col(Instance.deleted_at) == 0),
        inside=False,
        filter="image={name}",
    ),
    Relation(
        above="flavor",
        below="instance",
        title="servers",
        pairs=pairs(col(Instance.flavor_id), col(Instance.id), col(Instance.deleted_at) == 0),
        inside=False,
        filter="flavor={name}",
    ),
    Relation(
        above="keypair",
        below="instance",
        title="servers",
        pairs=narrowed(
            col(Instance.key_name),
            col(Instance.id),
            lambda ctx: col(Instance.user_id) == ctx.user_id,
            col(Instance.deleted_at) == 0,
        ),
        inside=False,
        filter="key_name={name}",
    ),
    # ------------------------------------------------------------------ networks
    Relation(
        above="network",
        below="subnet",
        title="subnets",
        pairs=pairs(col(Subnet.network_id), col(Subnet.id)),
        owner=True,
        filter="network_id={id}",
    ),
    Relation(
        above="instance",
        below="port",
        title="ports",
        pairs=pairs(col(Port.device_id), col(Port.id), col(Port.device_id) != ""),
        owner=True,
        filter="device_id={id}",
    ),
    Relation(
        above="router",
        below="port",
        title="ports",
        pairs=pairs(col(Port.device_id), col(Port.id), col(Port.device_owner).in_((ROUTER_INTERFACE, ROUTER_GATEWAY))),
        owner=True,
        filter="device_id={id}",
    ),
    Relation(
        above="network",
        below="port",
        title="ports",
        pairs=pairs(col(Port.network_id), col(Port.id)),
        owner=True,
        filter="network_id={id}",
    ),
    Relation(
        above="subnet",
        below="port",
        title="ports",
        pairs=pairs(col(FixedIP.subnet_id), col(FixedIP.port_id)),
        inside=False,
    ),
    Relation(
        above="network",
        below="instance",
        title="servers",
        pairs=pairs(col(Port.network_id), col(Port.device_id), col(Port.device_owner).startswith("compute:")),
        inside=False,
    ),
    Relation(
        above="network",
        below="router",
        title="routers with an interface",
        pairs=pairs(col(Port.network_id), col(Port.device_id), col(Port.device_owner) == ROUTER_INTERFACE),
        inside=False,
    ),
    Relation(
        above="network",
        below="router",
        title="routers that go out by it",
        pairs=pairs(col(Router.external_network_id), col(Router.id)),
        owner=True,
        filter="external_network_id={id}",
    ),
    Relation(
        above="subnet",
        below="router",
        title="routers",
        pairs=pairs(
            col(FixedIP.subnet_id),
            col(Port.device_id),
            col(Port.id) == col(FixedIP.port_id),
            col(Port.device_owner) == ROUTER_INTERFACE,
        ),
        inside=False,
    ),
    Relation(
        above="network",
        below="rbac_policy",
        title="shares",
        pairs=pairs(col(RbacPolicy.object_id), col(RbacPolicy.id)),
        owner=True,
    ),
    # ------------------------------------------------------------------ floating IPs, security groups
    Relation(
        above="port",
        below="floating_ip",
        title="floating IPs",
        pairs=pairs(col(FloatingIP.port_id), col(FloatingIP.id)),
        owner=True,
        filter="port_id={id}",
    ),
    Relation(
        above="network",
        below="floating_ip",
        title="floating IPs",
        pairs=pairs(col(FloatingIP.network_id), col(FloatingIP.id)),
        owner=True,
        inside=False,
        filter="network_id={id}",
    ),
    Relation(
        above="router",
        below="floating_ip",
        title="floating IPs",
        pairs=pairs(col(FloatingIP.router_id), col(FloatingIP.id)),
        inside=False,
        filter="router_id={id}",
    ),
    Relation(
        above="security_group",
        below="security_group_rule",
        title="rules",
        pairs=pairs(col(SecurityGroupRule.security_group_id), col(SecurityGroupRule.id)),
        owner=True,
        filter="security_group_id={id}",
    ),
    Relation(
        above="security_group",
        below="security_group_rule",
        title="rules that let it in",
        pairs=pairs(col(SecurityGroupRule.remote_group_id), col(SecurityGroupRule.id)),
        inside=False,
        filter="remote_group_id={id}",
    ),
    Relation(
        above="security_group",
        below="port",
        title="ports",
        pairs=pairs(col(PortSecurityGroup.security_group_id), col(PortSecurityGroup.port_id)),
        inside=False,
    ),
    Relation(
        above="security_group",
        below="instance",
        title="servers",
        pairs=pairs(
            col(PortSecurityGroup.security_group_id),
            col(Port.device_id),
            col(Port.id) == col(PortSecurityGroup.port_id),
            col(Port.device_owner).startswith("compute:"),
        ),
        inside=False,
    ),
    # ------------------------------------------------------------------ volumes and what is made of them
    Relation(
        above="instance",
        below="volume",
        title="volumes",
        pairs=pairs(col(VolumeAttachment.instance_id), col(VolumeAttachment.volume_id), _attached),
        owner=True,
        mutual="attached to",
    ),
    Relation(
        above="volume",
        below="snapshot",
        title="snapshots",
        pairs=pairs(col(Snapshot.volume_id), col(Snapshot.id)),
        owner=True,
        filter="volume_id={id}",
    ),
    Relation(
        above="volume",
        below="backup",
        title="backups",
        pairs=pairs(col(Backup.volume_id), col(Backup.id)),
        owner=True,
        filter="volume_id={id}",
    ),
    Relation(
        above="snapshot",
        below="backup",
        title="backups made from it",
        pairs=pairs(col(Backup.snapshot_id), col(Backup.id)),
        inside=False,
        filter="snapshot_id={id}",
    ),
    Relation(
        above="backup",
        below="backup",
        title="increments on it",
        pairs=pairs(col(Backup.parent_id), col(Backup.id)),
        inside=False,
        filter="parent_id={id}",
    ),
    Relation(
        above="volume",
        below="transfer",
        title="offers to other projects",
        pairs=pairs(col(VolumeTransfer.volume_id), col(VolumeTransfer.id)),
        owner=True,
    ),
    *(
        Relation(
            above=above,
            below="volume",
            title="volumes made from it",
            pairs=pairs(col(Volume.source_id), col(Volume.id), col(Volume.source_kind) == above),
            inside=False,
            filter="source_id={id}",
        )
        for above in ("image", "volume", "snapshot", "backup")
    ),
    Relation(
        above="host",
        below="volume",
        title="volumes",
        pairs=pairs(col(Volume.host_id), col(Volume.id)),
        owner=True,
        filter="host_id={id}",
    ),
    Relation(
        above="volume_type",
        below="volume",
        title="volumes",
        pairs=pairs(col(Volume.type_id), col(Volume.id)),
        inside=False,
        filter="type_id={id}",
    ),
    Relation(
        above="backend",
        below="volume",
        title="volumes",
        pairs=pairs(col(Volume.backend_id), col(Volume.id)),
        owner=True,
        filter="backend_id={id}",
    ),
    Relation(
        above="qos",
        below="volume_type",
        title="volume types",
        pairs=pairs(col(VolumeType.qos_id), col(VolumeType.id)),
        filter="qos_id={id}",
    ),
    Relation(
        above="backend",
        below="backend_host",
        title="hosts that reach it",
        pairs=pairs(col(BackendHost.backend_id), col(BackendHost.backend_id) + _slash + col(BackendHost.host_id)),
        owner=True,
    ),
    # ------------------------------------------------------------------ images
    Relation(
        above="instance",
        below="image",
        title="images made of it",
        pairs=pairs(col(Image.instance_id), col(Image.id), col(Image.status) != "deleted"),
        owner=True,
        inside=False,
        filter="instance_id={id}",
    ),
    Relation(
        above="image",
        below="image_member",
        title="members",
        pairs=pairs(col(ImageMember.image_id), col(ImageMember.image_id) + _slash + col(ImageMember.project_id)),
        owner=True,
        filter="image_id={id}",
    ),
    Relation(
        above="image",
        below="cached_image",
        title="hosts that hold it",
        pairs=pairs(
            col(Image.id),
            col(CachedImageRow.host_id) + _slash + col(CachedImageRow.digest),
            col(Image.digest) == col(CachedImageRow.digest),
        ),
        inside=False,
    ),
    # ------------------------------------------------------------------ hosts and people
    Relation(
        above="host",
        below="finding",
        title="findings",
        pairs=pairs(col(Finding.host_id), col(Finding.id), col(Finding.resolved_at).is_(None)),
        owner=True,
        filter="host={name}",
    ),
    Relation(
        above="host",
        below="backend_host",
        title="storage it reaches",
        pairs=pairs(col(BackendHost.host_id), col(BackendHost.backend_id) + _slash + col(BackendHost.host_id)),
    ),
    Relation(
        above="aggregate",
        below="host",
        title="hosts",
        pairs=pairs(col(AggregateHost.aggregate_id), col(AggregateHost.host_id)),
        mutual="aggregates",
    ),
    Relation(
        above="project",
        below="user",
        title="people with a role",
        pairs=pairs(col(Assignment.project_id), col(Assignment.user_id)),
        mutual="projects",
    ),
    *(
        Relation(
            above="project",
            below=below,
            title=title,
            pairs=pairs(col(table.project_id), col(table.id)),
            # Asked last: everything else that something belongs to says more.
            owner=True,
            filter="project_id={id}",
        )
        for below, title, table in (
            ("instance", "servers", Instance),
            ("volume", "volumes", Volume),
            ("snapshot", "snapshots", Snapshot),
            ("backup", "backups", Backup),
            ("network", "networks", Network),
            ("router", "routers", Router),
            ("floating_ip", "floating IPs", FloatingIP),
            ("security_group", "security groups", SecurityGroup),
            ("image", "images", Image),
        )
    ),
)
"""In the order in which they are shown, and in which owners are asked for."""

POINTERS = frozenset({"operation", "event"})
"""Nouns whose rows name another by `object_kind` and `object_id`: that is their owner."""
