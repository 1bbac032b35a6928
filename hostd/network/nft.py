"""nft, by libnftables: rules as JSON objects, loaded in one transaction, never as text.

A call into the library takes 0.2 ms where a process takes 10. The library opens its socket in the network namespace of
the calling thread. For the caller's own namespace one context is kept: closing a socket on which something was deleted
waits for the kernel to be rid of it (10 to 20 ms). For named namespaces a context is made for each call, as a socket
that is left open would keep the namespace alive.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Final

from hostd.network import namespaces
from hostd.spec import ErrorCode, HostError

Json = dict[str, Any]

_LIBRARY: Final = "libnftables.so.1"

# nftables/libnftables.h
_STATELESS: Final = 1 << 2
_JSON: Final = 1 << 4
_MISSING: Final = "No such file or directory"

_lock = threading.Lock()
"""The library's parser and caches are its own, but not all that lies below is known to be safe in several threads."""


def run(
    commands: Sequence[Json], *, namespace: str | None = None, check_only: bool = False, stateless: bool = False
) -> list[Json]:
    """Carry out commands, all or none, and return what those that list something list.

    In a named namespace, or else in the calling thread's. `check_only` changes nothing; `stateless` lists without
    counters. Blocks. Raises HostError(NETWORK) with nft's words when the kernel or nft refuses.
    """
    status, output, complaint = _call(
        commands, namespace=namespace, check_only=check_only, stateless=stateless, keep=True
    )
    if status != 0:
        raise HostError(ErrorCode.NETWORK, f"nft: {_words(complaint)}")
    return _items(output)


def accepts(commands: Sequence[Json]) -> bool:
    """Whether this host's kernel and nft would take these commands; nothing is changed."""
    return _call(commands, namespace=None, check_only=True, keep=False)[0] == 0


def tables(*, namespace: str | None = None) -> frozenset[tuple[str, str]]:
    """Family and name of every table."""
    items = run([{"list": {"tables": {}}}], namespace=namespace)
    return frozenset((item["table"]["family"], item["table"]["name"]) for item in items if "table" in item)


def list_table(family: str, name: str, *, namespace: str | None = None, stateless: bool = False) -> list[Json] | None:
    """All of a table: `{"chain": …}`, `{"rule": …}`, `{"set": …}`, …; None when there is no such table."""
    # Not by the context that is kept: it would keep all of the table, too.
    whole = {"table": {"family": family, "name": name}}
    return _listing(whole, namespace=namespace, stateless=stateless, keep=False)


def list_chain(family: str, table: str, name: str, *, namespace: str | None = None) -> list[Json] | None:
    """A chain and its rules; None when there is no such chain or table. The cheapest question there is."""
    return _listing({"chain": {"family": family, "table": table, "name": name}}, namespace=namespace)


def list_map(family: str, table: str, name: str, *, namespace: str | None = None) -> list[Json] | None:
    """A map and its elements; None when there is no such map or table."""
    return _listing({"map": {"family": family, "table": table, "name": name}}, namespace=namespace)


def rehearse(commands: Sequence[Json], families: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[Json]]:
    """How this kernel and this nft list tables (family, name) after these commands, without counters.

    They are loaded into an empty namespace that ends with the call: what nft lists is not word for word what it was
    given, and differs from version to version, so that only listings compare.
    """

    def listed() -> dict[tuple[str, str], list[Json]]:
        with namespaces.nowhere():
            status, _, complaint = _call(commands, namespace=None, keep=False)
            if status != 0:
                raise HostError(ErrorCode.NETWORK, f"nft: {_words(complaint)}")
            return {table: list_table(*table, stateless=True) or [] for table in families}

    # A thread of its own: the caller's may have a socket's or a server's business in its namespace.
    with ThreadPoolExecutor(1, thread_name_prefix="nft-rehearsal") as thread:
        return thread.submit(listed).result()


