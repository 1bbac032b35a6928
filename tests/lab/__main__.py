"""`python -m tests.lab up --hosts 2`, `status`, `down`: emulated hosts, enrolled, to try skydeck on by hand."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.lab.commands import SKYDECK, stop_engine
from tests.lab.hosts import REPOSITORY, Lab, LabError

NAMES = "abcdefghijklmnopqrstuvwxyz"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--directory", type=Path, default=REPOSITORY / ".lab" / "hand", help="where the lab lives")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring hosts up, or up again")
    up.add_argument("--hosts", type=int, default=2, choices=range(1, len(NAMES) + 1), metavar="N")
    commands.add_parser("status", help="show the hosts")
    commands.add_parser("down", help="remove the hosts and all they stored")
    arguments = parser.parse_args()
    lab = Lab(arguments.directory)
    try:
        if arguments.command == "up":
            lab.up(NAMES[: arguments.hosts])
            enrol(lab)
            show(lab)
        elif arguments.command == "status":
            show(lab)
        else:
            stop_engine(home(lab))
            lab.down()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def home(lab: Lab) -> Path:
    """The lab's own cloud: its SKYDECK_HOME."""
    return lab.directory / "cloud"


def enrol(lab: Lab) -> None:
    """Add every host to the lab's cloud, or repair it there: the commands a user would type."""
    environment = {**os.environ, "SKYDECK_HOME": str(home(lab))}
    for host in lab.hosts:
        where = ["host", "add", f"root@{host.address}", "--name", host.name]
        trust = ["--identity", str(lab.ssh_key), "--host-key", host.fingerprint, "--yes"]
        if subprocess.run([SKYDECK, *where, *trust], env=environment, check=False).returncode:
            raise LabError(f"host {host.name} could not be enrolled")


def show(lab: Lab) -> None:
    """Print the hosts, and the commands that lead to them."""
    if not lab.hosts:
        print(f"no hosts in {lab.directory}")
        return
    for host in lab.hosts:
        power = f"on, PID 1 is {host.pid}" if host.powered else "off"
        print(f"{host.name}  {host.address}  {host.fingerprint}  power {power}")
    print(f"\nPoint skydeck at them:\n  export SKYDECK_HOME={home(lab)}\n  {os.path.relpath(SKYDECK)}")
    powered = next((host for host in lab.hosts if host.powered), None)
    if powered:
        print(f"Enter {powered.name}:\n  nsenter -t {powered.pid} -a --wd=/ bash")


if __name__ == "__main__":
    sys.exit(main())
