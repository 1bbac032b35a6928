"""The commands of a form that declares none: made of its fields, as the command line of such a noun is made of them.

`tui.cli.declared` reads the same declaration, so that what is shown here is what is understood there.
"""

from __future__ import annotations

from collections.abc import Sequence

from tui.forms.command import command
from tui.view import Field, Form, Holds, Loaded, View

NAME = "name"
"""The field that is an argument, not an option, of the command that makes one."""


def noun(view: View) -> str:
    """The word of the command line for a noun that has no module of its own."""
    return view.kind.replace("_", "-")


def option(field: Field) -> str:
    """`--flow-rate` of the field `flow_rate`."""
    return f"--{field.called.replace('_', '-')}"


def off(named: str) -> str:
    """`--no-shared` of `--shared`."""
    return f"--no-{named.removeprefix('--')}"


def verb(view: View, form: Form) -> str:
    """What is done to a noun when the form is submitted: `create`, `set`, or as the verb that opens it is called."""
    if view.form is not None and view.form.submit is form.submit:
        return "create"
    name = next((verb.name for verb in view.verbs if verb.form and verb.form.submit is form.submit), "create")
    return "set" if name == "edit" else name.replace("_", "-")


def commands(view: View, form: Form, loaded: Loaded, values: dict[str, str]) -> Sequence[Sequence[str]]:
    """The commands, each its words without `skydeck`. Raises SkydeckError for values that have none."""
    what = verb(view, form)
    if what == "set" and all(values.get(field.name) == loaded.values.get(field.name) for field in form.fields):
        return []  # nothing is changed, which no command does
    if form.command is not None:
        return form.command(loaded, values)
    line = command(noun(view), what)
    for field in form.fields:
        value = values.get(field.name, "").strip()
        if (field.name == NAME and what == "create") or value == loaded.values.get(field.name, ""):
            continue
        if field.holds is Holds.FLAG:
            line.either(value == "True", option(field), off(option(field)))
        elif field.holds is Holds.PAIRS and value:
            line.each(option(field), (each.strip() for each in value.split(",") if each.strip()))
        else:
            line.extend([f"{option(field)}={value}"] if value.startswith("-") or not value else [option(field), value])
    if what != "create":
        return [line.end(loaded.values.get(view.key, ""))]
    return [line.end(*[each for each in [values.get(NAME, "").strip()] if each])]
