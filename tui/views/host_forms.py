"""The forms of a host: enrolling one, and what an operator decides about it."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.verbs import Row
from tui.view import Field, Form, Handed, Holds, Loaded
from tui.views.policy import needs_role
from tui.views.wires import handle

LOCAL = "local"


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    from core import listing
    from core.lists import LISTINGS

    if refused := needs_role("host:manage")(ctx, row or {}):
        return Loaded(values={}, problem=refused)
    first = not listing.count(session, ctx, LISTINGS["host"])
    return Loaded(
        values={
            "address": LOCAL if first else "",
            "name": "",
            "zone": "",
            "port": "22",
            "identity": "",
            "host_key": "",
        }
    )


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    """What can be said before the host is reached; the command does the rest, and asks."""
    from core.errors import Invalid
    from core.identity.policy import authorize

    authorize(ctx, "host:manage")
    if not values["address"].strip():
        raise Invalid("an address is needed", hint="A name or IP, with USER@ before it or not; local: this machine.")
    if not values["port"].strip().isdecimal():
        raise Invalid(f"{values['port']!r} is no port", hint="For example 22.")
    return "enrolled"


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("host", "add").option("--port", values["port"].strip(), usual="22")
    line.option("--name", values["name"].strip()).option("--az", values["zone"].strip())
    line.option("--host-key", values["host_key"].strip()).option("--identity", values["identity"].strip())
    return [line.end(values["address"].strip())]


ADD = Form(
    title="Enrol host",
    fields=(
        Field(name="address", label="address", hint="[USER@]ADDRESS; local: this machine"),
        Field(name="name", label="name", hint="empty: the host's own"),
        Field(name="zone", label="zone", word="availability_zone", hint="empty: nova"),
        Field(name="port", label="SSH port", holds=Holds.NUMBER),
        Field(name="identity", label="private key", hint="a file; empty: ssh-agent and ~/.ssh"),
        Field(name="host_key", label="host key", hint="SHA256:… fingerprint; empty: you are asked"),
    ),
    load=_load,
    submit=_submit,
    command=_command,
    handed=Handed.IN_FRONT,
)


# ---------------------------------------------------------------------------- changing

_NUMBERS = {
    "cpu": "--cpu-allocation-ratio",
    "ram": "--ram-allocation-ratio",
    "disk": "--disk-allocation-ratio",
    "reserved_ram": "--reserved-memory-mb",
    "reserved_disk": "--reserved-disk-gb",
}
"""Field to the option of the command line."""


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    from core.hosts import hosts

    assert row is not None
    found = hosts.find(session, ctx, row["id"])
    return Loaded(
        values={
            "id": found.id,
            "name": found.name,
            "zone": found.availability_zone,
            "cpu": f"{found.cpu_ratio:g}",
            "ram": f"{found.ram_ratio:g}",
            "disk": f"{found.disk_ratio:g}",
            "reserved_ram": str(found.ram_reserved_mb),
            "reserved_disk": str(found.disk_reserved_gb),
            "vtep": found.vtep or "",
            "physnets": ", ".join(f"{name}={interface}" for name, interface in sorted(found.physnets.items())),
        },
        facts={"handle": handle(session, ctx, "host", row)},
    )


def _number(values: dict[str, str], field: str, kind: type[int] | type[float]) -> Any:
    from core.errors import Invalid

    try:
        return kind(values[field])
    except ValueError as bad:
        raise Invalid(f"{values[field]!r} is no number", hint="For example 16.") from bad


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.hosts import hosts
    from tui.views.wires import properties

    with store.write() as session:
        changed = hosts.update_host(
            session,
            ctx,
            values["id"],
            name=values["name"].strip(),
            availability_zone=values["zone"].strip(),
            ratios={what: _number(values, what, float) for what in ("cpu", "ram", "disk")},
            reserved={
                "ram_mb": _number(values, "reserved_ram", int),
                "disk_gb": _number(values, "reserved_disk", int),
            },
            vtep=values["vtep"].strip(),
            physnets=properties(values["physnets"]),
        )
        return f"host {changed.name} changed"


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    from tui.views.wires import changed_properties, properties

    line, changes = command("host", "set"), Changes(loaded.values, values)
    for field, option in (("name", "--name"), ("zone", "--az"), ("vtep", "--vtep"), *_NUMBERS.items()):
        changes.option(line, option, field)
    given, gone = changed_properties(properties(loaded.values["physnets"]), properties(values["physnets"]))
    line.each("--physnet", (f"{name}={interface}" for name, interface in given.items()))
    line.each("--physnet", (f"{name}=" for name in gone))
    return [line.end(loaded.facts["handle"])]


EDIT = Form(
    title="Change host",
    fields=(
        Field(name="name", label="name"),
        Field(name="zone", label="zone", word="availability_zone"),
        Field(name="cpu", label="vCPU ratio", word="cpu_allocation_ratio", hint="vCPUs promised for one that is there"),
        Field(name="ram", label="RAM ratio", word="ram_allocation_ratio"),
        Field(name="disk", label="disk ratio", word="disk_allocation_ratio"),
        Field(name="reserved_ram", label="kept RAM", word="reserved_memory_mb", hint="MiB", holds=Holds.NUMBER),
        Field(name="reserved_disk", label="kept disk", word="reserved_disk_gb", hint="GiB", holds=Holds.NUMBER),
        Field(name="vtep", label="tunnels at", word="vtep", hint="empty: its SSH address"),
        Field(name="physnets", label="leads to", word="physnets", hint="NAME=INTERFACE, by comma", holds=Holds.PAIRS),
    ),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)
