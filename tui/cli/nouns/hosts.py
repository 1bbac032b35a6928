"""`skydeck host`: the hypervisors, enrolled and removed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import output, plans, report, wait
from tui.cli.caller import caller
from tui.cli.commands import add_list, add_show, each, group, leave, name_of, names_of_many
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment, number
from tui.cli.nouns import metrics
from tui.cli.options import Format, FormatOption, WaitOption, pairs
from tui.text import safe


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.hosts import hosts

    found = hosts.find(session, ctx, name)
    ratios = {key: getattr(found, key) for key in ("cpu_ratio", "ram_ratio", "disk_ratio")}
    reserved = {key: getattr(found, key) for key in ("ram_reserved_mb", "disk_reserved_gb", "failed_builds")}
    return listed(session, ctx, "host", found.id) | ratios | reserved | _networking(session, found)


def _networking(session: Any, host: Any) -> Row:
    """Where the host is in the networks, and whether it has confirmed the newest it was told."""
    from core.network import fabric

    told = session.get(fabric.HostNetworking, host.id)
    if told is None:
        said = "nothing to do"
    elif told.error:
        said = "\n".join(part for part in (told.error["title"], told.error.get("hint")) if part)
    else:
        said = "confirmed" if told.applied == told.generation else "being told"
    return {"vtep": fabric.vtep(host), "physnets": host.physnets, "networking": said}


def status(row: Row) -> str:
    return "enabled" if row["enabled"] else "disabled"


HOST = Noun(
    kind="host",
    word="host",
    columns=(
        column("ID", "id"),
        column("Host Name", "name"),
        column("State", "state"),
        column("Status", status),
        column("Zone", "availability_zone"),
        column("Address", "address", human=lambda address: address or "local"),
        number("Servers", "instances"),
        long("vCPUs Used", "vcpus_used", right=True),
        long("vCPUs", "vcpus", right=True),
        long("Memory MB Used", "ram_mb_used", right=True),
        long("Memory MB", "ram_mb", right=True),
        long("Disk GB Used", "disk_gb_used", right=True),
        long("Disk GB", "disk_gb", right=True),
        long("Acceleration", "accel"),
        long("Reason", lambda row: row["disabled_reason"] or (row["state_reason"] if row["state"] != "up" else "")),
    ),
    fields=(
        column("acceleration", "accel"),
        column("address", "address", human=lambda address: address or "local"),
        column("architecture", "arch"),
        column("availability_zone", "availability_zone"),
        column("cpu_allocation_ratio", "cpu_ratio"),
        column("cpu_model", "cpu_model"),
        moment("created_at", "created_at"),
        column("disabled_reason", "disabled_reason"),
        column("disk_allocation_ratio", "disk_ratio"),
        column("disk_gb", "disk_gb"),
        column("disk_gb_used", "disk_gb_used"),
        column("failed_builds", "failed_builds"),
        column("id", "id"),
        column("load", "load1"),
        column("memory_mb", "ram_mb"),
        column("memory_mb_used", "ram_mb_used"),
        column("name", "name"),
        column("networking", "networking"),
        column("physical_networks", "physnets"),
        column("port", "port"),
        column("ram_allocation_ratio", "ram_ratio"),
        column("reserved_disk_gb", "disk_reserved_gb"),
        column("reserved_memory_mb", "ram_reserved_mb"),
        column("running_vms", "running"),
        moment("seen_at", "seen_at"),
        column("servers", "instances"),
        column("ssh_user", "ssh_user"),
        column("state", "state"),
        column("state_reason", "state_reason"),
        column("status", status),
        column("tunnel_endpoint", "vtep"),
        column("vcpus", "vcpus"),
        column("vcpus_used", "vcpus_used"),
        column("versions", "versions"),
    ),
    find=_find,
    filters=(
        Filter(option="--state", column="state", help="up or down."),
        Filter(option="--zone", column="availability_zone", help="In this availability zone."),
    ),
)

CHECKS = (column("Check", "check"), column("Found", "found"), column("Verdict", "verdict"))

app = group("Hosts that run servers.")
add_list(app, HOST, help="List hosts (admin).")
add_show(app, HOST, help="Show a host (admin).")
app.command("metrics", help="Show what a host used, over time (admin).")(metrics.command(HOST, metrics.HOST_COLUMNS))

HostName = Annotated[str, name_of(HOST)]
HostNames = Annotated[list[str], names_of_many(HOST)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Install what is missing without asking.")]
IdentityOption = Annotated[
    Path | None, typer.Option("--identity", "-i", metavar="FILE", help="Your private key; else ssh-agent and ~/.ssh.")
]


@app.command()
def add(
    address: Annotated[str, typer.Argument(metavar="[USER@]ADDRESS", help="Or `local`: this machine.")],
    port: Annotated[int, typer.Option("--port", metavar="N")] = 22,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Else the host's own.")] = None,
    zone: Annotated[str | None, typer.Option("--az", "--zone", metavar="ZONE", help="Availability zone.")] = None,
    host_key: Annotated[
        str | None, typer.Option("--host-key", metavar="KEY", help="Its SHA256:… fingerprint, or key line.")
    ] = None,
    identity: IdentityOption = None,
    yes: YesOption = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Enrol a host, or repair an enrolled one: look what it has, install what is missing, start hostd."""
    from core.hosts import enroll

    at = caller()
    at.json_errors = format is Format.JSON
    ctx = at.who()
    result = enroll.add(
        at.store,
        at.config,
        ctx,
        address=address,
        port=port,
        name=name,
        zone=zone,
        host_key=host_key,
        identity=identity,
        assume_yes=yes,
        ask=_ask,
        tell=report.notice,
    )
    output.many(CHECKS, [_checked(each) for each in result.rows], format=format)
    report.notice(f"host {result.name} ({result.host_id}): {_changes(result.changed)}")


