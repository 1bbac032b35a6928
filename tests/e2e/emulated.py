"""Hosts that are a few namespaces each, applying networking documents with the real driver, without engine or SSH.

    east  eth0 --+-- underlay (bridge, 192.168.100.0/24)         east  ext0 --+-- internet (namespace)
    west  eth0 --+                                               west  ext0 --+     outside, 203.0.113.1/24
                                                                                    lo, 198.51.100.10

    with isolated(), Lab("east", "west") as lab:
        lab["east"].apply(document)              # the steps that were taken
        guest = lab["east"].guest(port, mtu=1450)
        guest.run(["ping", "-c1", "198.51.100.10"])

A host has network, mount and process namespaces of its own: what hostd starts there ends with it.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from hostd.drivers import Happened
from hostd.network import names
from hostd.spec import HostError, Metadata, NetworkingSpec, PortSpec, Trace, dump, load

UNDERLAY: Final = "192.168.100."
"""A host's tunnel endpoint is this and its number, from 1."""
UNDERLAY_CARD: Final = "eth0"
CARD: Final = "ext0"
"""The interface that leads outside."""

OUTSIDE: Final = "203.0.113.0/24"
GATEWAY: Final = "203.0.113.1"
INTERNET: Final = "198.51.100.10"
"""An address beyond the gateway."""
_INTERNET: Final = "internet"

_BOOT: Final = """
mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run && mount -t sysfs sysfs /sys && ip link set lo up
exec "$0" -c 'import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
while True: signal.pause()'
"""
"""Process 1 of a host: ignoring the signal is enough to be rid of dead children."""


class Refused(AssertionError):
    """The driver raised a HostError; its words."""


class EmulatedHost:
    """One host. `number` tells its tunnel endpoint."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.vtep = f"{UNDERLAY}{number}"
        self._unshare = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                _BOOT,
                sys.executable,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._unshare.stdout is not None
        assert self._unshare.stdout.readline() == "up\n"
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self.pid = int(children.read_text())
        """Of the host's process 1."""
        self._hostd: subprocess.Popen[str] | None = None

    # ------------------------------------------------------------------ hostd

    def start(self) -> None:
        """Begin the driver's process, as after a start of hostd. Calls do it by themselves."""
        command = self.enter([sys.executable, "-W", "error", "-m", "tests.e2e.emulated"])
        self._hostd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop(self, *, kill: bool = False) -> None:
        """End it, in order or not. The host's networking stays."""
        if self._hostd is None:
            return
        if kill:
            self._call("die", answer=False)
        assert self._hostd.stdin is not None
        assert self._hostd.stdout is not None
        self._hostd.stdin.close()
        self._hostd.stdout.close()
        self._hostd.wait()
        self._hostd = None

    def apply(self, spec: NetworkingSpec) -> list[str]:
        """Converge, and be sure that nothing is left to do. The steps that were taken. Raises Refused."""
        steps: list[str] = self._call("apply", spec=dump(spec))
        return steps

    def plan(self, spec: NetworkingSpec) -> list[str]:
        """The steps that an apply would take."""
        steps: list[str] = self._call("plan", spec=dump(spec))
        return steps

    def seconds(self, spec: NetworkingSpec) -> float:
        """How long a plan takes, once everything is loaded."""
        taken: float = self._call("seconds", spec=dump(spec))
        return taken

    def observe(self) -> dict[str, Any]:
        """NetworkingObserved, as plain values."""
        seen: dict[str, Any] = self._call("observe")
        return seen

    def trace(self, asked: Trace) -> list[dict[str, Any]]:
        """The hops, as plain values."""
        hops: list[dict[str, Any]] = self._call("trace", asked=dump(asked))
        return hops

    def tell(self, instance: str, metadata: Metadata) -> None:
        """What the metadata service says to an instance."""
        self._call("tell", instance=instance, metadata=dump(metadata))

    def crash_at(self, spec: NetworkingSpec, step: str) -> None:
        """Apply, and die before that step; after it too when the step is named `after NAME`."""
        self._call("crash", answer=False, spec=dump(spec), step=step)
        self.stop()

    def crash_inside(self, spec: NetworkingSpec, module: str, function: str) -> None:
        """Apply, and die where that function of a module would be called."""
        self._call("crash_in", answer=False, spec=dump(spec), module=module, function=function)
        self.stop()

    def _call(self, verb: str, *, answer: bool = True, **arguments: Any) -> Any:
        if self._hostd is None:
            self.start()
        assert self._hostd is not None
        assert self._hostd.stdin is not None
        assert self._hostd.stdout is not None
        self._hostd.stdin.write(json.dumps([verb, arguments]) + "\n")
        self._hostd.stdin.flush()
        said = self._hostd.stdout.readline()
        if not answer:
            assert said == "", said
            return None
        assert said, f"the driver on {self.name} died"
        told = json.loads(said)
        if "refused" in told:
            raise Refused(f"{self.name}: {told['refused']}")
        return told["result"]

    # ------------------------------------------------------------------ commands and guests

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on the host."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "--wd=.", "--", *argv]

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return _run(self.enter(argv), check=check, timeout=timeout)

    def sh(self, script: str) -> str:
        """What a shell script says. Raises AssertionError with its complaint."""
        return self.run(["sh", "-ec", script]).stdout

    def guest(self, port: PortSpec, *, mtu: int = 1450, addresses: Sequence[str] = (), gateway: str = "") -> Guest:
        """A guest plugged in, with these addresses (`10.0.0.5/24`) and default route; up when this returns."""
        guest = Guest(host=self, port=port)
        guest.plug(mtu=mtu, addresses=addresses, gateway=gateway)
        return guest

    def close(self) -> None:
        """Switch it off."""
        self.stop()
        self._unshare.kill()
        self._unshare.communicate()


