"""The commands of a noun that has only its view's declaration: list and show from its columns, create and set from its
forms, and a command for each of its verbs.

The forms are the very ones of the app, and `tui.forms.derived` writes the commands that are understood here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from core.errors import Invalid, NotFound
from tui.cli import report
from tui.cli.caller import caller
from tui.cli.commands import add_list, add_show, each, group, leave, names_of
from tui.cli.noun import Column, Noun, Row, column, document
from tui.forms import derived
from tui.verbs import Needs, Verb
from tui.view import Field, Form, Holds, Loaded, View


def app_of(view: View) -> typer.Typer:
    """All commands of a noun."""
    noun = _noun(view)
    app = group(f"{view.title}.")
    add_list(app, noun, help=f"List {view.title.lower()}.")
    add_show(app, noun, help=f"Show one of the {view.title.lower()}.")
    if view.form is not None:
        app.command("create", help=f"{view.form.title}.")(_filled(view, view.form, None))
    for verb in view.verbs:
        word = "set" if verb.name == "edit" else verb.name.replace("_", "-")
        if verb.form is not None:
            app.command(word, help=f"{verb.help}.")(_filled(view, verb.form, noun))
        elif verb.run is not None:
            app.command(word, help=f"{verb.help}.")(_done(view, verb, noun))
    return app


def _noun(view: View) -> Noun:
    from core.lists import LISTINGS

    listing = LISTINGS[view.kind]
    plain = set(listing.plain)
    shown = [each for each in view.columns if each.key]
    columns = [Column(header=_header(each.key), source=each.key, long=each.wide, right=each.right) for each in shown]
    if view.key not in {each.key for each in shown}:
        columns.insert(0, column(_header(view.key), view.key))
    return Noun(
        kind=view.kind,
        word=derived.noun(view).replace("-", " "),
        columns=tuple(columns),
        fields=tuple(column(name, name) if name in plain else document(name, name) for name in sorted(listing.columns)),
        find=lambda session, ctx, name: _find(view, session, ctx, name),
    )


def _header(key: str) -> str:
    return "ID" if key == "id" else key.replace("_", " ").title()


def _find(view: View, session: Any, ctx: Any, name: str) -> Row:
    """By its key, else by its name. Raises NotFound; Invalid for a name that several have."""
    from core import listing
    from core.lists import LISTINGS

    wanted = LISTINGS[view.kind]
    if row := listing.one(session, ctx, wanted, name):
        return row
    found = listing.page(session, ctx, wanted, where={wanted.name: name}, limit=2)
    if len(found) > 1:
        raise Invalid(f"more than one is called {name!r}", hint="Name it by its id.")
    if not found:
        raise NotFound(f"no {view.kind.replace('_', ' ')} {name!r}", hint=f"skydeck {derived.noun(view)} list")
    return found[0]


# ---------------------------------------------------------------------------- forms


def _filled(view: View, form: Form, about: Noun | None) -> Callable[..., None]:
    """A command that fills in a form and submits it; of what is left out, the form's own values stand."""
    arguments: list[inspect.Parameter] = []
    options: list[inspect.Parameter] = []
    for field in form.fields:
        if about is None and field.name == derived.NAME:
            arguments.append(_parameter(field.name, Annotated[str | None, typer.Argument(metavar="NAME")], None))
        else:
            options.append(_option(field))
    if about is not None:
        one = typer.Argument(metavar=about.metavar, help="Name or id.", autocompletion=names_of(view.kind))
        arguments.append(_parameter("_about", Annotated[str, one], inspect.Parameter.empty))

    def run(**given: Any) -> None:
        at, named = caller(), given.pop("_about", None)
        with at.read() as (session, ctx):
            row = _find(view, session, ctx, named) if named is not None else None
            loaded = form.load(session, ctx, row)
        if loaded.problem is not None:
            raise Invalid(loaded.problem[0], hint=loaded.problem[1])
        fields = {field.name: field for field in form.fields}
        said = {name: _text(fields[name], loaded, value) for name, value in given.items() if value not in (None, [])}
        if not said and about is not None:
            raise Invalid("nothing to set was named", hint=f"skydeck {derived.noun(view)} set --help")
        report.notice(form.submit(at.store, at.config, ctx, loaded.values | said))

    return _signed(run, [*arguments, *options], form.title)


def _option(field: Field) -> inspect.Parameter:
    named = derived.option(field)
    kind: Any = str | None
    declared = named
    if field.holds is Holds.FLAG:
        kind, declared = bool | None, f"{named}/{derived.off(named)}"
    elif field.holds is Holds.NUMBER:
        kind = int | None
    elif field.holds is Holds.PAIRS:
        kind = list[str] | None
    return _parameter(field.name, Annotated[kind, typer.Option(declared, help=field.hint or field.label)], None)


def _text(field: Field, loaded: Loaded, value: Any) -> str:
    """A field's text for what was given: a choice by its value, or by what is shown of it. Raises Invalid."""
    text = ", ".join(value) if isinstance(value, list) else str(value)
    choices = loaded.choices.get(field.name)
    if choices is None or text in dict(choices) or field.several:
        return text
    found = [key for key, shown in choices if text in (shown, shown.split("  ")[0])]
    if len(found) != 1:
        raise Invalid(
            f"{field.called} cannot be {text!r}", hint=f"It is one of {', '.join(repr(key) for key, _ in choices)}."
        )
    return found[0]


# ---------------------------------------------------------------------------- verbs


def _done(view: View, verb: Verb, noun: Noun) -> Callable[..., None]:
    """A command that does a verb to one or several, each in a transaction of its own."""
    many = typer.Argument(metavar=f"{noun.metavar}...", help="Names or ids.", autocompletion=names_of(view.kind))
    parameters = [_parameter("names", Annotated[list[str], many], inspect.Parameter.empty)]
    if verb.choices or verb.pick:
        values = ", ".join(choice.value for choice in verb.choices) or "What it is done with."
        default = verb.choices[0].value if verb.choices else inspect.Parameter.empty
        parameters.append(_parameter("how", Annotated[str, typer.Option("--how", help=values)], default))

    def run(names: list[str], how: str = "") -> None:
        assert verb.run is not None
        act = verb.run
        if verb.choices and how not in {choice.value for choice in verb.choices}:
            raise Invalid(f"it cannot be done {how!r}", hint=", ".join(choice.value for choice in verb.choices))

        def one(name: str) -> None:
            at = caller()
            with at.write() as (session, ctx):
                key = _find(view, session, ctx, name)[view.key]
                act(session, ctx, *((at.config,) if verb.configured else ()), key, how)
            report.notice(f"{noun.word} {name}: {verb.done}")

        leave(each(names, one)[1])

    assert verb.needs is not Needs.NOTHING
    return _signed(run, parameters, verb.help)


# ---------------------------------------------------------------------------- signatures


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _signed(run: Callable[..., None], parameters: list[inspect.Parameter], help: str) -> Callable[..., None]:
    """`run` with the signature that Typer is to read."""

    def command(**given: Any) -> None:
        run(**given)

    # Those that must be given come first.
    ordered = sorted(parameters, key=lambda each: each.default is not inspect.Parameter.empty)
    command.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in ordered}
    command.__doc__ = help
    return command
