"""Guests' interfaces as they appear: libvirt makes them, later than the document that names them."""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final

from hostd.network import names, rtnetlink

log = logging.getLogger(__name__)

_LINKS: Final = 1
"""RTMGRP_LINK."""


class TapWatch:
    """Calls back, on its own thread, with the name of each tap that appears."""

    def __init__(self, appeared: Callable[[str], None]) -> None:
        self._appeared = appeared
        self._thread: threading.Thread | None = None
        self._stop: int | None = None

    def start(self) -> None:
        """Begin, in the calling thread's network namespace."""
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        kernel.bind((0, _LINKS))
        ending, self._stop = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, args=(kernel, ending), name="taps", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None and self._stop is not None:
            os.close(self._stop)
            self._thread.join()
            self._thread = self._stop = None

    def _watch(self, kernel: socket.socket, ending: int) -> None:
        known: set[int] = set()
        with kernel:
            while ending not in select.select([kernel.fileno(), ending], [], [])[0]:
                try:
                    data = kernel.recv(1 << 16)
                except OSError as lost:
                    log.warning("news of links were lost: %s", lost)  # the buffer was full: later ones still come
                    continue
                for index, name, gone in _news(data):
                    if gone:
                        known.discard(index)
                    elif name.startswith(names.TAP_PREFIX) and index not in known:
                        known.add(index)
                        self._appeared(name)
        os.close(ending)


def _news(data: bytes) -> list[tuple[int, str, bool]]:
    """(index, name, whether it went) of every link the messages tell of."""
    found, offset = [], 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if kind in (rtnetlink.NEWLINK, rtnetlink.NEWLINK + 1):
            (index,) = struct.unpack_from("=i", data, offset + 20)
            name = rtnetlink.attributes(data[: offset + length], offset + 32).get(3, b"").rstrip(b"\0").decode()
            found.append((index, name, kind != rtnetlink.NEWLINK))
        offset += max(length, 16) + 3 & ~3
    return found
