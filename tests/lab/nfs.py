"""A directory that several lab hosts share, as they would by NFS: bound into each at the same place.

This machine's kernel has no NFS client. What differs is the transport and its failures; the directory, the locks of
the files in it (one kernel's here, the server's there) and the mount that may be missing are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.lab.hosts import LabHost


@contextmanager
def shared(directory: Path, hosts: Iterable[LabHost]) -> Iterator[Path]:
    """Where the hosts have it mounted. `directory` is one that they see, as all below `.lab`."""
    served, place = directory / "served", directory / "mounted"
    served.mkdir(parents=True)
    place.mkdir()
    with ExitStack() as stack:
        for host in hosts:
            mount(host, served, place)
            stack.callback(unmount, host, place)
        yield place


def mount(host: LabHost, served: Path, place: Path) -> None:
    host.run(["mount", "--bind", str(served), str(place)])


def unmount(host: LabHost, place: Path) -> None:
    """Nothing happens to a host that has lost its power, and its mounts with it."""
    if host.powered:
        host.run(["umount", "--lazy", str(place)], check=False)
