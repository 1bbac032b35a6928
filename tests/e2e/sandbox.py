"""A test process's own network and mount namespaces: real kernel objects that nobody else meets."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def isolated() -> Iterator[None]:
    """Have this thread, and threads and processes it starts, in namespaces of their own with an empty /run.

    No thread that it started may be left at the end.
    """
    home = os.getcwd()
    others = _threads()
    before = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
    try:
        if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
        subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        # The kernel refuses to move a thread to another mount namespace while one that shares its directories
        # still ends, and a joined Python thread ends a moment after the join.
        while _threads() - others:
            time.sleep(0.001)
        for descriptor, kind in zip(before, (_CLONE_NEWNET, _CLONE_NEWNS), strict=True):
            if _libc.setns(descriptor, kind) != 0:
                os._exit(70)  # tests that follow would run in the wrong place
            os.close(descriptor)
        os.chdir(home)


def _threads() -> set[str]:
    """Of this process, as the kernel numbers them."""
    return set(os.listdir("/proc/self/task"))