@attrs.frozen(kw_only=True)
class Guest:
    """A namespace at the end of a tap, as QEMU's guest would be."""

    host: EmulatedHost
    port: PortSpec

    @property
    def namespace(self) -> str:
        return f"guest-{names.short(self.port.uuid)}"

    def plug(self, *, mtu: int, addresses: Sequence[str] = (), gateway: str = "") -> None:
        tap, space = names.tap(self.port.uuid), self.namespace
        script = f"""
            ip netns add {space}
            ip link add {tap} mtu {mtu} type veth peer name eth0 netns {space} address {self.port.mac} mtu {mtu}
            ip link set {tap} addrgenmode none master {names.bridge(self.port.network)} up
            ip -n {space} link set lo up; ip -n {space} link set eth0 up
        """
        script += "".join(f"ip -n {space} address add {one} dev eth0 nodad\n" for one in addresses)
        script += f"ip -n {space} route add default via {gateway}\n" if gateway else ""
        self.host.sh(script)

    def unplug(self) -> None:
        self.host.sh(f"ip netns delete {self.namespace}; ip link delete {names.tap(self.port.uuid)} || true")

    def enter(self, argv: Sequence[str]) -> list[str]:
        return self.host.enter(["nsenter", f"--net=/run/netns/{self.namespace}", "--", *argv])

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return _run(self.enter(argv), check=check, timeout=timeout)

    def hears(self, address: str, *, size: int = 56) -> bool:
        """Whether an address answers one of two pings, unfragmented."""
        flags = ["-q", "-M", "do", "-s", str(size), "-c", "2", "-i", "0.2", "-W", "1"]
        return self.run(["ping", *flags, address], check=False).returncode == 0


