"""Complete emulated hosts on one kernel: own libvirtd, sshd, file trees, control groups and power switch.

    lab = Lab(Path(".lab/demo"))
    a, b = lab.up(["a", "b"])
    a.run(["virsh", "list"]); a.kill_power(); a.start(); b.cut(); b.heal()
    lab.down()

A host is a set of namespaces under a PID 1 (see `boot`), with an address on a bridge of this
machine over which the controller reaches it by SSH. Several labs run side by side: bridge, subnet
and control groups are named after the lab's directory. The state is on disk, so another process can
take a lab over, and `down` also clears what a crashed run left. Needs root.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import ipaddress
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab import cgroups, tree
from tests.lab.outside import Outside

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST_ADDRESS = 11
"""Last octet of the first host; the bridge has 1."""


class LabError(Exception):
    """The lab could not be brought to the asked state; the message holds the cause."""


class Lab:
    """The hosts of one directory."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory).resolve()
        self.key = hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]
        self.bridge = f"lab{self.key}"
        self.outside = Outside(self.key)
        """The segment that every host has its second card on."""
        self._state_file = self.directory / "lab.json"
        state = json.loads(self._state_file.read_text()) if self._state_file.exists() else {}
        self._subnet: str | None = state.get("subnet")
        self._hosts = {name: LabHost(self, name, **host) for name, host in state.get("hosts", {}).items()}

    @property
    def hosts(self) -> tuple[LabHost, ...]:
        """In the order in which they were first brought up."""
        return tuple(self._hosts.values())

    @property
    def ssh_key(self) -> Path:
        """The private key that every host takes for root."""
        return self.directory / "ssh" / "id_ed25519"

    @property
    def gateway(self) -> str:
        """This machine's address on the lab's bridge."""
        return self.address_of(1)

    def address_of(self, number: int) -> str:
        """The `number`th address of the lab's subnet. Raises LabError before the first `up`."""
        if self._subnet is None:
            raise LabError(f"no lab in {self.directory}: bring it up first")
        return str(ipaddress.ip_network(self._subnet)[number])

    def __getitem__(self, name: str) -> LabHost:
        return self._hosts[name]

    def up(self, names: Iterable[str]) -> tuple[LabHost, ...]:
        """Bring these hosts up, making the new ones and starting the ones without power; in parallel."""
        if os.geteuid() != 0:
            raise LabError("a lab needs root: namespaces, mounts and control groups")
        wanted = list(names)
        self.ssh_key.parent.mkdir(parents=True, exist_ok=True)
        if not self.ssh_key.exists():
            tree.keygen(self.ssh_key, comment="lab")
        self._raise_bridge()
        for name in wanted:
            if name not in self._hosts:
                self._hosts[name] = LabHost(self, name, index=len(self._hosts))
        hosts = tuple(self._hosts[name] for name in wanted)
        for host in hosts:
            host.prepare()
        addresses = {host.name: host.address for host in self.hosts}
        for host in self.hosts:
            tree.write_hosts(host.root, addresses)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(LabHost.start, hosts))
        return hosts

    def down(self) -> None:
        """Cut every host's power and remove all that the lab made, files included."""
        for host in self.hosts:
            host.kill_power()
            _ip("link", "delete", host.link, check=False)
            cgroups.remove(host.cgroup)
        _ip("link", "delete", self.bridge, check=False)
        self.outside.down()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._hosts.clear()
        self._subnet = None

    def save(self) -> None:
        """Write the state to disk: who is there, and which process is whose PID 1."""
        state = {"subnet": self._subnet, "hosts": {host.name: host.state() for host in self.hosts}}
        partial = self._state_file.with_suffix(".new")
        partial.write_text(json.dumps(state, indent=1))
        partial.replace(self._state_file)

    def _raise_bridge(self) -> None:
        with _machine_lock():
            if self._subnet is None:
                self._subnet = _free_subnet(self.key)
            self.save()
            if not Path("/sys/class/net", self.bridge).exists():
                _ip("link", "add", self.bridge, "type", "bridge", "mcast_snooping", "0")
                _ip("link", "set", self.bridge, "addrgenmode", "none", "up")
                _ip("address", "add", f"{self.gateway}/24", "dev", self.bridge)
            self.outside.up()


