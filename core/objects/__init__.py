"""Bytes under names, kept in a directory or in S3-compatible storage: what backups and images are kept in.

    store = open_store({"driver": "file", "path": "/srv/backups"}, named="backups.nightly")
    store.put("chunks/ab/abcdef", b"bytes")
    store.read("chunks/ab/abcdef")

One contract (`store.ObjectStore`), one suite of tests for all drivers.
"""

from core.objects.options import open_store
from core.objects.store import LEAF, Full, ObjectStore, checked

__all__ = ("LEAF", "Full", "ObjectStore", "checked", "open_store")
