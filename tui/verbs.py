"""What can be done, as records: one `Verb` yields the key, the footer's entry, the action menu's line with the reason
when it is disabled, the palette's entry and the help.

A verb goes somewhere (`action`, a method of the screen), opens a `form` about the object, or changes something (`run`,
called once for every object that was under the cursor or marked at the moment of the key press).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tui.view import Form

Row = dict[str, Any]
Reason = tuple[str, str]
"""Why not, and what to do about it."""


class Confirm(StrEnum):
    """How sure a person has to be."""

    NONE = "none"
    BAR = "bar"
    """A question in the bottom line; anything but its keys cancels."""
    TYPE = "type"
    """The object's name is typed out."""


class Needs(StrEnum):
    """What a verb is done to."""

    NOTHING = "nothing"
    OBJECT = "object"
    """The object under the cursor, marks or not."""
    OBJECTS = "objects"
    """The marked objects, else the one under the cursor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """One answer of a question in the bottom line."""

    key: str
    label: str
    """As shown, its key in brackets: `[s]oft`."""
    value: str
    """What `run` receives."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """One of the things that a verb can be done with."""

    value: str
    """What `run` receives."""
    label: str
    note: str = ""
    tone: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pick:
    """A choice among objects of the cloud, made before the verb runs: which address, which subnet."""

    title: str
    load: Callable[[Any, Any, Row], list[Option]]
    """(read session, context, the row that is meant) to what there is, the likeliest first."""
    none: Reason
    """Said when there is nothing to choose: why, and what to do about it."""


MANY = 5
"""More objects than this are deleted only after typing it out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verb:
    name: str
    key: str
    """As Textual names keys: `b`, `S`, `ctrl+r`, `question_mark`."""
    label: str
    """One or two words for the footer."""
    help: str
    """One line for the menu and the help."""
    needs: Needs = Needs.OBJECTS
    confirm: Confirm = Confirm.NONE
    choices: tuple[Choice, ...] = ()
    """Answers instead of y/N."""
    pick: Pick | None = None
    """What `run` is told, chosen from a list; choosing is consent."""
    dangerous: bool = False
    """Takes data or work away: drawn in the colour of danger."""
    disabled_reason: Callable[[Any, Row], Reason | None] = lambda ctx, row: None
    """(context, row) to None when it may be done. Pure: called for every object, at every cursor move."""
    run: Callable[..., object] | None = None
    """(write session, context, id, chosen value): one transaction per object. Raises SkydeckError."""
    configured: bool = False
    """`run` takes the configuration besides, after the context."""
    action: str = ""
    """The screen's action instead, e.g. `describe`."""
    form: Form | None = None
    """A form that is opened about the object instead."""
    plan: Callable[[Row], str] = lambda row: ""
    """The plan (core.plans) that is laid out and agreed to first, when it is done to this one object; empty: none."""
    done: str = ""
    """Said when it was accepted: `stopping`."""
    footer: bool = True
    shown_key: str = ""
    """As written in the footer, when `key` is a word."""

    @property
    def symbol(self) -> str:
        return self.shown_key or self.key

    def tier(self, count: int) -> Confirm:
        """The confirmation for this many objects: many at once are typed out."""
        return Confirm.TYPE if self.confirm is Confirm.BAR and self.dangerous and count > MANY else self.confirm


def binding_id(kind: str, verb: Verb) -> str:
    """The stable name by which a keymap may move the verb to another key."""
    return f"{kind}.{verb.name}"


def reason(verb: Verb, ctx: Any, row: Row | None) -> Reason | None:
    """Why the verb cannot be done to the row now; None when it can."""
    if row is None:
        return None if verb.needs is Needs.NOTHING else ("nothing is selected", "Move to a row first.")
    return None if verb.needs is Needs.NOTHING else verb.disabled_reason(ctx, row)


OPEN = Verb(name="open", key="enter", shown_key="ent", label="open", help="Open it", needs=Needs.OBJECT, action="open")
DESCRIBE = Verb(
    name="describe",
    key="d",
    label="desc",
    help="Everything about it",
    needs=Needs.OBJECT,
    action="describe",
)
YAML = Verb(
    name="yaml", key="y", label="yaml", help="The whole object as YAML", needs=Needs.OBJECT, action="yaml", footer=False
)
EVENTS = Verb(
    name="events",
    key="v",
    label="events",
    help="Its operations and events",
    needs=Needs.OBJECT,
    action="events",
    footer=False,
)
COPY = Verb(
    name="copy",
    key="c",
    label="copy",
    help="Copy id, name, address, JSON, or where you are, by OSC 52",
    needs=Needs.OBJECT,
    action="copy",
    footer=False,
)
TRACE = Verb(
    name="trace",
    key="x",
    label="trace",
    help="Follow a packet from it to an address, hop by hop",
    needs=Needs.OBJECT,
    action="trace",
    footer=False,
)
TOPOLOGY = Verb(
    name="topology",
    key="x",
    label="map",
    help="How networks hang together, as a tree",
    needs=Needs.NOTHING,
    action="topology",
)
NEW = Verb(name="new", key="n", label="new", help="Make a new one", needs=Needs.NOTHING, action="new")
CLONE = Verb(name="clone", key="N", label="clone", help="Make another one like it", needs=Needs.OBJECT, action="clone")


