"""The acts of enrolment on a host, and their reverse. Each looks first and does nothing when all is so already."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core.errors import Failed, Unavailable
from core.hosts.enroll.keys import with_key, without_key
from core.hosts.enroll.layout import UNIT, Layout
from core.hosts.enroll.look import Facts
from core.hosts.enroll.target import Target, must, put, script

_INSTALL_TIMEOUT: Final = 1800.0


def bundle() -> bytes:
    """hostd as one file, built from this installation. Raises Unavailable when it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "hostd")
        # In a process of its own: core knows hostd by its wire only.
        built = subprocess.run(
            [sys.executable, "-m", "hostd.bundle", str(out)], capture_output=True, text=True, check=False
        )
        if built.returncode != 0:
            said = (built.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Unavailable(
                f"hostd cannot be packed for the host: {said}",
                hint="Install skydeck again: pip install 'skydeck[controller]'.",
            )
        return out.read_bytes()


# ---------------------------------------------------------------------------- packages


def install_command(facts: Facts, packages: Sequence[str]) -> str:
    """What a person would type to install them."""
    return f"{facts.packager} install {' '.join(packages)}"


def install_packages(root: Target, facts: Facts, packages: Sequence[str]) -> None:
    """Raises Failed with the package manager's own words."""
    if facts.packager == "apt-get":
        # An old index names versions that are gone.
        text = (
            "export DEBIAN_FRONTEND=noninteractive\n"
            "apt-get update -q >/dev/null 2>&1\n"
            'exec apt-get install -q -y --no-install-recommends "$@"'
        )
    else:
        text = 'exec dnf install -q -y "$@"'
    result = script(root, text, *packages, timeout=_INSTALL_TIMEOUT)
    must(
        result,
        f"installing {', '.join(packages)} on {root.name}",
        hint=f"Run `{install_command(facts, packages)}` there by hand; then run this again.",
    )


# ---------------------------------------------------------------------------- the program


def push(root: Target, layout: Layout, data: bytes) -> list[str]:
    """Bring hostd's file and the symlink that people call; what was changed. Raises Failed."""
    changed = []
    digest = hashlib.sha256(data).hexdigest()
    there = script(root, 'sha256sum -- "$1" 2>/dev/null; stat -c "mode %a %U" -- "$1"', layout.program).out
    if digest not in there or "mode 755 root" not in there:
        put(root, data, layout.program, 0o755)
        changed.append("hostd")
    linked = must(script(root, _LINK, layout.program, layout.command), f"linking {layout.command}")
    if linked:
        changed.append("hostd command")
    return changed


_LINK: Final = """\
[ "$(readlink -- "$2")" = "$1" ] && exit
mkdir -p -- "$(dirname -- "$2")" && ln -sfn -- "$1" "$2" && echo linked
"""


# ---------------------------------------------------------------------------- the key


def authorize_key(root: Target, layout: Layout, *, path: str, public_key: str) -> bool:
    """Make the cloud's line the only one of this cloud in root's authorized_keys; whether it had to. Raises Failed."""
    text = _read(root, path)
    wanted = with_key(text, public_key=public_key, command=layout.relay)
    modes = must(script(root, _KEY_MODES, path), f"preparing {path}")
    if wanted == text and not modes:
        return False
    put(root, wanted.encode(), path, 0o600)
    return True


_KEY_MODES: Final = """\
folder=$(dirname -- "$1")
[ -d "$folder" ] || { mkdir -p -m 700 -- "$folder" || exit 1; echo made; }
# sshd refuses keys that others could have written.
if [ "$(basename -- "$folder")" = .ssh ] && [ "$(stat -Lc %a -- "$folder")" != 700 ]; then
    chmod 700 -- "$folder" && echo folder
fi
[ ! -e "$1" ] || [ "$(stat -Lc %a -- "$1")" = 600 ] || echo file
"""


def forget_key(root: Target, *, path: str, comment: str) -> bool:
    """Take the cloud's line out again; whether there was one. Raises Failed."""
    text = _read(root, path)
    wanted = without_key(text, comment=comment)
    if wanted == text:
        return False
    put(root, wanted.encode(), path, 0o600)
    return True


def _read(root: Target, path: str) -> str:
    return must(script(root, '[ ! -e "$1" ] || cat -- "$1"', path), f"reading {path}")


# ---------------------------------------------------------------------------- the daemon

_LIBVIRTD: Final = """\
running() { [ -S /run/libvirt/libvirt-sock ] || [ -S /run/libvirt/virtqemud-sock ]; }
if [ -d /run/systemd/system ]; then
    if systemctl cat libvirtd.service >/dev/null 2>&1; then unit=libvirtd.service; else unit=virtqemud.socket; fi
    systemctl is-enabled --quiet "$unit" && systemctl is-active --quiet "$unit" && exit
    systemctl enable --now "$unit" >&2 && echo started
else
    # Nobody else starts it here.
    [ -e /run/libvirt/virtlogd-sock ] || virtlogd -d >&2
    libvirtd -d >&2 && echo started
fi
"""

_ALIVE: Final = """\
pid=$(cat -- "$1" 2>/dev/null)
# A process that reuses the number runs another program; one that is dead and not reaped yet runs none.
alive() { [ -n "$pid" ] && tr '\\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$2 serve"; }
"""

_STOP: Final = (
    _ALIVE
    + """\
alive "$@" || exit 0
kill "$pid"
for _ in $(seq 150); do alive "$@" || exit 0; sleep 0.1; done
kill -9 "$pid"
"""
)

_KEPT: Final = 'systemctl is-active --quiet "$1" && systemctl is-enabled --quiet "$1"'

_SYSTEMD: Final = """\
systemctl daemon-reload >&2 && systemctl enable --quiet "$1" >&2 || exit 1
if [ "$2" = restart ]; then systemctl restart "$1" >&2; else systemctl start "$1" >&2; fi
"""


def start_libvirtd(root: Target, facts: Facts) -> bool:
    """Start libvirtd where it does not run; whether it had to. Raises Failed."""
    if facts.libvirt:
        return False
    result = script(root, _LIBVIRTD)
    return bool(
        must(result, "starting libvirtd", hint="See `journalctl -u libvirtd`, or run `libvirtd` there by hand.")
    )


def start(root: Target, layout: Layout, *, systemd: bool) -> list[str]:
    """Have the daemon run, and run the program that is installed now; what was changed. Raises Failed."""
    changed = []
    # The pid file is written at the start: a program newer than it is not the one that runs.
    outdated = script(root, '[ -e "$2" ] && [ "$1" -nt "$2" ]', layout.program, layout.pid_file).ok
    if systemd:
        text = script(root, 'cat -- "$1" 2>/dev/null', layout.unit).out
        fresh = text != layout.unit_text
        if fresh:
            put(root, layout.unit_text.encode(), layout.unit, 0o644)
            changed.append("unit")
        if fresh or outdated or not script(root, _KEPT, UNIT).ok:
            # A daemon that was started by hand would hold the lock.
            stop(root, layout, systemd=False)
            result = script(root, _SYSTEMD, UNIT, "restart" if fresh or outdated else "start")
            must(result, f"starting {UNIT}", hint=f"See `journalctl -u {UNIT}` on the host.")
            changed.append("daemon")
    elif outdated:
        stop(root, layout, systemd=False)
    # The relay waits for the daemon, and starts it where no systemd does.
    served = script(root, _ALIVE + 'alive "$@"', layout.pid_file, layout.program).ok
    result = root.run([layout.program, "relay", *layout.options])
    if not result.ok:
        raise Failed(
            f"hostd does not start on {root.name}: {result.said}",
            hint=f"Its own words are in {layout.state}/hostd.log, or in `journalctl -u {UNIT}`.",
        )
    if not served and not systemd:
        changed.append("daemon")
    return changed


def stop(root: Target, layout: Layout, *, systemd: bool) -> None:
    """Have no daemon run. Guests go on. Raises Failed."""
    if systemd:
        text = 'systemctl cat "$1" >/dev/null 2>&1 || exit 0; systemctl disable --now "$1" >&2'
        must(script(root, text, UNIT), f"stopping {UNIT}", hint=f"See `systemctl status {UNIT}` on the host.")
    must(script(root, _STOP, layout.pid_file, layout.program), "stopping hostd")


def uninstall(root: Target, layout: Layout, *, systemd: bool) -> None:
    """Stop the daemon, remove the program and its unit. Guests go on. Raises Failed."""
    # First the program: a relay that finds the daemon dead would start it again.
    text = 'rm -f -- "$1" && { rmdir -- "$(dirname -- "$1")" 2>/dev/null; true; }'
    must(script(root, text, layout.program), f"removing {layout.program}")
    stop(root, layout, systemd=systemd)
    if systemd:
        must(script(root, 'rm -f -- "$1" && systemctl daemon-reload', layout.unit), f"removing {UNIT}")
    text = '[ "$(readlink -- "$2")" != "$1" ] || rm -f -- "$2"; rm -rf -- "$3"'
    must(script(root, text, layout.program, layout.command, layout.run), f"removing {layout.run}")


def release(root: Target, layout: Layout, *, keep_data: bool) -> None:
    """Let a host that holds nothing of its cloud any more join another. Raises Failed.

    The journal goes: it pins the cloud, and its generations are of no further use. The host's uuid and the image cache
    stay, unless not `keep_data`: then all that hostd stored goes.
    """
    if keep_data:
        text = 'rm -f -- "$1/journal.db" "$1/journal.db-wal" "$1/journal.db-shm"'
    else:
        # The directory itself may be a file system's mount point.
        text = 'find "$1" -xdev -mindepth 1 -delete || exit 1; rmdir -- "$1" 2>/dev/null; true'
    must(script(root, text, layout.state), f"clearing {layout.state}")
