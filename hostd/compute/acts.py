"""What is asked of a guest that is no state it should be in: spec.ACTS of instances."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from hostd.compute import power
from hostd.compute.domain_xml import released
from hostd.logs.reading import read
from hostd.spec import ErrorCode, HostError, PowerState
from hostd.storage.instances import Instances

if TYPE_CHECKING:
    from hostd.compute.domain import Domain
    from hostd.compute.libvirt_driver.guests import Libvirt

ALL_LINES: Final = 1 << 30

REBOOT_PATIENCE: Final = 120
"""Seconds of a soft reboot before it becomes a hard one, unless the caller says otherwise."""


class Acts:
    """Does them, by verb."""

    def __init__(
        self,
        *,
        libvirt: Callable[[], Libvirt],
        instances: Instances,
        starting: Callable[[Domain], AbstractContextManager[None]],
    ) -> None:
        """`libvirt` raises HostError(LIBVIRT_DOWN) while there is none; a guest is started inside `starting`."""
        self._libvirt = libvirt
        self._instances = instances
        self._starting = starting
        self._verbs: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
            "reboot_soft": self._reboot_soft,
            "reboot_hard": self._reboot_hard,
            "console_log": self._console_log,
            "power_off_found": self._power_off_found,
            "adopt": self._adopt,
        }

    def do(self, verb: str, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        """The detail of `Acted`. Raises HostError: NOT_FOUND, BAD_STATE, PROTOCOL for an unknown verb or argument."""
        act = self._verbs.get(verb)
        if act is None:
            raise HostError(ErrorCode.PROTOCOL, f"unknown verb {verb}")
        self._instances.directory(uuid)  # a uuid that is none is refused here
        return act(uuid, args)

    def _reboot_soft(self, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        patience = _number(args, "timeout", REBOOT_PATIENCE)
        if (now := self._startable(uuid).power) is not PowerState.RUNNING:
            raise HostError(ErrorCode.BAD_STATE, f"the guest is {now}: only a running one can be asked to reboot")
        if power.reboot_soft(self._libvirt(), uuid, patience=patience):
            return {"fell_back": False}
        self._reboot_hard(uuid, {})
        return {"fell_back": True}

    def _reboot_hard(self, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        domain = self._startable(uuid)
        self._instances.prepare()
        with self._starting(domain):
            power.reboot_hard(self._libvirt(), uuid)
        return {}

    def _startable(self, uuid: str) -> Domain:
        domain = look(self._libvirt(), uuid)
        if not domain.owned or domain.quarantined:
            why = "quarantined" if domain.quarantined else "not skydeck's"
            raise HostError(ErrorCode.BAD_STATE, f"domain {domain.name!r} is {why}: it is not started")
        return domain

    def _console_log(self, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        lines = _number(args, "lines", ALL_LINES)
        if self._instances.names(uuid) is None:
            raise HostError(ErrorCode.NOT_FOUND, f"no instance {uuid} on this host")
        return {"text": read(self._instances.console_log(uuid), lines=lines).text}

    def _power_off_found(self, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        before = look(self._libvirt(), uuid).power
        power.cut(self._libvirt(), uuid)
        return {"was": before.value}

    def _adopt(self, uuid: str, args: dict[str, Any]) -> dict[str, Any]:
        domain = look(self._libvirt(), uuid)
        if not domain.owned:
            raise HostError(ErrorCode.BAD_STATE, f"domain {domain.name!r} was not made by skydeck")
        if domain.quarantined:
            self._libvirt().define(released(self._libvirt().xml(uuid)))
        return {"power": domain.power.value}


def look(libvirt: Libvirt, uuid: str) -> Domain:
    """The domain. Raises HostError(NOT_FOUND)."""
    domain = libvirt.look(uuid)
    if domain is None:
        raise HostError(ErrorCode.NOT_FOUND, f"no domain with uuid {uuid} on this host")
    return domain


def _number(args: dict[str, Any], name: str, default: Any) -> Any:
    value = args.get(name, default)
    if value is not default and (type(value) is not int or value < 0):
        raise HostError(ErrorCode.PROTOCOL, f"{name} is not a number of at least 0: {value!r}")
    return value