def deletion(
    run: Callable[[Any, Any, str, str], object],
    *,
    help: str,
    disabled_reason: Callable[[Any, Row], Reason | None],
    confirm: Confirm = Confirm.BAR,
    plan: Callable[[Row], str] = lambda row: "",
) -> Verb:
    """The `X` of a noun: always dangerous, always confirmed."""
    return Verb(
        name="delete",
        key="X",
        label="del",
        help=help,
        confirm=confirm,
        dangerous=True,
        disabled_reason=disabled_reason,
        plan=plan,
        run=run,
        done="deleted",
    )


def editing(form: Form, *, help: str, disabled_reason: Callable[[Any, Row], Reason | None]) -> tuple[Verb, Verb]:
    """The `e` of a noun, its form filled in with what is; and its `E`, the same as YAML."""
    edit = Verb(
        name="edit",
        key="e",
        label="edit",
        help=help,
        needs=Needs.OBJECT,
        form=form,
        disabled_reason=disabled_reason,
    )
    return edit, Verb(
        name="edit_yaml",
        key="E",
        label="as yaml",
        help="Change it as YAML, in your editor",
        needs=Needs.OBJECT,
        action="edit_yaml",
        disabled_reason=disabled_reason,
        footer=False,
    )


LOOKING = (OPEN, DESCRIBE, YAML, EVENTS, COPY)
"""What every noun's rows can be asked."""

RELATED = tuple(
    Verb(name=name, key=key, label=label, help=text, needs=Needs.OBJECT, action=name, footer=False)
    for name, key, label, text in (
        ("used_by", "u", "used by", "What depends on it"),
        ("owner", "J", "owner", "What it belongs to: a port's server, a server's host"),
        ("tree", "t", "tree", "What it belongs to and what depends on it, as a tree"),
    )
)
"""Where every object leads, by core.relations."""

_ANYWHERE = tuple(
    Verb(name=name, key=key, shown_key=shown, label=name, help=text, needs=Needs.NOTHING, action=name, footer=False)
    for name, key, shown, text in (
        ("command", "colon", ":", "Go: :i web /err sort=-created_at; :q quits"),
        ("filter", "slash", "/", "Filter as you type; status=error,build, status=!active, !text, -f fuzzy"),
        ("back", "q,escape", "q Esc", "Back: a filter that was typed and marks go first"),
        ("history_back", "left_square_bracket", "[", "The list before"),
        ("history_forward", "right_square_bracket", "]", "The list after"),
        ("last", "minus", "-", "The last list, and back again"),
        *((f"recent_{at}", str(at), str(at), "A recent list; ? and : show which") for at in range(1, 10)),
        ("all_projects", "0", "0", "All projects, or only yours"),
        ("projects", "P", "P", "Choose the project to work in"),
        ("mark", "space", "Space", "Mark, and step down"),
        ("mark_range", "V", "V", "Mark everything from the last mark to here"),
        ("mark_all", "asterisk", "*", "Mark everything the filter shows"),
        ("clear_marks", "backslash", "\\", "Clear the marks"),
        ("sort_left", "less_than_sign", "<", "Sort by the column to the left"),
        ("sort_right", "greater_than_sign", ">", "Sort by the column to the right"),
        ("reverse", "comma", ",", "Reverse the order"),
        ("wide", "w", "w", "All columns; ← → scroll them"),
        ("columns", "C", "C", "Choose columns, their order and width; kept in the settings"),
        ("faults", "Z", "Z", "Only what is wrong, and back"),
        ("hold", "p", "p", "Hold the list still while you read, and go on"),
        ("refresh", "ctrl+r", "Ctrl+R", "Read again now"),
        ("export", "ctrl+s", "Ctrl+S", "Write the list to a file: json, csv, yaml; or the screen as SVG"),
        ("repeat", "full_stop", ".", "Do the last action again, to what is meant now"),
        ("why", "W", "W", "Why: what is wrong with it, and why what is greyed cannot be done"),
        ("menu", "a", "a", "All actions, with their keys and why they are disabled"),
        ("operations", "T", "T", "Operations"),
        ("messages", "M", "M", "Messages so far"),
        ("help", "question_mark", "?", "This help"),
    )
)

GENERAL: tuple[Verb, ...] = (*_ANYWHERE, *RELATED)
"""What the browser does whatever it shows."""
