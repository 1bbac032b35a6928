"""`:launch web-{1..3} m1.small debian net=app`: the launch form in one line.

What is left out is as the form has it. The line is completed while it is typed, and says what it would do before it
does that: the form's verb is rehearsed, as it is under the form itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tui.forms.judging import Verdict, judge
from tui.text import safe
from tui.view import Cell, Loaded
from tui.views import launch

if TYPE_CHECKING:
    from tui.app import Skydeck

USAGE = "NAME [FLAVOR] [IMAGE] [net=] [sg=] [key=] [count=] [volume=] [az=] [user-data=]"

OPTIONS = {
    "net": "network",
    "sg": "groups",
    "key": "key",
    "count": "count",
    "volume": "size",
    "az": "zone",
    "user-data": "user_data",
}
"""Word of the line to the form's field. `volume` is a size in GiB, or the name of a volume to boot."""

PAUSE = 0.2
"""Seconds without a key after which the line is judged."""


@dataclasses.dataclass
class Launching:
    """What the line knows while it is typed."""

    loaded: Loaded | None = None
    """The form as it begins; None: not read yet."""
    typed: str = ""
    """The line that `verdict` is of."""
    verdict: Verdict | None = None
    values: dict[str, str] = dataclasses.field(default_factory=dict)


# ---------------------------------------------------------------------- what a line means


def meant(loaded: Loaded, text: str) -> dict[str, str]:
    """The form's values for a line (without `launch`). Raises Invalid, naming the word that makes no sense."""
    from core.errors import Invalid

    words = text.split()
    if not words or "=" in words[0]:
        raise Invalid("a launch needs a name", hint=f":launch {USAGE}")
    values = loaded.values | {"name": words[0], "count": "1"}
    for word in words[1:]:
        option, equals, value = word.partition("=")
        if equals and option not in OPTIONS:
            raise Invalid(f"there is no {option}=", hint=f"There are {' '.join(f'{each}=' for each in OPTIONS)}")
        if option == "volume" and equals:
            values |= _root(loaded, value)
        elif equals:
            values[OPTIONS[option]] = _value(loaded, OPTIONS[option], value)
        else:
            values |= _size_or_image(loaded, word)
    return values


def _root(loaded: Loaded, value: str) -> dict[str, str]:
    if value.isdecimal():
        return {"boot": launch.KEPT, "size": value}
    volumes = [(key, name) for key, name in loaded.facts["volumes"].items()]
    return {"boot": _one(volumes, value, "bootable volume")}


def _value(loaded: Loaded, field: str, value: str) -> str:
    """A field's value; of one with choices, those that are named."""
    choices = _named(loaded, field)
    if choices is None:
        return value
    if not value:
        return ""
    return ",".join(_one(choices, word, field.rstrip("s")) for word in value.split(","))


def _size_or_image(loaded: Loaded, word: str) -> dict[str, str]:
    """A word alone: a flavor or an image, by its name or the beginning of it."""
    from core.errors import Invalid

    found = {field: _matches(_named(loaded, field) or [], word) for field in ("flavor", "image")}
    fitting = {field: keys for field, keys in found.items() if keys}
    if len(fitting) == 1:
        [(field, keys)] = fitting.items()
        if len(keys) == 1:
            return {field: keys[0], **({"boot": launch.LOCAL} if field == "image" else {})}
    several = "more than one" if fitting else "no"
    raise Invalid(f"{word!r} is {several} flavor or image", hint=f"There are {_listed(loaded)}.")


def _listed(loaded: Loaded) -> str:
    names = [name for field in ("flavor", "image") for _, name in _named(loaded, field) or []]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def _named(loaded: Loaded, field: str) -> list[tuple[str, str]] | None:
    """(value, name) of each choice; None for a field that is typed."""
    choices = loaded.choices.get(field)
    return None if choices is None else [(key, shown.split("  ")[0]) for key, shown in choices]


def _matches(choices: Sequence[tuple[str, str]], word: str) -> list[str]:
    """Values whose name it is, else whose name begins with it, else whose name holds it."""
    wanted = word.lower()
    for fits in (str.__eq__, str.startswith, str.__contains__):
        if found := [key for key, name in choices if key == word or fits(name.lower(), wanted)]:
            return found
    return []


def _one(choices: Sequence[tuple[str, str]], word: str, what: str) -> str:
    from core.errors import Invalid

    found = _matches(choices, word)
    if len(found) != 1:
        names = ", ".join(name for _, name in choices) or "none"
        raise Invalid(f"{word!r} is {'more than one' if found else 'no'} {what}", hint=f"There are {names}.")
    return found[0]


# ---------------------------------------------------------------------- while it is typed


def complete(app: Skydeck, typed: str) -> Sequence[str]:
    """What the line could be, whole; nothing where a word is complete, so that what it means is shown instead."""
    known = app.kept.launching
    before, blank, last = typed.rpartition(" ")
    if not blank or known.loaded is None or known.loaded.problem is not None:
        if known.loaded is None or not typed:
            app.run_worker(_read(app), group="launch", exclusive=True)
        return ()
    return [f"{before} {each}" for each in _words(known.loaded, before.split()[1:], last)]


