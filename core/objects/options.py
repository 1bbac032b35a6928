"""From a table of the configuration to the store it names."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from core.errors import Invalid
from core.objects.files import FileObjects
from core.objects.store import ObjectStore

_NEEDED: Final = {"file": {"path"}, "s3": {"endpoint", "bucket", "secret_file"}}
_KNOWN: Final = {"file": _NEEDED["file"], "s3": _NEEDED["s3"] | {"region", "prefix"}}


def open_store(table: Mapping[str, str], *, named: str) -> ObjectStore:
    """The store of a table {driver: file, path} or {driver: s3, endpoint, bucket, secret_file, region?, prefix?}.

    `secret_file` is a TOML file with access_key and secret_key that nobody else may read. `named` is what the table is
    called in errors. Raises Invalid naming what is wrong with it; nothing is reached for yet.
    """
    driver = table.get("driver", "file")
    if driver not in _KNOWN:
        raise Invalid(f"{named}: unknown driver {driver!r}", hint=f"Known: {', '.join(sorted(_KNOWN))}.")
    options = {key: value for key, value in table.items() if key != "driver"}
    if unknown := sorted(options.keys() - _KNOWN[driver]):
        raise Invalid(f"{named}: unknown setting {unknown[0]!r}", hint=f"Known: {', '.join(sorted(_KNOWN[driver]))}.")
    if missing := sorted(_NEEDED[driver] - options.keys()):
        raise Invalid(f"{named}: {missing[0]} is missing")
    if driver == "file":
        if not Path(options["path"]).is_absolute():
            raise Invalid(f"{named}: path must begin with /", hint=f"It is {options['path']!r}.")
        return FileObjects(Path(options["path"]))
    if not options["endpoint"].startswith(("http://", "https://")):
        raise Invalid(f"{named}: endpoint must begin with http:// or https://", hint=f"It is {options['endpoint']!r}.")
    access_key, secret_key = _secrets(Path(options.pop("secret_file")), named=named)
    from core.objects.s3 import S3Objects  # its library takes a while to load

    return S3Objects(access_key=access_key, secret_key=secret_key, **options)


def _secrets(path: Path, *, named: str) -> tuple[str, str]:
    hint = 'chmod 600, and two lines in it: access_key = "…" and secret_key = "…"'
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise Invalid(f"{named}: {path} is readable by others", hint=hint)
            found = tomllib.load(file)
        return str(found["access_key"]), str(found["secret_key"])
    except OSError as bad:
        raise Invalid(f"{named}: {path} cannot be read: {bad.strerror}", hint=hint) from bad
    except (tomllib.TOMLDecodeError, KeyError, UnicodeDecodeError) as bad:
        raise Invalid(f"{named}: {path} does not hold the keys", hint=hint) from bad
