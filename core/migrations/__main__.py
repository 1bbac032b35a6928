"""`python -m core.migrations MESSAGE`: write the next migration from what the tables now say."""

import sys
import tempfile
from pathlib import Path

from alembic import command

from core.migrations import configuration, upgrade
from core.store import Store

with tempfile.TemporaryDirectory() as scratch:
    store = Store(f"sqlite:///{Path(scratch) / 'scratch.db'}")
    versions = Path(__file__).parent / "versions"
    number = f"{len(list(versions.glob('[0-9]*.py'))) + 1:04}"
    if number != "0001":
        upgrade(store, before=lambda _: None, after=lambda _: None)
    command.revision(configuration(store), sys.argv[1], autogenerate=True, rev_id=number)
    store.close()
