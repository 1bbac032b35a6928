"""Disks of running guests: resized, limited, layered, copied; and how far a copy is."""

from __future__ import annotations

from typing import Any, Final

import libvirt

from hostd.compute.libvirt_driver.connection import Connection

AGENT_PATIENCE: Final = 10
"""Seconds a guest's agent gets to answer."""


class DiskCalls(Connection):
    """What libvirt does with a disk while its guest writes to it."""

    # ------------------------------------------------------------------ reading

    def capacity(self, uuid: str, target: str) -> int:
        """Bytes of a running guest's disk."""
        return int(self._of(uuid, lambda domain: domain.blockInfo(target))[0])

    def copying(self, uuid: str, target: str) -> tuple[int, int] | None:
        """How far a running guest's disk is copied, of how much; None: nothing copies it."""
        now = self._of(uuid, lambda domain: domain.blockJobInfo(target, 0))
        return (int(now["cur"]), int(now["end"])) if now else None

    def backup(self, uuid: str) -> str | None:
        """The <domainbackup> that is under way of a running guest; None: none is."""

        def ask(domain: Any) -> str | None:
            try:
                return str(domain.backupGetXMLDesc(0))
            except libvirt.libvirtError as bad:
                if bad.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_BACKUP, libvirt.VIR_ERR_OPERATION_INVALID):
                    return None
                raise

        return self._of(uuid, ask)

    def backup_percent(self, uuid: str) -> int:
        """How far the job of a running guest is."""
        now = self._of(uuid, lambda domain: domain.jobStats(0))
        return int(100 * now.get("disk_processed", 0) // (now.get("disk_total") or 1))

    def backup_failure(self, uuid: str) -> str | None:
        """Why the last job of a running guest broke off; None: it came to its end."""
        last = self._of(uuid, lambda domain: domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED))
        if last.get("type") == libvirt.VIR_DOMAIN_JOB_COMPLETED:
            return None
        return str(last.get("errmsg") or "it was cancelled")

    # ------------------------------------------------------------------ changing

    def limit(self, uuid: str, target: str, limits: dict[str, int]) -> None:
        """Set a running guest's block I/O limits of one disk, by libvirt's names; 0: none."""
        self._of(uuid, lambda domain: domain.setBlockIoTune(target, limits, libvirt.VIR_DOMAIN_AFFECT_LIVE))

    def resize(self, uuid: str, target: str, size: int) -> None:
        """Grow a running guest's disk to `size` bytes, and tell the guest."""
        self._of(uuid, lambda domain: domain.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES))

    def overlay(self, uuid: str, snapshot: str, *, quiesce: bool) -> None:
        """Have a running guest write to other files, which are there already, as a <domainsnapshot> says; `quiesce`:
        its agent freezes its file systems meanwhile, or nothing happens."""
        flags = (
            libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        )

        def take(domain: Any) -> None:
            if quiesce:
                domain.agentSetResponseTimeout(AGENT_PATIENCE, 0)
            domain.snapshotCreateXML(snapshot, flags | (libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE if quiesce else 0))

        self._of(uuid, take)

    def commit(self, uuid: str, target: str, *, base: str, top: str | None) -> None:
        """Begin to copy what is in `top` and between down into `base`; None: the file the guest writes to, which is
        then kept in step until `pivot`."""
        flags = 0 if top else libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
        self._of(uuid, lambda domain: domain.blockCommit(target, base, top, 0, flags))

    def pivot(self, uuid: str, target: str) -> None:
        """Have the guest write to the copy from now on. Returns when it does."""
        self._of(uuid, lambda domain: domain.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT))

    def freeze(self, uuid: str) -> None:
        """Have a guest's agent freeze its file systems. Raises HostError when it does not answer in time."""

        def ask(domain: Any) -> None:
            domain.agentSetResponseTimeout(AGENT_PATIENCE, 0)
            domain.fsFreeze(None, 0)

        self._of(uuid, ask)

    def thaw(self, uuid: str) -> None:
        """Undo `freeze`. Raises HostError when the agent does not answer."""
        self._of(uuid, lambda domain: domain.fsThaw(None, 0))

    def begin_backup(self, uuid: str, backup: str) -> None:
        """Begin to copy a running guest's disks as they are now, into files that are there already, as a
        <domainbackup> says."""
        self._of(uuid, lambda domain: domain.backupBegin(backup, None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL))

    def abort_job(self, uuid: str) -> None:
        """Break off the job of a running guest."""
        self._of(uuid, lambda domain: domain.abortJob())
