"""`make demo`: this machine as a host, a real guest on it, its console, and the app open on it.

Everything is done by the commands a user would type, each shown before it runs. A second run finds what is there.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab.commands import SKYDECK, stop_engine
from tests.lab.guest import GuestImage, build
from tests.lab.hosts import REPOSITORY

HOME = REPOSITORY / ".demo"
SERVER = "demo"
NETWORK = "demo"
DAEMONS = ("libvirtd", "virtlogd")
STARTED = "started.json"
"""Daemons that the demo brought up, and will take down."""

BANNER = "SKYDECK ready"
"""What the guest prints last before its shell."""

BOOT = 120.0
"""Seconds until a guest that has not said BANNER is given up; TCG on a loaded machine is slow."""


def skydeck(*arguments: str, show: bool = True) -> str:
    """One command, as typed. Exits with its status when it fails: its own words have said why."""
    if show:
        line = f"$ skydeck {shlex.join(arguments)}"
        print(f"\033[1m{line}\033[0m" if sys.stdout.isatty() else line)
        sys.stdout.flush()
    done = subprocess.run([SKYDECK, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout, end="")
        sys.exit(done.returncode)
    if show:
        print(done.stdout, end="", flush=True)
    return done.stdout


def rows(*arguments: str) -> list[dict[str, Any]]:
    """A list command's rows."""
    found: list[dict[str, Any]] = json.loads(skydeck(*arguments, "-f", "json", show=False))
    return found


def names(*arguments: str) -> set[str]:
    return {row["Name"] for row in rows(*arguments)}


def up() -> None:
    """All of the demo, or what is missing of it."""
    began = time.monotonic()
    os.environ["SKYDECK_HOME"] = str(HOME)
    os.environ.setdefault("SKYDECK_PROJECT", "demo")
    image = build()
    if not any(row["State"] == "up" for row in rows("host", "list")):
        ran_before = running_daemons()
        skydeck("host", "add", "local", "--yes")
        started = {name: pid for name, pid in running_daemons().items() if name not in ran_before}
        (HOME / STARTED).write_text(json.dumps(started))
    add_images(image)
    if NETWORK not in names("network", "list"):
        skydeck("network", "create", NETWORK)
        skydeck("subnet", "create", "--network", NETWORK, "--subnet-range", "10.20.0.0/24", NETWORK)
        skydeck("security", "group", "rule", "create", "--protocol", "icmp", "default")
    servers = {row["Name"]: row for row in rows("server", "list")}
    if SERVER not in servers:
        skydeck("server", "create", "--image", "tiny", "--flavor", "m1.tiny", "--network", NETWORK, "--wait", SERVER)
    elif servers[SERVER]["Status"] == "SHUTOFF":
        skydeck("server", "start", "--wait", SERVER)
    skydeck("server", "list")
    wait_for_console()
    ping()
    skydeck("verify")
    print(f"\nThe demo is up ({time.monotonic() - began:.0f} s). Look around:\n")
    print(f"  export SKYDECK_HOME={HOME} SKYDECK_PROJECT=demo\n  {SKYDECK}\n")
    if sys.stdin.isatty() and sys.stdout.isatty():
        os.execv(SKYDECK, [str(SKYDECK), f":instances /{SERVER}"])


def add_images(image: GuestImage) -> None:
    have = names("image", "list")
    for name, file, kind in (("tiny-kernel", image.kernel, "aki"), ("tiny-ramdisk", image.ramdisk, "ari")):
        if name not in have:
            skydeck("image", "create", "--disk-format", kind, "--file", str(file), "--public", name)
    if "tiny" not in have:
        skydeck(
            "image", "create", "--disk-format", "qcow2", "--file", str(image.disk), "--public",
            "--property", "kernel_id=tiny-kernel", "--property", "ramdisk_id=tiny-ramdisk",
            "--property", f"os_command_line={image.cmdline}", "--property", "os_type=linux", "tiny",
        )  # fmt: skip


def wait_for_console() -> None:
    """Print the guest's console once it has booted. Exits when it does not."""
    deadline = time.monotonic() + BOOT
    while True:
        log = skydeck("console", "log", "show", SERVER, show=False)
        if BANNER in log:
            skydeck("console", "log", "show", "--lines", "12", SERVER)
            return
        if time.monotonic() > deadline:
            print(log)
            sys.exit(f"the guest did not print {BANNER!r} within {BOOT:.0f} s")
        time.sleep(0.25)  # the log is read from a host; there is nothing to wait on


def ping() -> None:
    """Reach the guest's address from its network's namespace."""
    addresses = rows("port", "list", "--server", SERVER, "-c", "Fixed IP Addresses")[0]["Fixed IP Addresses"]
    address = addresses[0]["ip_address"]
    network = next(row for row in rows("network", "list") if row["Name"] == NETWORK)
    namespace = f"skn-{network['ID'].replace('-', '')[:11]}"
    command = ["ip", "netns", "exec", namespace, "ping", "-c", "2", "-W", "5", address]
    print(f"$ {shlex.join(command)}", flush=True)
    run(command)


def run(command: Sequence[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"{shlex.join(command)} failed")


def down() -> None:
    """Remove all of it: the guest, the host's part on this machine, the data."""
    os.environ["SKYDECK_HOME"] = str(HOME)
    os.environ.setdefault("SKYDECK_PROJECT", "demo")
    if not HOME.exists():
        print("there is no demo")
        return
    for server in rows("server", "list", "--all-projects"):
        skydeck("server", "delete", "--wait", server["ID"])
    for volume in rows("volume", "list", "--all-projects"):
        skydeck("volume", "delete", "--purge", "--wait", volume["ID"])
    for host in rows("host", "list"):
        skydeck("host", "remove", "--yes", "--delete-data", host["Host Name"])
    stop_engine(HOME)
    stop_daemons()
    shutil.rmtree(HOME)
    print("the demo is gone")


def running_daemons() -> dict[str, int]:
    """libvirt's daemons on this machine, by name, where no service manager runs them."""
    found = {}
    for name in DAEMONS:
        file = Path("/run", f"{name}.pid")
        pid = int(file.read_text()) if file.exists() else 0
        if pid and Path(f"/proc/{pid}/comm").exists():
            found[name] = pid
    return found


def stop_daemons() -> None:
    """End those that `host add` had to start for the demo."""
    mark = HOME / STARTED
    started = json.loads(mark.read_text()) if mark.exists() else {}
    for name, pid in running_daemons().items():
        if started.get(name) == pid:
            os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]]()
