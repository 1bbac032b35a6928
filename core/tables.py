"""Every table, declared: importing this file is what makes the metadata complete for migrations."""

from sqlmodel import SQLModel

import core.compute.flavors
import core.compute.instances.table
import core.compute.keypairs
import core.door
import core.events
import core.hosts.aggregates
import core.hosts.drift
import core.hosts.table
import core.identity.projects
import core.identity.quotas
import core.identity.users
import core.images.images
import core.network.fabric.table
import core.network.tables
import core.operations.operations
import core.volumes.tables  # noqa: F401

METADATA = SQLModel.metadata
