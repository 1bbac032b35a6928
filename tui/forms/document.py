"""A form's values as a YAML document that a person edits, and the document read back.

Only what the form can change is in it. What is left out stays as it is; what the form does not know is refused by name.
"""

from __future__ import annotations

from typing import Any

from tui.text import safe
from tui.verbs import Row
from tui.view import Field, Form, Holds, Loaded

REFUSED = "# ! "
"""What the lines begin with that tell why a document was not taken."""


def write(form: Form, loaded: Loaded, *, about: str) -> str:
    """The document: a comment of what it is, and each field with what it may be."""
    lines = [
        f"# {form.title}: {safe(about)}",
        "# Save and leave to do it. Leave it as it is, and nothing happens. What you take out stays as it was.",
    ]
    for field in _shown(form, loaded):
        if note := _note(field, loaded):
            lines.append(f"# {safe(note)}")
        lines.append(_dumped({field.called: _value(field, loaded, loaded.values.get(field.name, ""))}))
    return "\n".join(lines) + "\n"


def read(form: Form, loaded: Loaded, text: str, *, row: Row) -> dict[str, str]:
    """The values it says, those it does not mention as they were. Raises Invalid: no YAML, or not about this form."""
    import yaml

    from core.errors import Invalid

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as bad:
        mark = getattr(bad, "problem_mark", None)
        where = f"line {mark.line + 1 - _refusals(text)}: " if mark else ""
        raise Invalid(
            f"this is no YAML: {where}{getattr(bad, 'problem', bad)}", hint="KEY: VALUE, line by line."
        ) from bad
    if found is None:
        return dict(loaded.values)
    if not isinstance(found, dict):
        raise Invalid("this is no set of fields", hint="KEY: VALUE, line by line.")
    fields = {field.called: field for field in _shown(form, loaded)}
    values = dict(loaded.values)
    for name, value in found.items():
        if name not in fields:
            if name in row or name in {field.called for field in form.fields}:
                raise Invalid(f"{name} cannot be changed", hint=f"What can: {', '.join(fields)}.")
            raise Invalid(f"there is no field {name!r}", hint=f"There are {', '.join(fields)}.")
        # As it stands in the form, when it says the same: then nothing was changed.
        field = fields[name]
        if value != _value(field, loaded, loaded.values.get(field.name, "")):
            values[field.name] = _text(field, loaded, value)
    return values


def refused(text: str, title: str, hint: str) -> str:
    """The same text, with why it was not taken at its top, in place of what was said the last time."""
    kept = text.split("\n")[_refusals(text) :]
    told = [f"{REFUSED}{safe(title)}", *([f"{REFUSED}{safe(hint)}"] if hint else [])]
    return "\n".join([*told, *kept])


def _refusals(text: str) -> int:
    """How many lines at the top tell a refusal."""
    count = 0
    for line in text.split("\n"):
        if not line.startswith(REFUSED):
            break
        count += 1
    return count


def _shown(form: Form, loaded: Loaded) -> list[Field]:
    return [field for field in form.fields if field.name not in loaded.hidden]


def _note(field: Field, loaded: Loaded) -> str:
    """What it may be."""
    if field.holds is Holds.FLAG:
        return field.hint
    if choices := loaded.choices.get(field.name):
        several = "any of " if field.several else ""
        return f"{several}{', '.join(_named(field, loaded, key) or repr('') for key, _ in choices)}"
    return field.hint


def _named(field: Field, loaded: Loaded, value: str) -> str:
    """What a person calls a choice: the beginning of what is shown, unless two begin alike; else its value."""
    shown = dict(loaded.choices.get(field.name, []))
    names = {key: text.split("  ")[0] for key, text in shown.items()}
    mine = names.get(value, value)
    # An id says nothing to a person; a word of the program's own is what documents are written in.
    return mine if "-" in value and len(value) == 36 and list(names.values()).count(mine) == 1 else value


def _value(field: Field, loaded: Loaded, text: str) -> Any:
    """A field's text as the document has it."""
    if field.several:
        return [_named(field, loaded, each) for each in text.split(",") if each]
    match field.holds:
        case Holds.FLAG:
            return text == "True"
        case Holds.NUMBER:
            return int(text) if text.strip().lstrip("-").isdecimal() else (text.strip() or None)
        case Holds.WORDS:
            return [each.strip() for each in text.split(",") if each.strip()]
        case Holds.PAIRS:
            parts = (each.strip().partition("=") for each in text.split(",") if each.strip())
            return {key: value for key, _, value in parts}
        case Holds.TEXT:
            return _named(field, loaded, text) if field.choices else text


def _text(field: Field, loaded: Loaded, value: Any) -> str:
    """What the document has, as the field's text. Raises Invalid."""
    from core.errors import Invalid

    if field.several or field.holds is Holds.WORDS:
        if not isinstance(value, list | type(None)):
            raise Invalid(f"{field.called} is a list", hint=f"For example {field.called}: [a, b]")
        joined = [_chosen(field, loaded, _plain(each)) for each in value or ()]
        return ",".join(joined) if field.several else ", ".join(joined)
    if field.holds is Holds.PAIRS:
        if not isinstance(value, dict | type(None)):
            raise Invalid(f"{field.called} has keys and values", hint=f"For example {field.called}: {{key: value}}")
        return ", ".join(f"{key}={_plain(each)}" for key, each in (value or {}).items())
    if field.holds is Holds.FLAG:
        if not isinstance(value, bool):
            raise Invalid(f"{field.called} is true or false", hint=f"It was {value!r}.")
        return str(value)
    if isinstance(value, list | dict):
        raise Invalid(f"{field.called} is one value", hint=f"It was {value!r}.")
    return _chosen(field, loaded, _plain(value))


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _chosen(field: Field, loaded: Loaded, text: str) -> str:
    """The value of a choice that was written by its name. Raises Invalid for what is none."""
    from core.errors import Invalid

    choices = loaded.choices.get(field.name)
    if choices is None or text in dict(choices):
        return text
    by_name = {_named(field, loaded, key): key for key, _ in choices}
    if text not in by_name:
        raise Invalid(f"{field.called} cannot be {text!r}", hint=f"It is one of {', '.join(map(repr, by_name))}.")
    return by_name[text]


def _dumped(value: dict[str, Any]) -> str:
    import yaml

    # What a terminal would obey or hide is written escaped, and read back as it was.
    plain = all(safe(text) == text for text in _texts(value))
    return str(
        yaml.safe_dump(value, sort_keys=False, allow_unicode=plain, default_flow_style=False, width=1000)
    ).rstrip()


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []
