"""Stands in for `hostd relay`: standard input and output to a UNIX socket, as fast as pipes and sockets allow."""

from __future__ import annotations

import os
import socket
import sys
import threading

SIZE = 1024 * 1024


def copy(source: int, sink: int) -> None:
    while data := os.read(source, SIZE):
        while data:
            data = data[os.write(sink, data) :]


def main() -> None:
    with socket.socket(socket.AF_UNIX) as hostd:
        hostd.connect(sys.argv[1])

        def upward() -> None:
            copy(0, hostd.fileno())
            hostd.shutdown(socket.SHUT_WR)

        threading.Thread(target=upward, daemon=True).start()
        copy(hostd.fileno(), 1)


if __name__ == "__main__":
    main()
