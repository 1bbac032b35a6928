"""docs/keys.md, made of the declarations: `python -m tui.keysdoc > docs/keys.md`. A test compares."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from tui.keymap import EVERY, Declared, all_shown, declarations
from tui.registry import COMMANDS, VIEWS

HEAD = f"""# Keys

Made from the declarations in the code by `python -m tui.keysdoc > docs/keys.md`; in the app `?` shows the keys of
what is in front, and `:keys` all of them as they are now, with whatever is wrong with a keymap.

An uppercase key disrupts and asks first; a Ctrl key changes nothing, except that Ctrl+S submits a form. Any key can
be moved by its id, in the settings (`config.toml`):

```toml
[app.keymap]
"move.half_down" = "ctrl+n"
"instance.stop" = "ctrl+x,K"
"{EVERY}.describe" = "i"          # of every noun that has it
```

When a key is wanted twice in one place, the one that was moved there has it; the other is told at the start and in
`:keys`.
"""


def rendered() -> str:
    """The whole document."""
    lines = [HEAD]
    common = _common(declarations())
    for place, entries in groupby(declarations(), key=lambda one: one.place):
        rows = [one for one in entries if (one.keys, one.help) not in common or place in ("Moving", "Lists")]
        words = next((f" (`:{'`, `:'.join(view.aliases)}`)" for view in VIEWS.values() if view.title == place), "")
        if place == next(iter(VIEWS.values())).title:
            lines += ["## Every noun that has it", "", *_table(common.values()), ""]
        if rows:
            lines += [f"## {place}{words}", "", *_table(rows), ""]
    lines += ["## Commands", "", "| `:` | what it does |", "|---|---|"]
    for command in dict.fromkeys(COMMANDS.values()):
        words = " ".join(f"`:{word}`" for word in command.words)
        usage = f" `{command.usage.replace('|', chr(92) + '|')}`" if command.usage else ""
        lines.append(f"| {words}{usage} | {command.help} |")
    return "\n".join(lines) + "\n"


def _common(declared: Iterable[Declared]) -> dict[tuple[str, str], Declared]:
    """What several nouns have at the same key, with the same help: told once, under the id that moves them all."""
    kinds = set(VIEWS)
    seen: dict[tuple[str, str], list[Declared]] = {}
    for one in declared:
        if one.id.partition(".")[0] in kinds:
            seen.setdefault((one.keys, one.help), []).append(one)
    return {
        key: ones[0]._replace(id=f"{EVERY}.{ones[0].id.partition('.')[2]}")
        for key, ones in seen.items()
        if len(ones) > 3
    }


def _table(rows: Iterable[Declared]) -> list[str]:
    lines = ["| key | what it does | id |", "|---|---|---|"]
    for one in rows:
        keys = all_shown(one.keys).replace("|", "\\|").replace("\\", "\\\\") if one.keys != "backslash" else "\\\\"
        lines.append(f"| {keys} | {one.help} | `{one.id}` |")
    return lines


if __name__ == "__main__":
    print(rendered(), end="")
