"""Boots a lab host: `python -m tests.lab.boot PLAN.json` prints the process id of its PID 1 and leaves it running.

Three processes: the launcher stays in the machine's namespaces and wires the network; a short-lived
child enters new namespaces; its child is the host's PID 1, sets the host up, starts the daemons and
reaps for ever. Killing PID 1 is a power failure: the kernel takes everything else in it along.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from tests.lab import cgroups, outside, tree

NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET (sched.h)."""
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


def main(plan_file: str) -> int:
    """Boot the host that the plan describes; its keys are those of `LabHost.start`."""
    plan: dict[str, Any] = json.loads(Path(plan_file).read_text())
    near, far = socket.socketpair()
    child = os.fork()
    if child == 0:
        near.close()
        _enter(plan, far)
    far.close()
    os.waitpid(child, 0)
    with near, near.makefile("rw") as host:
        pid = host.readline().strip()
        if not pid:
            print("the namespaces could not be made", file=sys.stderr)
            return 1
        _wire(plan, pid)
        print("go", file=host, flush=True)
        answer = host.read()
    if answer != "ready\n":
        print(answer or "PID 1 died while booting", file=sys.stderr)
        return 1
    print(pid)
    return 0


def _wire(plan: dict[str, Any], pid: str) -> None:
    link = plan["link"]
    ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "address", plan["mac"], "netns", pid)
    ip("link", "set", link, "master", plan["bridge"], "addrgenmode", "none", "up")
    outside.wire(namespace=plan["outside"], link=plan["outside_link"], mac=plan["outside_mac"], pid=pid)


def _enter(plan: dict[str, Any], launcher: socket.socket) -> NoReturn:
    log = os.open(plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open("/dev/null", os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.setsid()
    cgroups.join(plan["cgroup"])
    if _libc.unshare(NEW_NAMESPACES) != 0:
        os._exit(1)
    pid = os.fork()
    if pid:
        launcher.sendall(f"{pid}\n".encode())
        os._exit(0)
    try:
        launcher.recv(3)
        _set_up(plan)
        launcher.sendall(b"ready\n")
    except BaseException:  # noqa: BLE001 - the launcher is told, whatever it was
        launcher.sendall(traceback.format_exc().encode())
        os._exit(1)
    launcher.close()
    _reap()


def _set_up(plan: dict[str, Any]) -> None:
    hierarchies = cgroups.hierarchies()
    root = Path(plan["root"])
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc")
    mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for directory in ("libvirt", "sshd", "netns", "lock"):
        Path("/run", directory).mkdir()
    for directory in tree.OVERLAID:
        upper, work = root.parent / "over" / directory, root.parent / "work" / directory
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir=/{directory},upperdir={upper},workdir={work}"
        mount("overlay", f"/{directory}", "overlay", data=layers)
    for file in tree.FILES:
        _bind(root / file, Path("/", file))
    _keep_visible(Path(plan["repository"]), root)
    for directory in tree.DIRECTORIES:
        _bind(root / directory, Path("/", directory))
    mount("sysfs", "/sys", "sysfs")  # anew, for /sys/class/net of this network namespace
    _mount_cgroups(hierarchies)
    cgroups.settle()
    socket.sethostname(plan["name"])
    os.chdir("/")
    os.environ.clear()
    os.environ.update(tree.ENVIRONMENT)
    ip("link", "set", "lo", "up")
    ip("link", "set", "eth0", "up")
    ip("link", "set", outside.CARD, "addrgenmode", "none", "up")
    ip("address", "add", f"{plan['address']}/24", "dev", "eth0")
    ip("route", "add", "default", "via", plan["gateway"])
    for daemon in (
        ["/usr/sbin/virtlogd", "-d", "-p", "/run/virtlogd.pid"],
        ["/usr/sbin/libvirtd", "-d", "-p", "/run/libvirtd.pid"],
        ["/usr/sbin/sshd", "-E", "/var/log/libvirt/sshd.log"],
    ):
        subprocess.run(daemon, check=True)


def _keep_visible(repository: Path, root: Path) -> None:
    """A checkout below a private directory, /tmp say, stays where it is: guests' files may lie in it."""
    for directory in tree.DIRECTORIES:
        if repository.is_relative_to(Path("/", directory)):
            place = root / repository.relative_to("/")
            place.mkdir(parents=True, exist_ok=True)
            mount(str(repository), str(place), None, MS_BIND)


def _bind(source: Path, target: Path) -> None:
    # resolv.conf is often a link into /run, which is empty by now.
    target = target.resolve()
    if not target.exists():
        if source.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    mount(str(source), str(target), None, MS_BIND | MS_REC)


def _mount_cgroups(hierarchies: tuple[cgroups.Hierarchy, ...]) -> None:
    if any(hierarchy.path != cgroups.ROOT for hierarchy in hierarchies):
        mount("cgroup", str(cgroups.ROOT), "tmpfs", data="mode=755")
    for hierarchy in hierarchies:
        hierarchy.path.mkdir(parents=True, exist_ok=True)
        mount("cgroup", str(hierarchy.path), hierarchy.kind, data=hierarchy.options)


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, *, data: str = "") -> None:
    """mount(2). Raises OSError with the target's name."""
    arguments = [value.encode() if value is not None else None for value in (source, target, kind)]
    if _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def ip(*arguments: str) -> None:
    """iproute2's `ip`, complaining aloud."""
    subprocess.run(["ip", *arguments], check=True)


def _reap() -> NoReturn:
    # Blocked before the first look: a child that dies in between stays pending and wakes the wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
