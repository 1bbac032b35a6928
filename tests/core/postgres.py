"""A PostgreSQL server of the tests' own: a cluster in a temporary directory, on a UNIX socket only."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
"""Debian's newest version, else wherever the path has it."""

MEMORY = "/dev/shm"

OPTIONS = "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c shared_buffers=32MB -c max_connections=60"
"""Nothing here outlives the tests, so nothing is worth an fsync."""


def available() -> bool:
    return (BIN / "initdb").exists()


class Postgres:
    """A running server. `stop` removes all of it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pg-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self._numbers = itertools.count(1)
        if os.geteuid() == 0:
            # The server refuses to run as root.
            account = pwd.getpwnam("postgres")
            os.chown(self.home, account.pw_uid, account.pw_gid)
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", str(self.home / "data"))
        self._run("pg_ctl", "-w", "-D", str(self.home / "data"), "-o", f"{OPTIONS} -k {self.home}", *self._log, "start")

    @property
    def _log(self) -> tuple[str, str]:
        return "-l", str(self.home / "log")

    def _run(self, program: str, *arguments: str) -> None:
        drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*drop, str(BIN / program), *arguments],
            cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode()

    def url(self, database: str) -> str:
        return f"postgresql+psycopg:///{database}?host={self.home}&user=postgres"

    def create(self, *, template: str = "template1") -> str:
        """A new database; its name."""
        name = f"sky{next(self._numbers)}"
        with psycopg.connect(host=str(self.home), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'.encode())
        return name

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.home / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self.home)
