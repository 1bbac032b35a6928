"""`skydeck storage`: the places volumes are kept in, and what each host stores."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, shows
from tui.cli.noun import Noun, Row, column, entries, listed, long, moment
from tui.cli.nouns.hosts import HostName
from tui.cli.nouns.volumes.noun import NewName
from tui.cli.options import DescriptionOption, pairs
from tui.storage import GIB, Stored, stored
from tui.text import size


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.volumes import backends

    return listed(session, ctx, "backend", backends.find(session, ctx, name).id)


def _status(row: Row) -> str:
    return "enabled" if row["enabled"] else "disabled"


BACKEND = Noun(
    kind="backend",
    word="storage backend",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Driver", "driver"),
        column("Status", _status),
        column("Zone", "availability_zone"),
        column("Reached By", "reached"),
        column("Volumes", "volumes", right=True),
        long("Options", "options"),
        long("Description", "description"),
    ),
    fields=(
        column("availability_zone", "availability_zone"),
        moment("created_at", "created_at"),
        column("description", "description"),
        column("disabled_reason", "disabled_reason"),
        column("driver", "driver"),
        column("hosts", "hosts"),
        column("id", "id"),
        column("max_over_subscription_ratio", "max_over_subscription"),
        column("name", "name"),
        column("options", "options"),
        column("reached_by", "reached"),
        column("reserved_percentage", "reserved_percent"),
        column("status", _status),
        column("volumes", "volumes"),
    ),
    find=_find,
)

BackendName = Annotated[str, name_of(BACKEND)]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Of the driver, e.g. path=/srv; may be repeated."),
]
HostsOption = Annotated[
    list[str] | None, typer.Option("--host", metavar="HOST", help="Reached by this one; may be repeated. Else by all.")
]
ZoneOption = Annotated[str | None, typer.Option("--az", "--zone", metavar="ZONE", help="Of a shared one.")]
OverOption = Annotated[
    float | None,
    typer.Option("--max-over-subscription-ratio", metavar="RATIO", help="How many times its room may be promised."),
]
ReservedOption = Annotated[
    int | None, typer.Option("--reserved-percentage", metavar="PERCENT", help="Kept free of volumes.")
]

app = group("The places volumes are kept in.")
backend = group("The places volumes are kept in.")
host = group("What hosts store.")
app.add_typer(backend, name="backend")
app.add_typer(host, name="host")
add_list(backend, BACKEND, help="List backends (admin).")
add_show(backend, BACKEND, help="Show a backend (admin).")


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


@backend.command()
@shows(BACKEND)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    driver: Annotated[str, typer.Option("--driver", metavar="DRIVER", help="file, nfs, lvm, iscsi or rbd.")],
    option: OptionOption = None,
    host: HostsOption = None,
    zone: ZoneOption = None,
    over_subscription: OverOption = None,
    reserved: ReservedOption = None,
    description: DescriptionOption = None,
) -> Row:
    """Create a backend (admin). Secrets stay in files on the hosts: options name them."""
    from core.volumes import backends

    with caller().write() as (session, ctx):
        made = backends.create(
            session,
            ctx,
            name=name,
            driver=driver,
            options=pairs(option, "option"),
            hosts=tuple(host) if host else None,
            **_given(
                availability_zone=zone,
                max_over_subscription=over_subscription,
                reserved_percent=reserved,
                description=description,
            ),
        )
        return _find(session, ctx, made.id)


@backend.command("set")
def set_(
    backend: BackendName,
    name: NewName = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Put new volumes in it, or not.")] = None,
    reason: Annotated[str | None, typer.Option("--disable-reason", metavar="TEXT")] = None,
    option: OptionOption = None,
    host: HostsOption = None,
    all_hosts: Annotated[bool, typer.Option("--all-hosts", help="Reached by all of them.")] = False,
    zone: ZoneOption = None,
    over_subscription: OverOption = None,
    reserved: ReservedOption = None,
    description: DescriptionOption = None,
) -> None:
    """Change a backend (admin). An option without a value, --option KEY=, is forgotten."""
    from core.volumes import backends

    if host and all_hosts:
        raise Invalid("--host and --all-hosts exclude each other", hint="Leave one of them out.")
    if reason is not None and enable is not False:
        raise Invalid("a reason belongs to --disable", hint="skydeck storage backend set --disable BACKEND")
    with caller().write() as (session, ctx):
        found = backends.find(session, ctx, backend)
        options = {key: value for key, value in (found.options | pairs(option, "option")).items() if value}
        backends.set(
            session,
            ctx,
            found.id,
            **_given(
                name=name,
                enabled=enable,
                disabled_reason=reason,
                options=options if option else None,
                hosts=tuple(host) if host else None,
                all_hosts=all_hosts or None,
                availability_zone=zone,
                max_over_subscription=over_subscription,
                reserved_percent=reserved,
                description=description,
            ),
        )


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.volumes import backends

    backends.delete(session, ctx, name)


add_delete(backend, BACKEND, _delete, help="Delete backends that hold no volume.")


# ---------------------------------------------------------------------------- what a host stores


def _pools(found: Stored) -> list[Row]:
    return [
        {
            "backend": pool.backend,
            "driver": pool.driver,
            "shared": pool.shared,
            "reachable": pool.reachable,
            "why_not": pool.detail,
            "total_gb": round(pool.total / GIB, 1),
            "used_gb": round(pool.used / GIB, 1),
            "free_gb": round(pool.free / GIB, 1),
            "promised_gb": pool.promised // GIB,
            "promised_ratio": round(pool.over, 2),
            "max_over_subscription_ratio": pool.most,
            "volumes": pool.volumes,
        }
        for pool in found.pools
    ]


def _pool_lines(pools: list[Row]) -> str:
    lines = []
    for pool in pools:
        if not pool["reachable"]:
            lines.append(f"{pool['backend']} ({pool['driver']}): not reached: {pool['why_not']}")
            continue
        lines.append(
            f"{pool['backend']} ({pool['driver']}): {pool['used_gb']} of {pool['total_gb']} GiB used; "
            f"{pool['volumes']} volumes may grow to {pool['promised_gb']} GiB, "
            f"{pool['promised_ratio']}x of at most {pool['max_over_subscription_ratio']}x"
        )
    return "\n".join(lines)


def _image(row: Row) -> Row:
    return {key: row[key] for key in ("image", "digest", "size", "present", "pinned", "refs")}


def _image_lines(images: list[Row]) -> str:
    return "\n".join(
        f"{image['image'] or image['digest'][:12]}: {size(image['size'])}, "
        f"{image['refs'] or 'no'} disks on it{', pinned' if image['pinned'] else ''}"
        f"{'' if image['present'] else ', not there yet'}"
        for image in images
    )


STORED = Noun(
    kind="host",
    word="host",
    columns=(),
    fields=(
        column("host", "name"),
        column("pools", "pools", human=_pool_lines),
        entries("orphans", "orphans"),
        column("cached_images", "images", human=_image_lines),
    ),
    find=lambda session, ctx, name: {},
)


@host.command("show")
@shows(STORED)
def show(host: HostName) -> Row:
    """Show what a host stores (admin): pools, what they promised, volumes nobody knows of, cached images."""
    from core.hosts import hosts

    with caller().read() as (session, ctx):
        row = listed(session, ctx, "host", hosts.find(session, ctx, host).id)
        found = stored(session, ctx, row)
    orphans = [
        {"id": each.id, "backend": each.backend, "allocated": each.allocated, "why": each.why} for each in found.orphans
    ]
    return {
        "name": row["name"],
        "pools": _pools(found),
        "orphans": orphans,
        "images": [_image(each) for each in found.images],
    }


@host.callback()
def _hosts() -> None:
    """What hosts store."""
