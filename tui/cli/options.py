"""Options that many commands share, and how a command gets options it does not write down itself.

Typer reads a function's signature; `extended` gives a function a longer one, so that lists and shows are written once
and a noun's filters are data.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import Invalid


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    VALUE = "value"


FormatOption = Annotated[Format, typer.Option("-f", "--format", help="How to print the result.", show_default=False)]
ColumnOption = Annotated[
    list[str] | None, typer.Option("-c", "--column", metavar="COLUMN", help="Print this column only; may be repeated.")
]
ProjectOption = Annotated[
    str | None, typer.Option("--project", metavar="PROJECT", help="Of this project, by name or id.")
]
AllProjectsOption = Annotated[bool, typer.Option("--all-projects", help="Of all projects (admin).")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until it is done; a failure exits with 9.")]
PropertyOption = Annotated[
    list[str] | None, typer.Option("--property", metavar="KEY=VALUE", help="Set a property; may be repeated.")
]
UnsetOption = Annotated[
    list[str] | None, typer.Option("--property", metavar="KEY", help="Remove a property; may be repeated.")
]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT")]


def option(name: str, kind: Any, *decls: str, default: Any = None, **settings: Any) -> inspect.Parameter:
    """One more parameter for a signature."""
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, typer.Option(*decls, **settings)],
    )


def output_options() -> tuple[inspect.Parameter, ...]:
    """`-f` and `-c`, arriving as `format` and `columns`."""
    return (
        inspect.Parameter("format", inspect.Parameter.KEYWORD_ONLY, default=Format.TABLE, annotation=FormatOption),
        inspect.Parameter("columns", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ColumnOption),
    )


def extended(
    run: Callable[..., None], own: Callable[..., Any], more: Iterable[inspect.Parameter]
) -> Callable[..., None]:
    """`run`, showing the signature and the docstring of `own` with `more` parameters behind."""
    signature = inspect.signature(own, eval_str=True)
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]

    @functools.wraps(own)
    def command(**values: Any) -> None:
        run(**values)

    del command.__wrapped__
    combined = inspect.Signature([*parameters, *more])
    command.__signature__ = combined  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in combined.parameters.items()}
    return command


def pairs(values: Iterable[str] | None, what: str = "property") -> dict[str, str]:
    """`key=value` texts to a dict. Raises Invalid."""
    found: dict[str, str] = {}
    for text in values or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise Invalid(f"{what} {text!r} is not KEY=VALUE", hint=f"For example --{what} name=value.")
        found[key] = value
    return found


def parts(
    text: str, what: str, *, needs: Iterable[str] = (), takes: Iterable[str] = (), example: str
) -> dict[str, str]:
    """`key=value,key=value` with all keys of `needs`, and of `takes` what one likes. Raises Invalid."""
    needed = set(needs)
    wrong = Invalid(f"{what} {text!r} cannot be understood", hint=f"For example --{what} {example}")
    try:
        found = pairs(text.split(","), what)
    except Invalid as bad:
        raise wrong from bad
    if not needed <= found.keys() <= needed | set(takes):
        raise wrong
    return found


def routes(values: Iterable[str] | None, what: str) -> tuple[tuple[str, str], ...]:
    """`destination=CIDR,gateway=IP` texts to (destination, next hop) each. Raises Invalid."""
    example = "destination=10.9.0.0/16,gateway=10.1.0.254"
    found = (parts(text, what, needs=("destination", "gateway"), example=example) for text in values or ())
    return tuple((each["destination"], each["gateway"]) for each in found)


def contents(path: str, what: str) -> bytes:
    """A file's bytes. Raises Invalid naming the file."""
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as bad:
        raise Invalid(f"the {what} {path} cannot be read: {bad.strerror}") from bad
