"""Storage"""

import datetime
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backend",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("driver", sa.String(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(), nullable=False),
        sa.Column("availability_zone", sa.String(), nullable=False),
        sa.Column("hosts", sa.JSON(), nullable=True),
        sa.Column("max_over_subscription", sa.Float(), nullable=False),
        sa.Column("reserved_percent", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "cached_image",
        sa.Column("host_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("refs", sa.Integer(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "digest"),
    )
    with op.batch_alter_table("cached_image", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cached_image_digest"), ["digest"], unique=False)

    op.create_table(
        "qos_spec",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("consumer", sa.String(), nullable=False),
        sa.Column("specs", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "backend_host",
        sa.Column("backend_id", sa.String(), nullable=False),
        sa.Column("host_id", sa.String(), nullable=False),
        sa.Column("reachable", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("hint", sa.String(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("free_bytes", sa.BigInteger(), nullable=False),
        sa.Column("capabilities", sa.JSON(), nullable=True),
        sa.Column("volumes", sa.JSON(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["backend_id"], ["backend.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("backend_id", "host_id"),
    )
    with op.batch_alter_table("backend_host", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_backend_host_host_id"), ["host_id"], unique=False)

    op.create_table(
        "volume_type",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("extra_specs", sa.JSON(), nullable=True),
        sa.Column("qos_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["qos_id"],
            ["qos_spec.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    with op.batch_alter_table("volume_type", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_type_qos_id"), ["qos_id"], unique=False)

    op.create_table(
        "backup",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("volume_id", sa.String(), nullable=False),
        sa.Column("volume_name", sa.String(), nullable=False),
        sa.Column("snapshot_id", sa.String(), nullable=True),
        sa.Column("base_snapshot_id", sa.String(), nullable=True),
        sa.Column("parent_id", sa.String(), nullable=True),
        sa.Column("size_gb", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("container", sa.String(), nullable=False),
        sa.Column("manifest", sa.String(), nullable=False),
        sa.Column("object_count", sa.Integer(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("volume_properties", sa.JSON(), nullable=True),
        sa.Column("fault", sa.JSON(), nullable=True),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("proven_at", sa.BigInteger(), nullable=True),
        sa.Column("data_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("backup", schema=None) as batch_op:
        batch_op.create_index("backup_of_volume", ["volume_id", "deleted_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_backup_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_backup_project_id"), ["project_id"], unique=False)

    op.create_table(
        "volume",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("size_gb", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("previous_status", sa.String(), nullable=False),
        sa.Column("type_id", sa.String(), nullable=True),
        sa.Column("backend_id", sa.String(), nullable=False),
        sa.Column("host_id", sa.String(), nullable=True),
        sa.Column("availability_zone", sa.String(), nullable=False),
        sa.Column("bootable", sa.Boolean(), nullable=False),
        sa.Column("read_only", sa.Boolean(), nullable=False),
        sa.Column("multiattach", sa.Boolean(), nullable=False),
        sa.Column("source_kind", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("image_properties", sa.JSON(), nullable=True),
        sa.Column("properties", sa.JSON(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fault", sa.JSON(), nullable=True),
        sa.Column("proven_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["backend_id"],
            ["backend.id"],
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["type_id"],
            ["volume_type.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("volume", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_backend_id"), ["backend_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_host_id"), ["host_id"], unique=False)
        batch_op.create_index("volume_by_age", ["deleted_at", "project_id", "created_at", "id"], unique=False)
        batch_op.create_index("volume_by_name", ["deleted_at", "project_id", "name", "id"], unique=False)
        batch_op.create_index("volume_use", ["deleted_at", "project_id", "type_id", "size_gb"], unique=False)

    op.create_table(
        "volume_type_access",
        sa.Column("type_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["type_id"], ["volume_type.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("type_id", "project_id"),
    )
    op.create_table(
        "image_member",
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("image_id", "project_id"),
    )
    with op.batch_alter_table("image_member", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_member_project_id"), ["project_id"], unique=False)

    op.create_table(
        "snapshot",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("volume_id", sa.String(), nullable=False),
        sa.Column("size_gb", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("quiesced", sa.Boolean(), nullable=True),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("properties", sa.JSON(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("fault", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["volume_id"],
            ["volume.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_snapshot_project_id"), ["project_id"], unique=False)
        batch_op.create_index("snapshot_of_volume", ["volume_id", "deleted_at"], unique=False)

    op.create_table(
        "volume_attachment",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("volume_id", sa.String(), nullable=False),
        sa.Column("instance_id", sa.String(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("boot_index", sa.Integer(), nullable=True),
        sa.Column("bus", sa.String(), nullable=False),
        sa.Column("read_only", sa.Boolean(), nullable=False),
        sa.Column("delete_on_termination", sa.Boolean(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("attached_at", sa.BigInteger(), nullable=True),
        sa.Column("detached_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"],
            ["instance.id"],
        ),
        sa.ForeignKeyConstraint(
            ["volume_id"],
            ["volume.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("volume_attachment", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_attachment_instance_id"), ["instance_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_attachment_volume_id"), ["volume_id"], unique=False)
        batch_op.create_index(
            "one_attachment_per_instance",
            ["volume_id", "instance_id"],
            unique=True,
            sqlite_where=sa.text("detached_at = 0"),
            postgresql_where=sa.text("detached_at = 0"),
        )
        batch_op.create_index(
            "one_attachment_per_slot",
            ["slot"],
            unique=True,
            sqlite_where=sa.text("detached_at = 0"),
            postgresql_where=sa.text("detached_at = 0"),
        )

    op.create_table(
        "volume_transfer",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("volume_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("key_hash", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["volume_id"],
            ["volume.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("volume_id"),
    )
    with op.batch_alter_table("volume_transfer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_transfer_project_id"), ["project_id"], unique=False)

    # Not as a batch, which on SQLite would make the table anew and take along the rows that refer to it.
    op.add_column("image", sa.Column("hidden", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("image", sa.Column("store", sa.String(), nullable=False, server_default="file"))
    op.add_column("image", sa.Column("instance_id", sa.String(), nullable=True))

    _first_objects()


def _first_objects() -> None:
    """A cloud that was there before keeps volumes where a new one does; a fresh one is filled with all its objects."""
    db = op.get_bind()
    if db.execute(sa.select(sa.func.count()).select_from(sa.table("cloud"))).scalar_one() == 0:
        return
    at = int(datetime.datetime.now(datetime.UTC).timestamp() * 1_000_000)
    backend = sa.table(
        "backend",
        *map(sa.column, ("id", "name", "driver", "enabled", "disabled_reason", "availability_zone")),
        *map(sa.column, ("max_over_subscription", "reserved_percent", "description", "created_at")),
        sa.column("options", sa.JSON),
    )
    db.execute(
        sa.insert(backend).values(
            id=str(uuid.uuid4()), name="local", driver="file", options={}, enabled=True, disabled_reason="",
            availability_zone="", max_over_subscription=10.0, reserved_percent=5,
            description="Files on each host's own disk", created_at=at,
        )
    )  # fmt: skip
    volume_type = sa.table(
        "volume_type",
        *map(sa.column, ("id", "name", "description", "is_public", "is_default", "created_at")),
        sa.column("extra_specs", sa.JSON),
    )
    db.execute(
        sa.insert(volume_type).values(
            id=str(uuid.uuid4()), name="__DEFAULT__", description="", is_public=True, is_default=True, extra_specs={},
            created_at=at,
        )
    )  # fmt: skip
