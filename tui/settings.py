"""What a person set about the app: the table `[app]` of the configuration file that core reads the rest of.

Read with the standard library before the first frame; written with tomlkit, so that comments and order stay. A key
that does not exist is refused by name, like everywhere in that file.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import Invalid

THEMES = ("dark", "light", "colourblind", "grey", "ansi")
GLYPHS = ("braille", "block", "ascii")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The app's settings, with what holds when the file says nothing."""

    theme: str = "dark"
    """One of THEMES."""
    glyphs: str = "braille"
    """What pictures are drawn with: one of GLYPHS. `ascii` draws everything with ASCII alone."""
    mouse: bool = True
    read_only: bool = False
    """Offer nothing that changes anything, in any cloud."""
    read_only_clouds: frozenset[str] = frozenset()
    """The same for clouds by their name in the header: `[app.clouds.NAME] read_only = true`."""
    protected_clouds: frozenset[str] = frozenset()
    """Clouds in which what is asked about is confirmed by typing: `[app.clouds.NAME] protected = true`."""
    columns: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """Kind to the columns its list shows, in order: `NAME`, `NAME:WIDTH`, `NAME?` given room. See tui.shape."""
    keymap: dict[str, str] = dataclasses.field(default_factory=dict)
    """Binding id to the key that it is moved to; several by comma."""
    bookmarks: dict[str, str] = dataclasses.field(default_factory=dict)
    """Name to a view locator: `errors = ":i @all /status=error"`."""

    def forbids_writing(self, cloud: str) -> bool:
        """Whether this cloud is only looked at."""
        return self.read_only or cloud in self.read_only_clouds


def cloud_name(database_url: str) -> str:
    """What the header calls a cloud: the database's host, or `local`."""
    _, _, rest = database_url.partition("://")
    host = rest.rpartition("@")[2].partition("/")[0].partition(":")[0]
    return host or "local"


def load(path: Path) -> Settings:
    """The settings in the file; the defaults without one. Raises Invalid naming the file and the key."""
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as bad:
        raise Invalid(f"{path} is not TOML: {bad}", hint="Correct the file, or move it away.") from bad
    except OSError as bad:
        raise Invalid(f"{path} cannot be read: {bad.strerror}", hint="Correct its mode, or move it away.") from bad
    table = document.get("app", {})
    if not isinstance(table, dict):
        raise Invalid(f"{path}: app must be a table", hint="[app]")
    return _settings(path, table)


def save(path: Path, changes: Mapping[str, Any]) -> None:
    """Change settings in the file and leave the rest of it as it is, comments too. Field name to its new value; of a
    table only the entries given, and None takes one out. Raises Invalid for a value that `load` would refuse, OSError.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    text = path.read_text() if path.exists() else ""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as bad:
        raise Invalid(f"{path} is not TOML: {bad}", hint="Correct the file, or move it away.") from bad
    if "app" not in document:
        document["app"] = tomlkit.table()
    _merge(document["app"], changes)
    shown = tomlkit.dumps(document)
    _settings(path, tomllib.loads(shown)["app"])
    _replace(path.resolve(), shown)


def override(
    settings: Settings, *, read_only: bool = False, ascii_only: bool = False, theme: str | None = None
) -> Settings:
    """The settings with what the command line says instead. Raises Invalid."""
    if theme is not None and theme not in THEMES:
        raise Invalid(f"there is no theme {theme!r}", hint=f"Known: {', '.join(THEMES)}.")
    return dataclasses.replace(
        settings,
        read_only=settings.read_only or read_only,
        glyphs="ascii" if ascii_only else settings.glyphs,
        theme=theme or settings.theme,
    )


def _settings(path: Path, table: Mapping[str, Any]) -> Settings:
    of_clouds = {f"{key}_clouds" for key in _OF_A_CLOUD}
    known = {field.name for field in dataclasses.fields(Settings)} - of_clouds | {"clouds"}
    for key in table:
        if key not in known:
            raise Invalid(f"{path}: unknown setting app.{key}", hint=f"Known: {', '.join(sorted(known))}.")
    settings: dict[str, Any] = {}
    for key, allowed in (("theme", THEMES), ("glyphs", GLYPHS)):
        if key in table:
            if table[key] not in allowed:
                raise Invalid(f"{path}: app.{key} must be one of {', '.join(allowed)}", hint=f"It is {table[key]!r}.")
            settings[key] = table[key]
    for key in ("mouse", "read_only"):
        if key in table:
            settings[key] = _truth(path, f"app.{key}", table[key])
    for key in ("keymap", "bookmarks"):
        if key in table:
            settings[key] = _words(path, f"app.{key}", table[key])
    if "columns" in table:
        settings["columns"] = _lists(path, "app.columns", table["columns"])
    if "clouds" in table:
        settings["read_only_clouds"] = _clouds(path, table["clouds"], "read_only")
        settings["protected_clouds"] = _clouds(path, table["clouds"], "protected")
    return Settings(**settings)


def _truth(path: Path, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{path}: {key} must be true or false", hint=f"It is {value!r}.")
    return value


def _table(path: Path, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"{path}: {key} must be a table", hint=f"[{key}]")
    return value


def _words(path: Path, key: str, value: Any) -> dict[str, str]:
    table = _flat(_table(path, key, value))
    for name, word in table.items():
        if not isinstance(word, str):
            raise Invalid(f"{path}: {key}.{name} must be a word", hint=f"It is {word!r}.")
    return table


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`list.down = "n"` is a table in a table to TOML, and one name to a person."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _lists(path: Path, key: str, value: Any) -> dict[str, list[str]]:
    table = _table(path, key, value)
    for name, words in table.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Invalid(f"{path}: {key}.{name} must be a list of words", hint=f"It is {words!r}.")
    return table


_OF_A_CLOUD = ("read_only", "protected")


def _clouds(path: Path, value: Any, wanted: str) -> frozenset[str]:
    """The clouds of which this is said."""
    found = set()
    for name, table in _table(path, "app.clouds", value).items():
        for key, given in _table(path, f"app.clouds.{name}", table).items():
            if key not in _OF_A_CLOUD:
                raise Invalid(
                    f"{path}: unknown setting app.clouds.{name}.{key}", hint=f"Known: {', '.join(_OF_A_CLOUD)}."
                )
            if _truth(path, f"app.clouds.{name}.{key}", given) and key == wanted:
                found.add(name)
    return frozenset(found)


def _merge(table: Any, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            table.pop(key, None)
        elif isinstance(value, Mapping):
            if key not in table:
                table[key] = {}
            _merge(table[key], value)
        else:
            table[key] = value


def _replace(path: Path, text: str) -> None:
    """The whole file or the old one, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
