"""Every kind of operation, by the name that is stored in its row: append-only."""

from __future__ import annotations

from core.operations.kinds import (
    attachments,
    backends,
    create,
    delete,
    images,
    interfaces,
    power,
    repair,
    snapshots,
    update,
    volumes,
)
from core.operations.work import Kind

KINDS: dict[str, Kind] = {
    "instance.create": create.KIND,
    "instance.delete": delete.KIND,
    "instance.start": power.kind("running"),
    "instance.stop": power.kind("stopped"),
    "instance.pause": power.kind("paused"),
    "instance.unpause": power.kind("running"),
    "instance.suspend": power.kind("suspended"),
    "instance.resume": power.kind("running"),
    "instance.reboot_soft": power.REBOOT_SOFT,
    "instance.reboot_hard": power.REBOOT_HARD,
    "instance.attach_interface": interfaces.ATTACH,
    "instance.detach_interface": interfaces.DETACH,
    "guest.reap": repair.REAP,
    "host.repair_networking": repair.NETWORKING,
    "instance.update": update.KIND,
    "instance.attach_volume": attachments.ATTACH,
    "instance.detach_volume": attachments.DETACH,
    "volume.create": volumes.CREATE,
    "volume.delete": volumes.DELETE,
    "volume.extend": volumes.EXTEND,
    "volume.revert": volumes.REVERT,
    "volume.retype": volumes.RETYPE,
    "snapshot.create": snapshots.CREATE,
    "snapshot.delete": snapshots.DELETE,
    "backend.look": backends.LOOK,
    "image.prefetch": images.PREFETCH,
    "host.prune_images": images.PRUNE,
}
