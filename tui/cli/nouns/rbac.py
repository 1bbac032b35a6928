"""`skydeck network rbac`: whom a network is shared with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.network import rbac

    return listed(session, ctx, "rbac_policy", rbac.find(session, ctx, name).id)


def _network(session: Any, ctx: Any, name: str) -> str:
    from core.network import networks

    return networks.find(session, ctx, name).id


RBAC_POLICY = Noun(
    kind="rbac_policy",
    word="network rbac",
    columns=(
        column("ID", "id"),
        column("Object Type", "object_type"),
        column("Object ID", "object_id"),
        long("Object Name", "network"),
        long("Action", "action"),
        long("Target Project", "target_project"),
        long("Project", "project_id"),
    ),
    fields=(
        column("action", "action"),
        moment("created_at", "created_at"),
        column("id", "id"),
        column("object_id", "object_id"),
        column("object_name", "network"),
        column("object_type", "object_type"),
        column("project_id", "project_id"),
        column("target_project_id", "target_project"),
    ),
    find=_find,
    filters=(
        Filter(option="--network", column="object_id", help="About this network.", resolve=_network),
        Filter(option="--action", column="action", help="access_as_shared or access_as_external."),
        Filter(option="--target-project", column="target_project", help="For the project of this id; `*`: for all."),
    ),
)

app = group("Whom a network is shared with.")
add_list(app, RBAC_POLICY, help="List how networks are shared.")
add_show(app, RBAC_POLICY, help="Show one way a network is shared, by its id.")


@app.command()
@shows(RBAC_POLICY)
def create(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="Name or id.", autocompletion=names_of("network"))],
    action: Annotated[
        str,
        typer.Option("--action", metavar="ACTION", help="access_as_shared (plug in) or access_as_external (go out)."),
    ],
    target_project: Annotated[
        str | None, typer.Option("--target-project", metavar="PROJECT", help="Its id; an admin may name it.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--target-all-projects", help="Every project (admin).")] = False,
    kind: Annotated[str, typer.Option("--type", metavar="TYPE", help="What is shared: network.")] = "network",
) -> Row:
    """Share a network with a project."""
    from core.network import rbac

    if kind != "network":
        raise Invalid(f"a {kind} cannot be shared", hint="--type network")
    if (target_project is None) is not everybody:
        raise Invalid("one target is needed", hint="--target-project PROJECT, or --target-all-projects.")
    with caller().write() as (session, ctx):
        made = rbac.create(session, ctx, network=network, action=action, target_project=target_project or rbac.EVERYONE)
        return _find(session, ctx, made.id)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import rbac

    rbac.delete(session, ctx, name)


add_delete(app, RBAC_POLICY, _delete, help="Share networks no longer, by the ids of how they were shared.")
