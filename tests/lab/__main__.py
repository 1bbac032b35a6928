"""`python -m tests.lab up --hosts 2`, `status`, `down`: emulated hosts to try skydeck on by hand."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

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
            show(lab)
        elif arguments.command == "status":
            show(lab)
        else:
            lab.down()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def show(lab: Lab) -> None:
    """Print the hosts, and the commands that lead to them."""
    if not lab.hosts:
        print(f"no hosts in {lab.directory}")
        return
    for host in lab.hosts:
        power = f"on, PID 1 is {host.pid}" if host.powered else "off"
        print(f"{host.name}  {host.address}  {host.fingerprint}  power {power}")
    key = os.path.relpath(lab.ssh_key)
    print("\nEnrol a host:")
    for host in lab.hosts:
        print(
            f"  skydeck host add root@{host.address} --name {host.name} --identity {key} --host-key {host.fingerprint}"
        )
    powered = next((host for host in lab.hosts if host.powered), None)
    if powered:
        print(f"Enter {powered.name}:\n  nsenter -t {powered.pid} -a --wd=/ bash")


if __name__ == "__main__":
    sys.exit(main())