def _checked(row: Any) -> Row:
    return {"check": row.check, "found": row.found, "verdict": str(row.verdict)}


def _changes(changed: tuple[str, ...]) -> str:
    return f"changed {', '.join(changed)}" if changed else "all was so already"


def _ask(question: str) -> bool:
    """A question of several lines, put on the terminal. No terminal, no consent."""
    if not sys.stdin.isatty():
        for line in question.splitlines():
            report.notice(line)
        return False
    print("\n".join(safe(line) for line in question.splitlines()), file=sys.stderr)
    return typer.confirm("Go on?", default=False, err=True)


@app.command("set")
def set_(
    host: HostName,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Place servers on it, or not.")] = None,
    reason: Annotated[str | None, typer.Option("--disable-reason", metavar="TEXT")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    zone: Annotated[str | None, typer.Option("--az", "--zone", metavar="ZONE", help="Availability zone.")] = None,
    cpu: Annotated[float | None, typer.Option("--cpu-allocation-ratio", metavar="RATIO")] = None,
    ram: Annotated[float | None, typer.Option("--ram-allocation-ratio", metavar="RATIO")] = None,
    disk: Annotated[float | None, typer.Option("--disk-allocation-ratio", metavar="RATIO")] = None,
    reserved_ram: Annotated[int | None, typer.Option("--reserved-memory-mb", metavar="MIB")] = None,
    reserved_disk: Annotated[int | None, typer.Option("--reserved-disk-gb", metavar="GIB")] = None,
    vtep: Annotated[
        str | None,
        typer.Option("--vtep", metavar="ADDRESS", help="Where others' tunnels reach it; empty: its SSH address."),
    ] = None,
    physnet: Annotated[
        list[str] | None,
        typer.Option(
            "--physnet",
            metavar="NAME=INTERFACE",
            help="The interface or bridge that leads to a physical network; NAME= forgets it. May be repeated.",
        ),
    ] = None,
) -> None:
    """Change what an operator decides about a host (admin)."""
    from core.hosts import hosts

    if reason is not None and enable is not False:
        raise Invalid("a reason belongs to --disable", hint="skydeck host set --disable --disable-reason TEXT HOST")
    ratios = {"cpu": cpu, "ram": ram, "disk": disk}
    reserved = {"ram_mb": reserved_ram, "disk_gb": reserved_disk}
    with caller().write() as (session, ctx):
        led = hosts.find(session, ctx, host).physnets | pairs(physnet, "physnet")
        hosts.update_host(
            session,
            ctx,
            host,
            enabled=enable,
            disabled_reason=reason,
            name=name,
            availability_zone=zone,
            ratios={key: value for key, value in ratios.items() if value is not None},
            reserved={key: value for key, value in reserved.items() if value is not None},
            vtep=vtep,
            physnets={name: interface for name, interface in led.items() if interface} if physnet else None,
        )


@app.command()
def repair(
    names: HostNames,
    networking: Annotated[bool, typer.Option("--networking", help="All that belongs to networks.")] = False,
    wait_: WaitOption = False,
) -> None:
    """Have hosts look at what they have again, and mend what is not as it should be (admin)."""
    if not networking:
        raise Invalid("nothing was named that is to be mended", hint="skydeck host repair --networking HOST")

    def one(name: str) -> Any:
        from core.hosts import findings

        with caller().write() as (session, ctx):
            operation = findings.repair_networking(session, ctx, name)
        report.notice(f"host {operation.object_name}: repair accepted, operation {operation.id[:8]}")
        return operation

    accepted, status = each(names, one)
    leave(max(status, wait.finish(accepted)) if wait_ and accepted else status)


@app.command()
def remove(
    names: HostNames,
    login: Annotated[str | None, typer.Option("--login", "-l", metavar="USER", help="For the work, as in add.")] = None,
    identity: IdentityOption = None,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also what hostd stored there: images, disks, its journal.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Forget one that cannot be reached, unasked.")] = False,
) -> None:
    """Remove hosts that hold no server, and take hostd off them (admin)."""
    from core.hosts import enroll

    at = caller()
    ctx = at.who()

    def one(name: str) -> None:
        result = enroll.remove(
            at.store,
            at.config,
            ctx,
            name,
            ask=_ask,
            tell=report.notice,
            keep_data=not delete_data,
            assume_yes=yes,
            user=login,
            identity=identity,
        )
        report.notice(f"host {result.name}: removed")

    leave(each(names, one)[1])


@app.command()
def maintain(
    host: HostName,
    end: Annotated[bool, typer.Option("--end", help="It is over: start what it stopped.")] = False,
    dry_run: plans.DryRunOption = False,
    yes: plans.YesOption = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Place no more servers on a host and shut those on it down, by a plan (admin)."""
    plans.carry_out("host.resume" if end else "host.maintain", host, dry_run=dry_run, yes=yes, format=format)
