"""Where hostd lives on a host. A value and not constants, so that a test may point elsewhere."""

from __future__ import annotations

import shlex
from typing import Final

import attrs

UNIT: Final = "skydeck-hostd.service"
"""hostd's relay looks for a unit of this name before it starts the daemon by itself."""

_DEFAULT_STATE: Final = "/var/lib/skydeck"
_DEFAULT_RUN: Final = "/run/skydeck"

PYTHON: Final = "/usr/bin/python3"
"""The distribution's own: python3-libvirt belongs to no other."""


@attrs.frozen(kw_only=True)
class Layout:
    """Absolute paths on the host."""

    library: str = "/usr/local/lib/skydeck"
    bin: str = "/usr/local/bin"
    state: str = _DEFAULT_STATE
    run: str = _DEFAULT_RUN
    units: str = "/etc/systemd/system"

    @property
    def program(self) -> str:
        return f"{self.library}/hostd"

    @property
    def command(self) -> str:
        """The symlink a person at the host calls."""
        return f"{self.bin}/hostd"

    @property
    def socket(self) -> str:
        return f"{self.run}/hostd.sock"

    @property
    def pid_file(self) -> str:
        return f"{self.run}/hostd.pid"

    @property
    def unit(self) -> str:
        return f"{self.units}/{UNIT}"

    @property
    def options(self) -> tuple[str, ...]:
        """What hostd's subcommands must be told; nothing where the paths are its own defaults."""
        told: list[str] = []
        if self.state != _DEFAULT_STATE:
            told += ["--state", self.state]
        if self.run != _DEFAULT_RUN:
            told += ["--run", self.run]
        return tuple(told)

    @property
    def relay(self) -> str:
        """The forced command of the cloud's key."""
        return shlex.join([self.program, "relay", *self.options])

    @property
    def unit_text(self) -> str:
        """The systemd unit. Guests, their logs and DHCP servers are not the daemon's to take along when it stops."""
        serve = shlex.join([PYTHON, "-I", self.program, "serve", *self.options])
        return f"""\
[Unit]
Description=skydeck's host daemon
Wants=network-online.target
After=network-online.target libvirtd.service virtqemud.socket
StartLimitIntervalSec=0

[Service]
ExecStart={serve}
Restart=always
RestartSec=1
KillMode=process
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
"""
