"""What this host's kernel can do for a firewall on bridges, and the switches that must stand right for it."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Final

from hostd.network import nft
from hostd.network.firewall import expressions as nf
from hostd.network.firewall.rules import Backend
from hostd.spec import ErrorCode, HostError

_BRIDGE: Final = Path("/proc/sys/net/bridge")
SWITCHES: Final = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables")
"""br_netfilter's global switches. On, they would put every bridge's frames, also others', through the host's own
firewall; ours are switched on bridge by bridge."""


@functools.cache
def backend() -> Backend:
    """How replies are recognised on this host's bridges: asked of the kernel, once. Raises HostError(NETWORK)."""
    part = {"family": "bridge", "table": "skydeck-probe"}
    reply = nf.match({"ct": {"key": "state"}}, "established", "in")
    asked = (
        nf.rule(nf.vmap(nf.meta("ibrname"), "zones")),
        nf.rule(reply, nf.ACCEPT),
        nf.rule(nf.mangle({"ct": {"key": "zone"}}, 1)),
    )
    probe: list[nft.Json] = [
        {"add": {"table": {"family": "bridge", "name": "skydeck-probe"}}},
        {"add": {"map": {**part, "name": "zones", "type": "ifname", "map": "verdict"}}},
        {"add": {"chain": {**part, "name": "probe", **nf.hooked("prerouting", -300)}}},
        *({"add": {"rule": {**part, "chain": "probe", **rule}}} for rule in asked),
    ]
    return Backend.BRIDGE_CONNTRACK if nft.accepts(probe) else Backend.BR_NETFILTER


def switched_on() -> tuple[str, ...]:
    """Those of `SWITCHES` that are on."""
    return tuple(name for name in SWITCHES if (_BRIDGE / name).exists() and (_BRIDGE / name).read_text().strip() != "0")


def prepared(backend: Backend) -> bool:
    """Whether what the backend needs of the kernel is loaded."""
    return backend is Backend.BRIDGE_CONNTRACK or _BRIDGE.exists()


def prepare(backend: Backend) -> None:
    """Load what the backend needs, and switch off what would reach beyond our bridges. Raises HostError(NETWORK)."""
    if not prepared(backend):
        # Loading it switches all bridges on, until the lines below.
        done = subprocess.run(["modprobe", "br_netfilter"], capture_output=True, text=True, check=False)
        if not _BRIDGE.exists():
            raise HostError(
                ErrorCode.NETWORK,
                f"the kernel cannot filter bridges: {done.stderr.strip() or 'br_netfilter did not load'}",
                hint="It needs the module br_netfilter, or conntrack on bridges (nf_conntrack_bridge).",
            )
    for name in switched_on():
        (_BRIDGE / name).write_text("0")
