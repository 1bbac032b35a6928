"""What there is of each object of a memory driver: JSON in a directory, or nothing but a dictionary."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Directory(MutableMapping[str, Record]):
    """Records that survive the process, one file each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, uuid: str) -> Record:
        try:
            record: Record = json.loads((self._path / uuid).read_text())
        except FileNotFoundError:
            raise KeyError(uuid) from None
        return record

    def __setitem__(self, uuid: str, record: Record) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        fresh = self._path / f".{uuid}"
        fresh.write_text(json.dumps(record))
        fresh.rename(self._path / uuid)

    def __delitem__(self, uuid: str) -> None:
        (self._path / uuid).unlink()

    def __iter__(self) -> Iterator[str]:
        names = sorted(os.listdir(self._path)) if self._path.exists() else []
        return (name for name in names if not name.startswith("."))

    def __len__(self) -> int:
        return sum(1 for _ in self)
