"""Control groups of a lab host: one of its own per controller, so that libvirt's `machine` trees never meet.

Works on a version 1 or hybrid layout (a hierarchy per controller) and on a pure version 2 one. Where
the layout forbids handing controllers down, as in some containers, the host runs without them:
libvirt then reports no CPU controller and goes on.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy of this machine."""

    path: Path
    kind: str
    """`cgroup` or `cgroup2`."""
    options: str
    """What to pass to mount(2) to see it again, e.g. `cpu,cpuacct` or `none,name=systemd`; empty on version 2."""


def hierarchies() -> tuple[Hierarchy, ...]:
    """Every hierarchy mounted at or below /sys/fs/cgroup, from /proc/self/mountinfo."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mountpoint = Path(before.split()[4])
        kind, _, super_options = after.split(" ", 2)
        if kind not in ("cgroup", "cgroup2") or not mountpoint.is_relative_to(ROOT):
            continue
        names = [option for option in super_options.split(",") if option not in ("rw", "ro", "xattr")]
        if kind == "cgroup2":
            names = []
        elif any(name.startswith("name=") for name in names):
            names = ["none", *(name for name in names if name.startswith("name="))]
        else:
            names = [name for name in names if "=" not in name and name not in ("clone_children", "cpuset_v2_mode")]
        found.append(Hierarchy(mountpoint, kind, ",".join(names)))
    return tuple(found)


def join(name: str) -> None:
    """Make the group `name` in every hierarchy and move this process into it."""
    for hierarchy in hierarchies():
        group = hierarchy.path / name
        if hierarchy.kind == "cgroup2":
            _hand_down(hierarchy.path)
        try:
            group.mkdir(exist_ok=True)
            if (group / "cpuset.cpus").exists() and hierarchy.kind == "cgroup":
                # A new version 1 cpuset is empty, and an empty one takes no process.
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (group / file).write_text((hierarchy.path / file).read_text())
                (group / "cgroup.clone_children").write_text("1")
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            # Read-only hierarchies are the rule in containers; the host then shares its parent's group.
            print(f"no control group in {hierarchy.path}: {error}", flush=True)


def settle() -> None:
    """Version 2 only, inside the host: leave the group's root, so that it may hand controllers to libvirt."""
    if not (ROOT / "cgroup.controllers").exists():
        return
    with suppress(OSError):
        leaf = ROOT / "init.scope"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        _hand_down(ROOT)


def _hand_down(group: Path) -> None:
    for controller in (group / "cgroup.controllers").read_text().split():
        # One at a time: a controller that cannot be enabled must not keep the others out.
        with suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str) -> None:
    """Remove the group `name` and what is below it, once its processes are gone. Absent is fine."""
    for hierarchy in hierarchies():
        group = hierarchy.path / name
        for directory, _, _ in os.walk(group, topdown=False):
            _rmdir(Path(directory))


def _rmdir(group: Path) -> None:
    # The kernel lets go of a group a moment after its last process is reaped, and tells nobody.
    for _ in range(50):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
