"""`skydeck security group`: what may reach servers, and what they may reach."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, shows
from tui.cli.noun import Noun, Row, column, listed, moment, number
from tui.cli.nouns.security_group_rules import app as rules
from tui.cli.options import DescriptionOption


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core import listing
    from core.lists import LISTINGS
    from core.network import security_groups

    found = security_groups.find(session, ctx, name)
    row = listed(session, ctx, "security_group", found.id)
    of_group = {"security_group_id": found.id}
    wide = dataclasses.replace(ctx, all_projects=ctx.is_admin)
    rules = listing.page(session, wide, LISTINGS["security_group_rule"], where=of_group)
    return row | {"rules": [_as_neutron(rule) for rule in rules]}


_NEUTRONS = (
    "id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix",
    "remote_group_id", "description",
)  # fmt: skip


def _as_neutron(rule: Row) -> dict[str, Any]:
    return {key: rule[key] for key in _NEUTRONS}


def _shown_rules(rules: list[dict[str, Any]]) -> str:
    """A line each, of what is set."""
    return "\n".join(", ".join(f"{key}='{rule[key]}'" for key in _NEUTRONS if rule[key] is not None) for rule in rules)


SECURITY_GROUP = Noun(
    kind="security_group",
    word="security group",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Description", "description"),
        column("Project", "project_id"),
        number("Rules", "rules", long=True),
        number("Ports", "ports", long=True),
    ),
    fields=(
        moment("created_at", "created_at"),
        column("description", "description"),
        column("id", "id"),
        column("name", "name"),
        column("ports", "ports"),
        column("project_id", "project_id"),
        column("rules", "rules", human=_shown_rules),
    ),
    find=_find,
)

app = group("What may reach servers, and what they may reach.")
groups = group("Groups of ports, and the rules that allow them something.")
app.add_typer(groups, name="group")
groups.add_typer(rules, name="rule")
add_list(groups, SECURITY_GROUP, help="List security groups.")
add_show(groups, SECURITY_GROUP, help="Show a security group with its rules.")

GroupName = Annotated[str, name_of(SECURITY_GROUP)]


@groups.command()
@shows(SECURITY_GROUP)
def create(name: Annotated[str, typer.Argument(metavar="NAME")], description: DescriptionOption = None) -> Row:
    """Create a security group that lets everything out and nothing in."""
    from core.network import security_groups

    with caller().write() as (session, ctx):
        made = security_groups.create(session, ctx, name=name, description=name if description is None else description)
        return _find(session, ctx, made.id)


@groups.command("set")
def set_(
    security_group: GroupName,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    description: DescriptionOption = None,
) -> None:
    """Change a security group's name or description."""
    from core.network import security_groups

    with caller().write() as (session, ctx):
        security_groups.set(session, ctx, security_group, name=name, description=description)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import security_groups

    security_groups.delete(session, ctx, name)


add_delete(groups, SECURITY_GROUP, _delete, help="Delete security groups that no port is in.")