class Lab:
    """Hosts by name, their underlay and the outside; inside `sandbox.isolated`."""

    def __init__(self, *hosts: str) -> None:
        self._names = hosts
        self._hosts: dict[str, EmulatedHost] = {}

    def __getitem__(self, name: str) -> EmulatedHost:
        return self._hosts[name]

    def __enter__(self) -> Lab:
        _sh(f"""
            ip link add underlay type bridge mcast_snooping 0
            ip link set underlay addrgenmode none up
            ip netns add {_INTERNET}
            ip -n {_INTERNET} link set lo up
            ip -n {_INTERNET} address add {INTERNET}/32 dev lo
            ip -n {_INTERNET} link add outside type bridge mcast_snooping 0
            ip -n {_INTERNET} link set outside up
            ip -n {_INTERNET} address add {GATEWAY}/{OUTSIDE.partition("/")[2]} dev outside
            ip netns exec {_INTERNET} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0
        """)
        try:
            for number, name in enumerate(self._names, 1):
                host = self._hosts[name] = EmulatedHost(name, number)
                self._wire(host, number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wire(self, host: EmulatedHost, number: int) -> None:
        _sh(f"""
            ip link add under{number} type veth peer name {UNDERLAY_CARD} netns {host.pid}
            ip link set under{number} addrgenmode none master underlay up
            ip -n {_INTERNET} link add out{number} type veth peer name {CARD} netns {host.pid}
            ip -n {_INTERNET} link set out{number} addrgenmode none master outside up
        """)
        host.sh(f"""
            ip address add {host.vtep}/24 dev {UNDERLAY_CARD}; ip link set {UNDERLAY_CARD} up
            ip link set {CARD} addrgenmode none up
        """)

    def __exit__(self, *_: object) -> None:
        for host in self._hosts.values():
            host.close()
        self._hosts.clear()
        _sh(f"ip link delete underlay; ip netns delete {_INTERNET}")

    def enter_outside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` as a machine of the outside."""
        return ["nsenter", f"--net=/run/netns/{_INTERNET}", "--", *argv]

    def outside(
        self, argv: Sequence[str], *, check: bool = True, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        return _run(self.enter_outside(argv), check=check, timeout=timeout)


def _run(argv: Sequence[str], *, check: bool, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout)
    assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
    return done


def _sh(script: str) -> str:
    return _run(["sh", "-ec", script], check=True).stdout


# ---------------------------------------------------------------------------- the driver's process


class _Context:
    """A StepContext for a driver that uses none of it."""

    cache = None

    def progress(self, percent: int) -> None: ...


class _Hostd:
    def __init__(self) -> None:
        from hostd.network.driver import NetworkingDriver

        self._told: dict[str, Metadata] = {}
        self._lock = threading.Lock()
        self.driver = NetworkingDriver(state=Path("/run/skydeck-state"), run=Path("/run/skydeck"))
        self.driver.start(self._happened, self._metadata_of)

    def _happened(self, happened: Happened) -> None: ...

    def _metadata_of(self, uuid: str) -> Metadata | None:
        with self._lock:
            return self._told.get(uuid)

    def apply(self, spec: dict[str, Any]) -> list[str]:
        taken = self._apply(load(NetworkingSpec, spec))
        left = self.plan(spec)
        if left:
            raise AssertionError(f"an apply left to do: {left}")
        return taken

    def _apply(self, spec: NetworkingSpec, *, die_before: str = "", die_after: str = "") -> list[str]:
        steps = self.driver.plan(spec, self.driver.seen(spec.uuid))
        for step in steps:
            if step.name == die_before:
                _die()
            self.driver.execute(step, spec, _Context())  # type: ignore[arg-type]
            if step.name == die_after:
                _die()
        return [step.name for step in steps]

    def crash(self, spec: dict[str, Any], step: str) -> list[str]:
        return self._apply(load(NetworkingSpec, spec), die_before=step, die_after=step.removeprefix("after "))

    def crash_in(self, spec: dict[str, Any], module: str, function: str) -> list[str]:
        setattr(importlib.import_module(module), function, lambda *_, **__: _die())
        return self._apply(load(NetworkingSpec, spec))

    def plan(self, spec: dict[str, Any]) -> list[str]:
        wanted = load(NetworkingSpec, spec)
        return [step.name for step in self.driver.plan(wanted, self.driver.seen(wanted.uuid))]

    def seconds(self, spec: dict[str, Any]) -> float:
        import time

        wanted = load(NetworkingSpec, spec)
        began = time.perf_counter()
        self.driver.plan(wanted, self.driver.seen(wanted.uuid))
        return time.perf_counter() - began

    def observe(self) -> dict[str, Any]:
        return dump(self.driver.observe())

    def trace(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        hops: list[dict[str, Any]] = dump(self.driver.trace(load(Trace, asked)))["hops"]
        return hops

    def tell(self, instance: str, metadata: dict[str, Any]) -> None:
        with self._lock:
            self._told[instance] = load(Metadata, metadata)

    def die(self) -> None:
        _die()


def _die() -> None:
    import os

    os._exit(9)


def main() -> None:
    """Answer one call a line, until there is no more."""
    hostd = _Hostd()
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        try:
            told = {"result": getattr(hostd, verb)(**arguments)}
        except (HostError, AssertionError) as bad:
            told = {"refused": str(bad)}
        print(json.dumps(told), flush=True)
    hostd.driver.stop()


if __name__ == "__main__":
    main()