def _listing(what: Json, *, namespace: str | None, stateless: bool = False, keep: bool = True) -> list[Json] | None:
    status, output, complaint = _call([{"list": what}], namespace=namespace, stateless=stateless, keep=keep)
    if status == 0:
        return _items(output)
    if _MISSING in complaint:
        return None
    raise HostError(ErrorCode.NETWORK, f"nft: {_words(complaint)}")


def _call(
    commands: Sequence[Json], *, namespace: str | None, check_only: bool = False, stateless: bool = False, keep: bool
) -> tuple[int, str, str]:
    """Status, output and complaint. `keep`: by the context that is kept, where it is of the namespace that is meant."""
    library = _library()
    text = json.dumps({"nftables": list(commands)}, separators=(",", ":")).encode()
    with _lock:
        if keep and namespace is None:
            context = _kept.of_this_namespace(library)
            said = _ask(library, context, text, check_only=check_only, stateless=stateless)
            if said[0] != 0 and _MISSING not in said[2]:
                # What it remembers of the kernel may be what was wrong.
                _kept.drop(library)
            return said
        with namespaces.inside(namespace) if namespace is not None else nullcontext():
            context = _opened(library)
            try:
                return _ask(library, context, text, check_only=check_only, stateless=stateless)
            finally:
                library.nft_ctx_free(context)


def _ask(library: ctypes.CDLL, context: int, text: bytes, *, check_only: bool, stateless: bool) -> tuple[int, str, str]:
    library.nft_ctx_output_set_flags(context, _JSON | (_STATELESS if stateless else 0))
    library.nft_ctx_set_dry_run(context, check_only)
    status = library.nft_run_cmd_from_buffer(context, text)
    output, complaint = library.nft_ctx_get_output_buffer(context), library.nft_ctx_get_error_buffer(context)
    return status, output.decode(errors="replace"), complaint.decode(errors="replace")


def _opened(library: ctypes.CDLL) -> int:
    context: int | None = library.nft_ctx_new(0)
    if not context:
        raise HostError(ErrorCode.NETWORK, "nft: no memory for a context")
    library.nft_ctx_buffer_output(context)
    library.nft_ctx_buffer_error(context)
    return context


class _Kept:
    """The context that is kept, and which namespace it is of. Under `_lock`."""

    def __init__(self) -> None:
        self._context: int | None = None
        self._namespace: tuple[int, int] | None = None

    def of_this_namespace(self, library: ctypes.CDLL) -> int:
        own = os.stat("/proc/thread-self/ns/net")
        if self._context is None or self._namespace != (own.st_dev, own.st_ino):
            self.drop(library)
            self._context, self._namespace = _opened(library), (own.st_dev, own.st_ino)
        return self._context

    def drop(self, library: ctypes.CDLL) -> None:
        if self._context is not None:
            library.nft_ctx_free(self._context)
            self._context = None


_kept: Final = _Kept()


@functools.cache
def _library() -> ctypes.CDLL:
    """Raises HostError(NETWORK) when it is not installed."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as missing:
        hint = "Install the package libnftables1 (nftables-libs on RPM hosts); the package nftables brings it."
        raise HostError(ErrorCode.NETWORK, f"{_LIBRARY} is not installed", hint=hint) from missing
    context = ctypes.c_void_p
    library.nft_ctx_new.restype = context
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [context]
    library.nft_ctx_free.restype = None
    library.nft_ctx_output_set_flags.argtypes = [context, ctypes.c_uint]
    library.nft_ctx_output_set_flags.restype = None
    library.nft_ctx_set_dry_run.argtypes = [context, ctypes.c_bool]
    library.nft_ctx_set_dry_run.restype = None
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [context]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [context]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    return library


def _items(output: str) -> list[Json]:
    if not output:
        return []
    found: list[Json] = json.loads(output)["nftables"]
    return [item for item in found if "metainfo" not in item]


def _words(complaint: str) -> str:
    """The first of nft's complaints; a syntax error is followed by all that was given."""
    first = complaint.strip().split("\n", 1)[0]
    return first.removeprefix("internal:0:0-0: Error: ")[:300]
