"""The verbs that change servers, one or many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import report
from tui.cli.accepted import operate
from tui.cli.caller import caller
from tui.cli.commands import each, leave
from tui.cli.nouns.instances.noun import ServerName, ServerNames
from tui.cli.options import AllProjectsOption, PropertyOption, UnsetOption, WaitOption, pairs

# ---------------------------------------------------------------------------- operations on many


def power(verb: str) -> Callable[..., None]:
    """The command of a power verb that takes no options of its own."""

    def run(names: list[str], wait_: bool = False, all_projects: bool = False) -> None:
        _power(names, verb, until_done=wait_, all_projects=all_projects)

    run.__annotations__ = {"names": ServerNames, "wait_": WaitOption, "all_projects": AllProjectsOption, "return": None}
    return run


def _power(names: list[str], verb: str, *, until_done: bool, all_projects: bool = False) -> None:
    from core.compute.instances import verbs

    operate(
        names,
        lambda session, ctx, name: verbs.power(session, ctx, name, verb),
        word="server",
        doing=verb.replace("_", " "),
        until_done=until_done,
        all_projects=all_projects,
    )


def reboot(
    names: ServerNames,
    hard: Annotated[bool, typer.Option("--hard/--soft", help="Cut the power, or ask the guest (the default).")] = False,
    wait_: WaitOption = False,
    all_projects: AllProjectsOption = False,
) -> None:
    """Reboot servers."""
    _power(names, "reboot_hard" if hard else "reboot_soft", until_done=wait_, all_projects=all_projects)


def delete(names: ServerNames, wait_: WaitOption = False, all_projects: AllProjectsOption = False) -> None:
    """Delete servers, in whatever state they are."""
    from core.compute.instances import verbs

    operate(names, verbs.delete, word="server", doing="delete", until_done=wait_, all_projects=all_projects)


# ---------------------------------------------------------------------------- changes of the record


def _change(names: list[str], act: Callable[[Any, Any, str], Any], *, done: str) -> None:
    def one(name: str) -> None:
        with caller().write() as (session, ctx):
            act(session, ctx, name)
        report.notice(f"server {name}: {done}")

    leave(each(names, one)[1])


def lock(names: ServerNames, reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT")] = None) -> None:
    """Lock servers: only an admin changes them, until they are unlocked."""
    from core.compute.instances import verbs

    _change(names, lambda session, ctx, name: verbs.lock(session, ctx, name, reason=reason), done="locked")


def unlock(names: ServerNames) -> None:
    """Unlock servers."""
    from core.compute.instances import verbs

    _change(names, verbs.unlock, done="unlocked")


def set_(
    server: ServerName,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it; its hostname stays.")] = None,
    property: PropertyOption = None,
) -> None:
    """Change a server's name or properties."""
    from core.compute.instances import verbs

    values = pairs(property)
    if name is None and not values:
        raise Invalid("nothing to set was named", hint="--name NAME or --property KEY=VALUE.")
    with caller().write() as (session, ctx):
        found = verbs.find(session, ctx, server, rule="instance:set")
        if values:
            verbs.set_properties(session, ctx, found.id, values)
        if name is not None:
            verbs.rename(session, ctx, found.id, name)


def unset(server: ServerName, property: UnsetOption = None) -> None:
    """Remove properties of a server."""
    from core.compute.instances import verbs

    with caller().write() as (session, ctx):
        verbs.set_properties(session, ctx, server, {}, unset=tuple(property or ()))
