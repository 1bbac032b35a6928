"""Images: what instances are made from. The row is the record; the bytes lie in an image store, by digest.

table.py is the row, access.py who sees and may use it, life.py how it comes and goes, changes.py what may change of it.
"""

from core.images.images.access import find, listed, owned, usable, visible
from core.images.images.changes import deactivate, reactivate, set, unset, update
from core.images.images.life import activate, begin, create, delete, kill, shared_digest, size_limit
from core.images.images.table import FORMATS, VISIBILITIES, Image

__all__ = [
    "FORMATS",
    "VISIBILITIES",
    "Image",
    "activate",
    "begin",
    "create",
    "deactivate",
    "delete",
    "find",
    "kill",
    "listed",
    "owned",
    "reactivate",
    "set",
    "shared_digest",
    "size_limit",
    "unset",
    "update",
    "usable",
    "visible",
]
