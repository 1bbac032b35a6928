"""The commands every noun shares, written once: list, show, delete, and doing one thing to many."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeVar

import typer

from core.errors import Invalid, SkydeckError
from tui.cli import output, report
from tui.cli.caller import Caller, caller
from tui.cli.noun import Filter, Noun, Row
from tui.cli.options import AllProjectsOption, Format, ProjectOption, extended, option, output_options
from tui.text import safe

T = TypeVar("T")

COMPLETIONS = 100
"""Names offered at most: nobody reads more."""


def group(help: str) -> typer.Typer:
    """A noun's commands. Alone, it shows its help."""
    return typer.Typer(help=help, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def single() -> typer.Typer:
    """A noun that is its own only command."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


def names_of(kind: str) -> Callable[[str], list[str]]:
    """Completes names of existing objects. What cannot be read completes nothing: a Tab is no place for errors."""

    def complete(incomplete: str) -> list[str]:
        from core import listing
        from core.lists import LISTINGS

        own = Caller()
        try:
            if not own.config.home.exists():
                return []
            with own.read() as (session, ctx):
                wanted = LISTINGS[kind]
                rows = listing.page(session, ctx, wanted, limit=COMPLETIONS, text=incomplete.removeprefix("!"))
        except SkydeckError:
            return []
        finally:
            own.close()
        return [name for row in rows if (name := safe(row[wanted.name])) and name.startswith(incomplete)]

    return complete


def name_of(noun: Noun) -> Any:
    """What an argument that names one object is annotated with."""
    return typer.Argument(metavar=noun.metavar, help="Name or id.", autocompletion=names_of(noun.kind))


def names_of_many(noun: Noun) -> Any:
    """What an argument that names one or more objects is annotated with."""
    return typer.Argument(metavar=f"{noun.metavar}...", help="Names or ids.", autocompletion=names_of(noun.kind))


# ---------------------------------------------------------------------------- list


def _list_options(
    project: ProjectOption = None,
    all_projects: AllProjectsOption = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="Whose name holds this; `!` inverts.")
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="With more columns.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most this many.")] = None,
    marker: Annotated[str | None, typer.Option("--marker", metavar="ID", help="Those after this one.")] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="COLUMN[:desc]", help="Ordered by these, comma separated.")
    ] = None,
) -> None:
    """The options of every list."""


def add_list(app: typer.Typer, noun: Noun, *, help: str) -> None:
    """`NOUN list`."""

    def run(**values: Any) -> None:
        given = [(each, _typed(value)) for each in noun.filters if (value := values.pop(each.name)) is not None]
        print_list(noun, given=given, **values)

    filters = [_parameter(each) for each in noun.filters]
    app.command("list", help=help)(extended(run, _list_options, [*filters, *output_options()]))


def _parameter(each: Filter) -> inspect.Parameter:
    if each.positional:
        annotation = Annotated[str | None, typer.Argument(metavar=f"[{each.option}]", help=each.help)]
        return inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    return option(each.name, bool | None if each.flag else str | None, each.option, help=each.help)


def _typed(value: str | bool) -> str:
    """A filter's value as text, which listings compare with."""
    return value if isinstance(value, str) else str(value).lower()


def print_list(
    noun: Noun,
    *,
    given: Sequence[tuple[Filter, str]],
    format: Format,
    columns: list[str] | None,
    project: str | None = None,
    all_projects: bool = False,
    name: str | None = None,
    long: bool = False,
    limit: int | None = None,
    marker: str | None = None,
    sort: str | None = None,
) -> None:
    """One page of a noun's listing, printed. Raises Invalid for a column, marker or order that is not."""
    from core import listing
    from core.lists import LISTINGS

    at = caller()
    at.json_errors = format is Format.JSON
    shown = output.chosen(noun.columns, columns, long=long)
    with at.read(project=project, all_projects=all_projects) as (session, ctx):
        rows = listing.page(
            session,
            ctx,
            LISTINGS[noun.kind],
            limit=limit,
            marker=marker,
            sort=_order(noun, sort),
            where={each.column: each.resolve(session, ctx, value) for each, value in given},
            text=name or "",
        )
        noun.fill(session, ctx, rows)
    if all_projects and not columns and not long:
        shown += [each for each in noun.columns if each.header == "Project"]
    output.many(shown, rows, format=format)


def _order(noun: Noun, sort: str | None) -> str | None:
    """`Name:desc` as people read it, to the listing's own names."""
    if sort is None:
        return None
    known = {each.header.lower(): each.sortable for each in noun.columns if each.sortable}
    parts = []
    for part in sort.split(","):
        name, colon, direction = part.strip().partition(":")
        if colon and direction not in ("asc", "desc"):
            raise Invalid(f"an order is asc or desc, not {direction!r}")
        bare = name.removeprefix("-")
        parts.append(name[: len(name) - len(bare)] + (known.get(bare.lower()) or bare) + colon + direction)
    return ",".join(parts)


# ---------------------------------------------------------------------------- show


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command prints: one row, or several as a list; and then its exit status."""

    result: Row | list[Row]
    status: int = 0


def shows(noun: Noun) -> Callable[[Callable[..., Row | Outcome | None]], Callable[..., None]]:
    """Gives a command `-f` and `-c`, and prints what it answers; None prints nothing."""

    def decorate(own: Callable[..., Row | Outcome | None]) -> Callable[..., None]:
        def run(*, format: Format, columns: list[str] | None, **values: Any) -> None:
            caller().json_errors = format is Format.JSON
            answer = own(**values)
            if answer is None:
                return
            outcome = answer if isinstance(answer, Outcome) else Outcome(answer)
            if isinstance(outcome.result, list):
                output.many(output.chosen(noun.columns, columns), outcome.result, format=format)
            else:
                output.one(output.chosen(noun.fields, columns, long=True), outcome.result, format=format)
            leave(outcome.status)

        return extended(run, own, output_options())

    return decorate


def add_show(app: typer.Typer, noun: Noun, *, help: str) -> None:
    """`NOUN show NAME`."""

    def show(name: str) -> Row:
        with caller().read() as (session, ctx):
            return noun.find(session, ctx, name)

    show.__annotations__["name"] = Annotated[str, name_of(noun)]
    app.command("show", help=help)(shows(noun)(show))


# ---------------------------------------------------------------------------- many at once


def each(names: Iterable[str], act: Callable[[str], T]) -> tuple[list[T], int]:
    """(what `act` answered for each name, the exit status of the first refusal or 0). One refusal stops no other."""
    wanted = list(dict.fromkeys(names))
    results: list[T] = []
    status = 0
    for name in wanted:
        try:
            results.append(act(name))
        except SkydeckError as bad:
            at = caller()
            report.refusal(bad, as_json=at.json_errors, debug=at.debug, subject=name if len(wanted) > 1 else "")
            status = status or bad.exit_code
    return results, status


def leave(status: int) -> None:
    """End the command with this exit status."""
    if status:
        raise typer.Exit(status)


def add_delete(
    app: typer.Typer, noun: Noun, delete: Callable[[Any, Any, str], Any], *, help: str, name: str = "delete"
) -> None:
    """`NOUN delete NAME...`, each in a transaction of its own."""

    def run(names: list[str]) -> None:
        def one(name: str) -> None:
            with caller().write() as (session, ctx):
                delete(session, ctx, name)
            report.notice(f"{noun.word} {name}: {name_done}")

        leave(each(names, one)[1])

    name_done = f"{name.removesuffix('e')}ed"
    run.__annotations__["names"] = Annotated[list[str], names_of_many(noun)]
    app.command(name, help=help)(run)
