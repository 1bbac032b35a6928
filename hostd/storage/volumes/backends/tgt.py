"""The iSCSI target daemon of this host, tgtd: told by tgtadm which file is served under which name, and to whom.

It forgets all when it ends, so it is asked what it has before it is told anything.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from hostd.spec import ErrorCode, HostError
from hostd.storage.volumes.backends.tools import ToolFailed, ask

UNIT: Final = 1
"""Of every target, the one that is a disk: unit 0 is its controller."""

PATIENCE: Final = 8.0
"""Seconds for the daemon to answer."""

HINT: Final = "look at tgtd on the host that has the portal's address: systemctl status tgt"

_NOT_RUNNING: Final = 107
"""What tgtadm ends with when there is no daemon: ENOTCONN."""

_CHANGES = threading.Lock()
"""A new target takes the next free number."""


@attrs.frozen
class Target:
    """What tgtd has, as it tells it."""

    number: int
    file: str = ""
    """Of its unit; empty: it has none."""
    initiators: tuple[str, ...] = ()
    """Addresses of those who are logged in."""


class Tgt:
    """One daemon. Thread-safe."""

    def __init__(self, *, control: str, initiators: Sequence[str]) -> None:
        """`control` is its control port, a number; `initiators` whom it lets in: addresses, networks or ALL."""
        self._control = control
        self._initiators = tuple(initiators)

    def targets(self) -> dict[str, Target]:
        """By name. Raises HostError(STORAGE)."""
        return parse(self._tgtadm("--op", "show", "--mode", "target"))

    def serve(self, name: str, file: Path) -> None:
        """Have a target of this name with this file, sparse as it is. Raises HostError(STORAGE)."""
        with _CHANGES:
            targets = self.targets()
            known = targets.get(name)
            if known and known.file == str(file):
                return
            if known:
                # Made by halves. Nobody has opened what has no unit.
                self._on(known.number, "delete", "target", "--force")
            number = max((target.number for target in targets.values()), default=0) + 1
            self._on(number, "new", "target", "-T", name)
            self._on(number, "new", "logicalunit", "--lun", str(UNIT), "-b", str(file))
            self._on(number, "update", "logicalunit", "--lun", str(UNIT), "--params", "thin_provisioning=1")
            for initiator in self._initiators:
                self._on(number, "bind", "target", "-I", initiator)

    def withdraw(self, name: str) -> tuple[str, ...]:
        """Serve it no more; or, while somebody is logged in, their addresses. Raises HostError(STORAGE)."""
        with _CHANGES:
            known = self.targets().get(name)
            if known and not known.initiators:
                # Without force: refused when somebody logged in this moment.
                self._on(known.number, "delete", "target")
        return known.initiators if known else ()

    def _on(self, number: int, act: str, mode: str, *arguments: str) -> None:
        self._tgtadm("--op", act, "--mode", mode, "--tid", str(number), *arguments)

    def _tgtadm(self, *arguments: str) -> str:
        try:
            return ask(
                "tgtadm", "-C", self._control, "--lld", "iscsi", *arguments, timeout=PATIENCE,
                unanswered="the iSCSI target daemon of this host", hint=HINT,
            )  # fmt: skip
        except ToolFailed as bad:
            if bad.status == _NOT_RUNNING:
                raise HostError(
                    ErrorCode.STORAGE,
                    "the iSCSI target daemon does not run on this host",
                    hint="start it: systemctl start tgt",
                ) from bad
            raise HostError(ErrorCode.STORAGE, str(bad), hint=HINT) from bad


def parse(shown: str) -> dict[str, Target]:
    """`tgtadm --op show --mode target`: every target by name."""
    targets: dict[str, Target] = {}
    name, unit, nexus = "", "", False
    for line in shown.splitlines():
        key, _, value = line.strip().partition(": ")
        if found := re.fullmatch(r"Target (\d+): (\S+)", line):
            name, unit = found[2], ""
            targets[name] = Target(int(found[1]))
        elif not line.startswith("        "):
            nexus = line.strip() == "I_T nexus information:"
        elif key == "LUN":
            unit = value
        elif key == "Backing store path" and unit == str(UNIT):
            targets[name] = attrs.evolve(targets[name], file=value)
        elif key == "IP Address" and nexus:
            targets[name] = attrs.evolve(targets[name], initiators=(*targets[name].initiators, value))
    return targets