class LabHost:
    """One emulated machine."""

    def __init__(self, lab: Lab, name: str, *, index: int, pid: int | None = None, born: int | None = None) -> None:
        self.lab = lab
        self.name = name
        self._index = index
        self._pid = pid
        self._born = born
        """Start time of PID 1 in clock ticks: a recycled process id is not ours."""
        self.directory = lab.directory / "hosts" / name
        self.root = self.directory / "root"
        """The host's private files, as seen from outside; the same across power failures."""
        self.cgroup = f"skydeck-lab-{lab.key}-{name}"
        self.link = f"lv{lab.key}-{index}"
        """The bridge's side of the host's cable."""
        self.mac = f"02:1a:{lab.key[0:2]}:{lab.key[2:4]}:{lab.key[4:6]}:{index:02x}"
        """Of eth0. Kept across power failures, as a card does: its neighbours remember it."""

    @property
    def address(self) -> str:
        return self.lab.address_of(FIRST_ADDRESS + self._index)

    @property
    def pid(self) -> int:
        """PID 1 of the host, as this machine numbers it. Raises LabError without power."""
        if not self.powered or self._pid is None:
            raise LabError(f"host {self.name} has no power")
        return self._pid

    @property
    def powered(self) -> bool:
        return self._pid is not None and _start_time(self._pid) == self._born

    @property
    def libvirt_uri(self) -> str:
        """Reaches the host's libvirtd from this machine, without SSH."""
        return f"qemu+unix:///system?socket=/proc/{self.pid}/root/run/libvirt/libvirt-sock"

    @property
    def host_key(self) -> str:
        """`ssh-ed25519 AAAA...`, as a known_hosts line wants it after the address."""
        kind, key, *_ = (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        return f"{kind} {key}"

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as ssh shows it."""
        blob = base64.b64decode(self.host_key.split()[1])
        return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")

    def prepare(self) -> None:
        """Write the host's private files, once."""
        key = self.lab.ssh_key.with_suffix(".pub").read_text()
        tree.write(self.root, name=self.name, address=self.address, authorized_key=key)

    def start(self) -> None:
        """Switch the power on; returns when libvirtd and sshd answer. A running host is left alone."""
        if self.powered:
            return
        _ip(
            "link", "delete", self.link, check=False
        )  # a dead host's namespace, and the cable's end in it, go a moment later
        plan = {
            "name": self.name,
            "root": str(self.root),
            "repository": str(REPOSITORY),
            "log": str(self.directory / "boot.log"),
            "cgroup": self.cgroup,
            "bridge": self.lab.bridge,
            "link": self.link,
            "mac": self.mac,
            "address": self.address,
            "gateway": self.lab.gateway,
            "outside": self.lab.outside.namespace,
            "outside_link": f"lx{self._index}",
            "outside_mac": self.mac.replace("02:1a", "02:1b", 1),
        }
        plan_file = self.directory / "plan.json"
        plan_file.write_text(json.dumps(plan))
        command = [sys.executable, "-m", "tests.lab.boot", str(plan_file)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            log = (self.directory / "boot.log").read_text()[-2000:]
            raise LabError(f"host {self.name} did not boot: {done.stderr}\n{log}")
        self._pid = int(done.stdout)
        self._born = _start_time(self._pid)
        self.lab.save()

    def kill_power(self) -> None:
        """Power failure: everything in the host is gone when this returns. Without power, nothing happens."""
        if self.powered and self._pid is not None:
            # The descriptor names this very process, whatever becomes of its number.
            descriptor = os.pidfd_open(self._pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], 30)
            finally:
                os.close(descriptor)
        self._pid = self._born = None
        if self.lab.directory.exists():
            self.lab.save()

    def cut(self) -> None:
        """Unplug the network cable."""
        _ip("link", "set", self.link, "down")

    def heal(self) -> None:
        """Plug it in again; returns when both ends have noticed, which the kernel may put off for a second."""
        _ip("link", "set", self.link, "up")
        ends = (Path("/sys/class/net", self.link), Path(f"/proc/{self.pid}/root/sys/class/net/eth0"))
        deadline = time.monotonic() + 10
        while any((end / "operstate").read_text() != "up\n" for end in ends):
            if time.monotonic() > deadline:
                raise LabError(f"the cable of host {self.name} does not come up")
            time.sleep(0.01)

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` as root inside the host."""
        environment = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
        ]
        return ["nsenter", "-t", str(self.pid), "-a", "--wd=/", "env", "-i", *environment, *argv]

    def run(
        self, argv: Sequence[str], *, check: bool = True, input: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the host and collect its output.

        Raises LabError with the command's standard error when it fails and `check` is set.
        """
        command = self.enter(argv)
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False, timeout=timeout)
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def ssh(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in the host over SSH, from this machine."""
        known = self.directory / "known_hosts"
        known.write_text(f"{self.address} {self.host_key}\n")
        options = {"IdentitiesOnly": "yes", "UserKnownHostsFile": str(known), "BatchMode": "yes"}
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", "-i", str(self.lab.ssh_key), *flags, f"root@{self.address}", "--", *argv]

    def tmpfs(self, path: str, size: str) -> None:
        """Mount an empty file system of `size` (`8m`) over `path`, to let a disk run full. Lost with the power."""
        self.run(["mkdir", "-p", path])
        self.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path])

    def state(self) -> dict[str, Any]:
        return {"index": self._index, "pid": self._pid, "born": self._born}


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None when there is no such living process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _free_subnet(key: str) -> str:
    """A /24 of 10.231.0.0/16 that no route of this machine touches, tried from a start that depends on the key."""
    routes = subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, text=True, check=True).stdout
    used = [ipaddress.ip_network(route["dst"]) for route in json.loads(routes) if route["dst"] != "default"]
    candidates = list(ipaddress.ip_network("10.231.0.0/16").subnets(new_prefix=24))
    first = int(key, 16) % len(candidates)
    for candidate in candidates[first:] + candidates[:first]:
        if not any(candidate.overlaps(other) for other in used):
            return str(candidate)
    raise LabError("no free /24 left in 10.231.0.0/16")


@contextmanager
def _machine_lock() -> Iterator[None]:
    """Two labs must not choose the same subnet at the same moment."""
    with open("/run/lock/skydeck-lab", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise LabError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