def _words(loaded: Loaded, before: Sequence[str], last: str) -> list[str]:
    """What the last word could be."""
    option, equals, value = last.partition("=")
    if equals:
        choices = _named(loaded, OPTIONS.get(option, "")) or []
        if option == "volume":
            choices = list(loaded.facts["volumes"].items())
        done, comma, part = value.rpartition(",")
        names = [name for _, name in choices if name.lower().startswith(part.lower()) and name != part]
        return [f"{option}={done}{comma}{name}" for name in names]
    given = {word.partition("=")[0] for word in before if "=" in word}
    plain = [word for word in before if "=" not in word]
    names = [name for field in ("flavor", "image") for _, name in _named(loaded, field) or []]
    words = [name for name in names if name not in plain] if len(plain) < 2 else []
    words += [f"{each}=" for each in OPTIONS if each not in given]
    return [word for word in words if word.lower().startswith(last.lower()) and word != last]


def preview(app: Skydeck, typed: str) -> list[Cell]:
    """What the line would do, as far as that is known by now."""
    known = app.kept.launching
    if known.loaded is None or not typed.strip():
        return [(f":launch {USAGE}", "dim")]
    if known.typed != typed:
        app.run_worker(_judge(app, typed), group="launch", exclusive=True)
        return [("…", "dim")]
    verdict = known.verdict
    if verdict is None:
        return [("…", "dim")]
    cells: list[Cell] = []
    if verdict.refused is not None:
        cells += [(f"! {verdict.refused.title}", "bad"), (f"  {verdict.refused.hint}", "dim")]
    if known.values and verdict.refused is None:
        cells += [(_summary(known.loaded, known.values), "ok")]
    for resource, count in list(verdict.counts.items())[:3]:
        cells.append((f"  {resource} {count.after}/{count.limit if count.limit >= 0 else '-'}", _tone(count.over)))
    return cells


def _tone(over: bool) -> str:
    return "bad" if over else "dim"


def _summary(loaded: Loaded, values: dict[str, str]) -> str:
    """`3: web-1 to web-3, m1.small, debian-13 on app`."""
    called, count = launch.names(values)
    names = called[0] if len(called) == 1 else f"{called[0]} to {called[-1]}"
    image = loaded.facts["images"].get(values["image"], "")
    boot = values["boot"]
    source = image if boot in (launch.LOCAL, launch.KEPT, launch.GONE) else loaded.facts["volumes"].get(boot, boot)
    networks = ", ".join(loaded.facts["networks"].get(each, each) for each in values["network"].split(","))
    return safe(f"{count}: {names}, {values['flavor']}, {source} on {networks or 'no network'}")


async def _read(app: Skydeck) -> None:
    seat = app.seat
    if not seat.ready:
        return
    ctx = seat.request()
    app.kept.launching.loaded = await seat.read(lambda session: launch.load(session, ctx, None))
    app.acting.offer_again()


async def _judge(app: Skydeck, typed: str) -> None:
    """Rehearse the line, once the typing pauses."""
    from core.errors import SkydeckError

    known, seat = app.kept.launching, app.seat
    await asyncio.sleep(PAUSE)
    loaded = known.loaded
    assert loaded is not None
    ctx = seat.request()
    values: dict[str, str] = {}
    try:
        values = meant(loaded, typed)

        def judged() -> Verdict:
            return judge(seat.store, seat.config, ctx, form=launch.FORM, fields=(), start=loaded.values, values=values)

        verdict = await seat.call(judged)
    except SkydeckError as bad:
        verdict = Verdict(refused=bad)
    known.typed, known.values, known.verdict = typed, values, verdict
    app.acting.offer_again()


# ---------------------------------------------------------------------- and done


def run(app: Skydeck, text: str) -> None:
    """Do it; without any words open the form."""
    if not text.strip():
        from tui import registry
        from tui.screens.form import FormScreen

        app.push_screen(FormScreen(registry.VIEWS["instance"], launch.FORM, None))
        return
    app.run_worker(_run(app, text), group="launching")


async def _run(app: Skydeck, text: str) -> None:
    from core.errors import SkydeckError

    seat = app.seat
    if not seat.ready:
        app.tell("the store is not open yet", "", tone="warn")
        return
    ctx = seat.request()
    try:
        loaded = await seat.read(lambda session: launch.load(session, ctx, None))
        if loaded.problem is not None:
            app.tell(*loaded.problem, tone="warn")
            return
        values = meant(loaded, text)
        said: Any = await seat.call(lambda: launch.FORM.submit(seat.store, seat.config, ctx, values))
    except SkydeckError as bad:
        app.tell(bad.title, bad.hint or "The line is in the history: : and up.", tone="bad")
        return
    app.tell(said, tone="ok")
    app.see_to_engine()
    app.news()
    app.browse("instance")
