"""Writing the command that does what a form does: words that the command line's own parser reads back as they are."""

from __future__ import annotations

from collections.abc import Iterable


class Command(list[str]):
    """The words of one command, without `skydeck`. Each method adds some and answers the command itself."""

    def option(self, name: str, value: str, *, usual: str = "") -> Command:
        """`--name value`; nothing when the value is what it would be anyway."""
        if value != usual:
            # A value that begins with a dash would be read as another option.
            self.extend([f"{name}={value}"] if value.startswith("-") else [name, value])
        return self

    def each(self, name: str, values: Iterable[str]) -> Command:
        """The option once for each value."""
        for value in values:
            self.option(name, value)
        return self

    def flag(self, name: str, on: bool) -> Command:
        if on:
            self.append(name)
        return self

    def either(self, on: bool, yes: str, no: str) -> Command:
        """One of a flag's two ends."""
        self.append(yes if on else no)
        return self

    def end(self, *values: str) -> Command:
        """What the command is about: its arguments, behind the options. Raises Invalid while one is missing."""
        from core.errors import Invalid

        if not all(values):
            raise Invalid("there is no command yet", hint="Fill in what it is about.")
        if any(value.startswith("-") for value in values):
            self.append("--")
        self.extend(values)
        return self


def command(*words: str) -> Command:
    """`command("network", "create")`."""
    return Command(words)


class Changes:
    """What differs between the values a form began with and those it has now: what a `set` has to name."""

    def __init__(self, before: dict[str, str], after: dict[str, str]) -> None:
        self._before = before
        self._after = after

    def __contains__(self, field: str) -> bool:
        return self._before.get(field, "").strip() != self._after.get(field, "").strip()

    def option(self, line: Command, name: str, field: str) -> None:
        """`--name value` when the field was changed, to nothing as well."""
        if field in self:
            value = self._after[field].strip()
            line.extend([f"{name}={value}"] if value.startswith("-") else [name, value])

    def either(self, line: Command, field: str, yes: str, no: str) -> None:
        """One end of a flag, when the field (`True` or `False`) was changed."""
        if field in self:
            line.either(self._after[field] == "True", yes, no)
