"""Builds hostd as one executable file, for hosts without internet: `python -m hostd.bundle OUT`.

The file is a zip application that runs on a distribution's own python3: this package and the pure Python
ones it stands on, taken from the environment that runs the build. The same environment gives the same
bytes, so a host can be asked by digest whether it is up to date. Compiled code lies beside each source:
zipimport caches nothing, and compiling anew would cost half a second at every start. An interpreter of
another version passes it over and compiles the source.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import marshal
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DISTRIBUTIONS: Final = {
    "attrs": ("attr", "attrs"),
    "cattrs": ("cattr", "cattrs"),
    "typing_extensions": ("typing_extensions",),
    "pyroute2": ("pyroute2",),
    "pycdlib": ("pycdlib",),
}
"""What hostd stands on, by distribution, with the import names of each."""

_LEFT_OUT: Final = frozenset({"hostd/bundle.py", "hostd/fake.py"})
_SHEBANG: Final = b"#!/usr/bin/python3 -I\n"
_MAIN: Final = b"import sys\nfrom hostd.__main__ import main\nsys.exit(main())\n"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_UNCHECKED: Final = 1
"""Flags of a pyc that is never compared with its source (PEP 552)."""


def build() -> bytes:
    """The whole file. Raises ModuleNotFoundError when a package is not installed here."""
    archive = io.BytesIO()
    archive.write(_SHEBANG)
    with zipfile.ZipFile(archive, "w") as zipped:
        _add(zipped, "__main__.py", _MAIN)
        sources = dict(_package("hostd"))
        for distribution, names in DISTRIBUTIONS.items():
            for name in names:
                sources |= dict(_package(name))
            for name, text in _licenses(distribution):
                _add(zipped, name, text)
        for name in sorted(sources.keys() - _LEFT_OUT):
            _add(zipped, name, sources[name])
            _add(zipped, f"{name}c", _compiled(name, sources[name]))
    return archive.getvalue()


def write(out: Path) -> str:
    """Put the file in place, executable; its sha256."""
    data = build()
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.chmod(0o755)
    fresh.rename(out)
    return hashlib.sha256(data).hexdigest()


def _package(name: str) -> Iterator[tuple[str, bytes]]:
    """Archive name and text of every module of a package, or of the one module that it is."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed: the bundle needs it", name=name)
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        yield f"{name}.py", origin.read_bytes()
        return
    for path in origin.parent.rglob("*.py"):
        yield f"{name}/{path.relative_to(origin.parent).as_posix()}", path.read_bytes()


def _licenses(distribution: str) -> Iterator[tuple[str, bytes]]:
    for file in importlib.metadata.distribution(distribution).files or ():
        if file.parts[0].endswith(".dist-info") and ("LICENSE" in file.name.upper() or "COPYING" in file.name.upper()):
            yield f"licenses/{distribution}/{file.name}", file.read_binary()


def _compiled(name: str, source: bytes) -> bytes:
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    # Version 2 of marshal knows no references, whose use depends on what else this process has loaded.
    flags = _UNCHECKED.to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(source) + marshal.dumps(code, 2)


def _add(zipped: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    # What every start reads lies there plain; sources are read for a traceback.
    stored = name.endswith(".pyc") or name == "__main__.py"
    zipped.writestr(entry, data, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m hostd.bundle OUT")
    sys.stdout.write(f"{write(Path(sys.argv[1]))}\n")
