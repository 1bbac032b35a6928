"""`skydeck hypervisor`: hosts as openstack's client shows their resources."""

from __future__ import annotations

from typing import Any

from tui.cli.caller import caller
from tui.cli.commands import add_list, add_show, group, shows
from tui.cli.noun import Filter, Noun, Row, column, long
from tui.cli.nouns.hosts import HOST, status

HYPERVISOR = Noun(
    kind="host",
    word="hypervisor",
    columns=(
        column("ID", "id"),
        column("Hypervisor Hostname", "name"),
        column("Hypervisor Type", lambda row: "QEMU"),
        column("Host IP", "address", human=lambda address: address or "local"),
        column("State", "state"),
        long("vCPUs Used", "vcpus_used", right=True),
        long("vCPUs", "vcpus", right=True),
        long("Memory MB Used", "ram_mb_used", right=True),
        long("Memory MB", "ram_mb", right=True),
    ),
    fields=(
        column("cpu_info", "cpu_model"),
        column("free_disk_gb", lambda row: row["disk_gb"] - row["disk_gb_used"]),
        column("free_ram_mb", lambda row: row["ram_mb"] - row["ram_mb_used"]),
        column("host_ip", "address", human=lambda address: address or "local"),
        column("hypervisor_hostname", "name"),
        column("hypervisor_type", lambda row: "QEMU"),
        column("id", "id"),
        column("local_gb", "disk_gb"),
        column("local_gb_used", "disk_gb_used"),
        column("memory_mb", "ram_mb"),
        column("memory_mb_used", "ram_mb_used"),
        column("running_vms", "running"),
        column("state", "state"),
        column("status", status),
        column("vcpus", "vcpus"),
        column("vcpus_used", "vcpus_used"),
    ),
    find=HOST.find,
    filters=(Filter(option="--state", column="state", help="up or down."),),
)

_SUMS = {
    "disk_available_least": "disk_free_gb",
    "local_gb": "disk_gb",
    "local_gb_used": "disk_gb_used",
    "memory_mb": "ram_mb",
    "memory_mb_used": "ram_mb_used",
    "running_vms": "running",
    "vcpus": "vcpus",
    "vcpus_used": "vcpus_used",
}
"""Statistic to the hosts' column it is the sum of."""

_FREE = {"free_disk_gb": ("local_gb", "local_gb_used"), "free_ram_mb": ("memory_mb", "memory_mb_used")}

STATS = Noun(
    kind="host",
    word="hypervisor stats",
    columns=(),
    fields=tuple(column(name, name) for name in sorted(["count", *_SUMS, *_FREE])),
    find=HOST.find,
)

app = group("Resources of hosts.")
add_list(app, HYPERVISOR, help="List hypervisors (admin).")
add_show(app, HYPERVISOR, help="Show a hypervisor (admin).")

stats = group("Resources of all hosts together.")
app.add_typer(stats, name="stats")


@stats.callback()
def _stats() -> None:
    """Resources of all hosts together."""


@stats.command("show")
@shows(STATS)
def show_stats() -> Row:
    """Sum up the resources of all hosts (admin)."""
    from core import listing
    from core.lists import HOSTS

    with caller().read() as (session, ctx):
        rows = listing.page(session, ctx, HOSTS)
    total: dict[str, Any] = {name: sum(row[source] for row in rows) for name, source in _SUMS.items()}
    total |= {name: total[have] - total[used] for name, (have, used) in _FREE.items()}
    return {"count": len(rows), **total}
