"""Project networking"""

import ipaddress
import time
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FIRST_VNI = 1001


def upgrade() -> None:
    """Nothing is made anew: on SQLite that would take the rows which refer to it along. So columns that come to rows
    have a default in the database, and what is unique is so by an index."""
    _new_tables()
    _new_columns()
    _segments()
    _pools_without_gateways()
    _numbers()
    _groups_of_guests()
    _tell_hosts()
    _new_indexes()


def _new_tables() -> None:
    op.create_table(
        "host_networking",
        sa.Column("host_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("applied", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_id"),
    )
    op.create_table(
        "networking_pending",
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("host_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("object_id", "host_id"),
    )
    op.create_index("ix_networking_pending_host_id", "networking_pending", ["host_id"], unique=False)

    op.create_table(
        "security_group",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_security_group_project_id", "security_group", ["project_id"], unique=False)
    op.create_index(
        "one_default_group_per_project",
        "security_group",
        ["project_id"],
        unique=True,
        sqlite_where=sa.text("name = 'default'"),
        postgresql_where=sa.text("name = 'default'"),
    )

    op.create_table(
        "rbac_policy",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("object_type", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("target_project", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["object_id"], ["network.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("object_id", "action", "target_project", name="one_policy_per_target"),
    )
    op.create_index("ix_rbac_policy_object_id", "rbac_policy", ["object_id"], unique=False)
    op.create_index("ix_rbac_policy_project_id", "rbac_policy", ["project_id"], unique=False)

    op.create_table(
        "router",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("external_network_id", sa.String(), nullable=True),
        sa.Column("enable_snat", sa.Boolean(), nullable=False),
        sa.Column("routes", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["external_network_id"],
            ["network.id"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_router_external_network_id", "router", ["external_network_id"], unique=False)
    op.create_index("ix_router_project_id", "router", ["project_id"], unique=False)

    op.create_table(
        "security_group_rule",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("security_group_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("ethertype", sa.String(), nullable=False),
        sa.Column("protocol", sa.String(), nullable=True),
        sa.Column("port_range_min", sa.Integer(), nullable=True),
        sa.Column("port_range_max", sa.Integer(), nullable=True),
        sa.Column("remote_ip_prefix", sa.String(), nullable=True),
        sa.Column("remote_group_id", sa.String(), nullable=True),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["remote_group_id"],
            ["security_group.id"],
        ),
        sa.ForeignKeyConstraint(["security_group_id"], ["security_group.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_security_group_rule_project_id", "security_group_rule", ["project_id"], unique=False)
    op.create_index("ix_security_group_rule_remote_group_id", "security_group_rule", ["remote_group_id"], unique=False)
    op.create_index(
        "ix_security_group_rule_security_group_id", "security_group_rule", ["security_group_id"], unique=False
    )

    op.create_table(
        "floating_ip",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("network_id", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("port_id", sa.String(), nullable=True),
        sa.Column("fixed_ip", sa.String(), nullable=True),
        sa.Column("router_id", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["network_id"],
            ["network.id"],
        ),
        sa.ForeignKeyConstraint(
            ["port_id"],
            ["port.id"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.ForeignKeyConstraint(
            ["router_id"],
            ["router.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("network_id", "address", name="one_floating_ip_per_address"),
        sa.UniqueConstraint("network_id", "port_id", "fixed_ip", name="one_floating_ip_per_fixed_ip"),
    )
    op.create_index("ix_floating_ip_network_id", "floating_ip", ["network_id"], unique=False)
    op.create_index("ix_floating_ip_port_id", "floating_ip", ["port_id"], unique=False)
    op.create_index("ix_floating_ip_project_id", "floating_ip", ["project_id"], unique=False)
    op.create_index("ix_floating_ip_router_id", "floating_ip", ["router_id"], unique=False)

    op.create_table(
        "port_security_group",
        sa.Column("port_id", sa.String(), nullable=False),
        sa.Column("security_group_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["port_id"], ["port.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["security_group_id"],
            ["security_group.id"],
        ),
        sa.PrimaryKeyConstraint("port_id", "security_group_id"),
    )
    op.create_index(
        "ix_port_security_group_security_group_id", "port_security_group", ["security_group_id"], unique=False
    )


def _new_columns() -> None:
    op.drop_table("networkhost")
    yes, no, nothing, none, empty = sa.true(), sa.false(), "", "[]", "{}"
    for table, column in (
        ("host", sa.Column("vtep", sa.String(), nullable=False, server_default=nothing)),
        ("host", sa.Column("physnets", sa.JSON(), nullable=True, server_default=empty)),
        ("network", sa.Column("admin_state_up", sa.Boolean(), nullable=False, server_default=yes)),
        ("network", sa.Column("network_type", sa.String(), nullable=False, server_default="vxlan")),
        ("network", sa.Column("physical_network", sa.String(), nullable=False, server_default=nothing)),
        ("network", sa.Column("segmentation_id", sa.Integer(), nullable=True)),
        ("network", sa.Column("external", sa.Boolean(), nullable=False, server_default=no)),
        ("network", sa.Column("is_default", sa.Boolean(), nullable=False, server_default=no)),
        ("network", sa.Column("port_security_enabled", sa.Boolean(), nullable=False, server_default=yes)),
        ("network", sa.Column("dns_domain", sa.String(), nullable=False, server_default=nothing)),
        ("network", sa.Column("flood", sa.Boolean(), nullable=False, server_default=no)),
        ("port", sa.Column("description", sa.String(), nullable=False, server_default=nothing)),
        ("port", sa.Column("admin_state_up", sa.Boolean(), nullable=False, server_default=yes)),
        ("port", sa.Column("port_security_enabled", sa.Boolean(), nullable=False, server_default=yes)),
        ("port", sa.Column("allowed_address_pairs", sa.JSON(), nullable=True, server_default=none)),
        ("port", sa.Column("ingress_kbit", sa.Integer(), nullable=True)),
        ("port", sa.Column("egress_kbit", sa.Integer(), nullable=True)),
        ("port", sa.Column("made_for_device", sa.Boolean(), nullable=False, server_default=no)),
        ("subnet", sa.Column("host_routes", sa.JSON(), nullable=True, server_default=none)),
        ("subnet", sa.Column("ipv6_mode", sa.String(), nullable=True)),
        ("subnet", sa.Column("description", sa.String(), nullable=False, server_default=nothing)),
        ("ticket", sa.Column("args", sa.JSON(), nullable=True, server_default=empty)),
        ("fixed_ip", sa.Column("number", sa.BigInteger(), nullable=True)),
    ):
        op.add_column(table, column)


def _new_indexes() -> None:
    op.drop_index("ix_port_network_id", "port")
    op.create_index("port_on_network", "port", ["network_id", "device_owner", "host_id"])
    op.drop_index("ix_fixed_ip_subnet_id", "fixed_ip")
    op.create_index("fixed_ip_in_order", "fixed_ip", ["subnet_id", "number"])
    op.create_index(
        "one_network_per_segment", "network", ["network_type", "physical_network", "segmentation_id"], unique=True
    )
    for name, column, where in (
        ("one_flat_network_per_physical_network", "physical_network", sa.text("network_type = 'flat'")),
        ("one_default_external_network", "is_default", sa.text("is_default")),
    ):
        op.create_index(name, "network", [column], unique=True, sqlite_where=where, postgresql_where=where)


# ---------------------------------------------------------------------------- what was there gets its place


def _now() -> int:
    return time.time_ns() // 1000


def _segments() -> None:
    """Each network a VNI, in the order they were made; what was shared is so by a policy."""
    db = op.get_bind()
    network = sa.table(
        "network",
        *map(sa.column, ("id", "project_id", "created_at", "segmentation_id")),
        sa.column("shared", sa.Boolean),
    )
    policy = sa.table(
        "rbac_policy",
        *map(sa.column, ("id", "project_id", "object_type", "object_id", "action", "target_project", "created_at")),
    )
    rows = db.execute(sa.select(network).order_by(network.c.created_at, network.c.id)).all()
    for vni, row in enumerate(rows, FIRST_VNI):
        db.execute(sa.update(network).where(network.c.id == row.id).values(segmentation_id=vni))
        if row.shared:
            db.execute(
                sa.insert(policy).values(
                    id=str(uuid.uuid4()), project_id=row.project_id, object_type="network", object_id=row.id,
                    action="access_as_shared", target_project="*", created_at=_now(),
                )
            )  # fmt: skip


def _pools_without_gateways() -> None:
    db = op.get_bind()
    subnet = sa.table("subnet", sa.column("id"), sa.column("gateway_ip"), sa.column("allocation_pools", sa.JSON))
    for row in db.execute(sa.select(subnet).where(subnet.c.gateway_ip.is_not(None))).all():
        gateway = int(ipaddress.ip_address(row.gateway_ip))
        pools: list[list[str]] = []
        for ends in row.allocation_pools:
            first, last = (int(ipaddress.ip_address(end)) for end in ends)
            if not first <= gateway <= last:
                pools.append(ends)
                continue
            around = ((first, gateway - 1), (gateway + 1, last))
            pools += [[str(ipaddress.ip_address(end)) for end in part] for part in around if part[0] <= part[1]]
        db.execute(sa.update(subnet).where(subnet.c.id == row.id).values(allocation_pools=pools))


def _numbers() -> None:
    """All addresses so far are IPv4."""
    db = op.get_bind()
    fixed = sa.table("fixed_ip", *map(sa.column, ("port_id", "ip", "number")))
    rows = [
        {"of_port": port_id, "of_ip": ip, "position": int(ipaddress.ip_address(ip))}
        for port_id, ip in db.execute(sa.select(fixed.c.port_id, fixed.c.ip)).all()
    ]
    if rows:
        this = (fixed.c.port_id == sa.bindparam("of_port"), fixed.c.ip == sa.bindparam("of_ip"))
        db.execute(sa.update(fixed).where(*this).values(number=sa.bindparam("position")), rows)


def _groups_of_guests() -> None:
    """Guests' ports were made with them, and are in their projects' default groups from now on."""
    db = op.get_bind()
    port = sa.table(
        "port", *map(sa.column, ("id", "project_id", "device_owner")), sa.column("made_for_device", sa.Boolean)
    )
    group = sa.table("security_group", *map(sa.column, ("id", "name", "project_id", "description", "created_at")))
    rule = sa.table(
        "security_group_rule",
        *map(
            sa.column,
            (
                "id", "security_group_id", "project_id", "direction", "ethertype", "remote_group_id", "description",
                "created_at",
            ),
        ),
    )  # fmt: skip
    member = sa.table("port_security_group", *map(sa.column, ("port_id", "security_group_id")))
    guests = port.c.device_owner.startswith("compute:")
    db.execute(sa.update(port).where(guests).values(made_for_device=True))
    at = _now()
    for project in db.execute(sa.select(port.c.project_id).where(guests).distinct()).scalars().all():
        default = str(uuid.uuid4())
        db.execute(
            sa.insert(group).values(
                id=default, name="default", project_id=project, description="Default security group", created_at=at
            )
        )
        for direction, remote in (("egress", None), ("ingress", default)):
            for ethertype in ("IPv4", "IPv6"):
                db.execute(
                    sa.insert(rule).values(
                        id=str(uuid.uuid4()), security_group_id=default, project_id=project, direction=direction,
                        ethertype=ethertype, remote_group_id=remote, description="", created_at=at,
                    )
                )  # fmt: skip
        mine = sa.select(port.c.id, sa.literal(default)).where(guests, port.c.project_id == project)
        db.execute(sa.insert(member).from_select(["port_id", "security_group_id"], mine))


def _tell_hosts() -> None:
    """A host that has guests gets its networking document."""
    db = op.get_bind()
    port = sa.table("port", sa.column("host_id"))
    known = sa.table("host_networking", *map(sa.column, ("host_id", "generation", "applied", "digest", "changed_at")))
    hosts = db.execute(sa.select(port.c.host_id).where(port.c.host_id.is_not(None)).distinct()).scalars().all()
    for host in hosts:
        db.execute(sa.insert(known).values(host_id=host, generation=1, applied=0, digest="", changed_at=_now()))
