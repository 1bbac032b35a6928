"""Which class keeps the volumes of which driver. Imported when first asked for: a host without Ceph needs no Ceph."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final, Protocol, cast

from hostd.drivers import LiveDisks
from hostd.spec import BACKEND_OPTIONS, BackendSpec, ErrorCode, HostError
from hostd.storage.volumes.backend import Backend

BACKENDS: Final = {
    "file": "hostd.storage.volumes.backends.files:FileBackend",
    "nfs": "hostd.storage.volumes.backends.files:NfsBackend",
    "lvm": "hostd.storage.volumes.backends.lvm:LvmBackend",
    "iscsi": "hostd.storage.volumes.backends.iscsi:IscsiBackend",
    "rbd": "hostd.storage.volumes.backends.rbd:RbdBackend",
}
"""Module and class by `BackendSpec.driver`."""


class Make(Protocol):
    """How a backend is made: quickly, and without touching the host. Its class is called the same way."""

    def __call__(self, spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> Backend:
        """`state` and `run` are hostd's directories. Raises HostError(PROTOCOL) for options that cannot be."""


def make(spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> Backend:
    """The backend as this host reaches it. Raises HostError(PROTOCOL) for an unknown driver or bad options."""
    try:
        module, _, name = BACKENDS[spec.driver].partition(":")
    except KeyError:
        raise HostError(
            ErrorCode.PROTOCOL, f"unknown storage driver {spec.driver!r}", hint=f"one of {', '.join(BACKENDS)}"
        ) from None
    if unknown := sorted(spec.options.keys() - BACKEND_OPTIONS[spec.driver]):
        raise HostError(ErrorCode.PROTOCOL, f"{spec.driver} backend: unknown option {unknown[0]!a}")
    maker = cast(Make, getattr(importlib.import_module(module), name))
    return maker(spec, state=state, run=run, live=live)
