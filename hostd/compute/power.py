"""Switching a guest off, and off and on again: politely with a time limit, or at once.

Politely means the ACPI power button. A guest that is still booting loses the press, so it is repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hostd.spec import ErrorCode, HostError

if TYPE_CHECKING:
    from hostd.compute.libvirt_driver.guests import Libvirt

PRESS_EVERY: Final = 10.0
"""Seconds between presses of the power button (nova/virt/libvirt/driver.py repeats it every 10 s as well)."""


def off(libvirt: Libvirt, uuid: str, *, patience: float) -> None:
    """Switch off: the power button, and after `patience` seconds the power. Nothing to do for a guest that is off."""

    def is_off() -> bool:
        domain = libvirt.look(uuid)
        return domain is None or not domain.active

    if not _press_until(libvirt.shutdown, libvirt, uuid, is_off, patience=patience):
        cut(libvirt, uuid)


def cut(libvirt: Libvirt, uuid: str) -> None:
    """Off at once, saved memory dropped: the next start boots."""
    domain = libvirt.look(uuid)
    if domain is None:
        return
    if domain.active:
        try:
            libvirt.destroy(uuid)
        except HostError as bad:
            # It switched itself off while we reached for the plug.
            if bad.code not in (ErrorCode.BAD_STATE, ErrorCode.NOT_FOUND):
                raise
    elif domain.saved:
        libvirt.drop_save(uuid)


def reboot_soft(libvirt: Libvirt, uuid: str, *, patience: float) -> bool:
    """Ask the guest to reboot; whether it has, within `patience` seconds.

    The evidence is a reset after the press: libvirt resets the machine once the guest has switched itself off.
    """
    before = libvirt.reboots(uuid)
    return _press_until(libvirt.reboot, libvirt, uuid, lambda: libvirt.reboots(uuid) > before, patience=patience)


def reboot_hard(libvirt: Libvirt, uuid: str) -> None:
    """Cut and start with the newest definition; saved memory is dropped. Also starts a guest that is off."""
    cut(libvirt, uuid)
    libvirt.create(uuid)


def _press_until(
    press: Callable[[str], None], libvirt: Libvirt, uuid: str, done: Callable[[], bool], *, patience: float
) -> bool:
    end = time.monotonic() + patience
    while not done():
        left = end - time.monotonic()
        if left <= 0:
            return False
        try:
            press(uuid)
        except HostError as bad:
            if bad.code is not ErrorCode.BAD_STATE:
                raise
            # It went off by itself between the look and the press, or is no longer there to be pressed.
        if libvirt.wait(done, timeout=min(left, PRESS_EVERY)):
            return True
    return True
