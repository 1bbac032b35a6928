"""Starts engines and hostds in milliseconds: what they need is imported once here, each of them is a fork.

Reads one JSON line a start from stdin, {what, log, …}, and answers with the process's id. Nobody waits for the forks:
whoever cares holds a pidfd.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401 - imported lazily by core
import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401

import core.hosts.link
import core.serve
import hostd.memory
import hostd.serve
from core.config import Config


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _become(request: dict[str, Any]) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        if request["what"] == "serve":
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
            # Here a host dies every second, and shall not be given up for that.
            core.hosts.link.BACKOFF_MOST = 0.1  # type: ignore[misc]
            core.serve.run(Config(home=Path(request["home"]), database_url=request["url"]))
        else:
            hostd.serve.main(state=Path(request["state"]), run=Path(request["run"]), memory=True)
    finally:
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
