"""An instance's volumes as its host is told them: where each is, how it is plugged in, and how fast it may be."""

from __future__ import annotations

from sqlmodel import Session

from core.compute.instances.table import Instance
from core.volumes import attachments, backends
from core.volumes.tables import Backend, QosSpec, Volume, VolumeAttachment, VolumeType
from hostd.spec import DiskLimits, VolumeDisk


def disks(session: Session, instance: Instance, *, without: str | None = None) -> tuple[VolumeDisk, ...]:
    """Of every volume the guest has or is being given, in the order of their attachment, but for `without`."""
    return tuple(
        _disk(session, one)
        for one in attachments.of_instance(session, instance.id)
        if one.status in attachments.IN_GUEST and one.volume_id != without
    )


def _disk(session: Session, attachment: VolumeAttachment) -> VolumeDisk:
    volume = session.get_one(Volume, attachment.volume_id)
    return VolumeDisk(
        volume=volume.id,
        backend=backends.spec_of(session.get_one(Backend, volume.backend_id)),
        read_only=attachment.read_only,
        shareable=volume.multiattach,
        boot_index=attachment.boot_index,
        bus=attachment.bus,
        limits=limits(session, volume),
    )


def limits(session: Session, volume: Volume) -> DiskLimits:
    """What its type's QoS allows a volume of its size. What is given per GiB grows with it; the smaller of two wins."""
    kind = session.get(VolumeType, volume.type_id) if volume.type_id else None
    qos = session.get(QosSpec, kind.qos_id) if kind is not None and kind.qos_id else None
    if qos is None:
        return DiskLimits()

    def of(name: str) -> int:
        flat = int(qos.specs.get(f"{name}_sec", 0))
        scaled = int(qos.specs.get(f"{name}_sec_per_gb", 0)) * volume.size_gb
        return min(flat, scaled) if flat and scaled else flat or scaled

    total_iops, total_bytes = of("total_iops"), of("total_bytes")
    return DiskLimits(
        total_iops=total_iops,
        read_iops=0 if total_iops else of("read_iops"),
        write_iops=0 if total_iops else of("write_iops"),
        total_bytes=total_bytes,
        read_bytes=0 if total_bytes else of("read_bytes"),
        write_bytes=0 if total_bytes else of("write_bytes"),
    )
