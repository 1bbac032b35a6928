"""Where images' bytes are: on the controller, or in object stores (glance's stores), by the digest of what they hold.

files.py keeps files; objects.py keeps objects, with files at hand before them; choice.py knows which there are.
"""

from core.images.stores.choice import FILE, Stores
from core.images.stores.files import CHUNK, ImageStore, Partial, Progress, Stored, Usage, check_limit
from core.images.stores.objects import ObjectImages

__all__ = [
    "CHUNK",
    "FILE",
    "ImageStore",
    "ObjectImages",
    "Partial",
    "Progress",
    "Stored",
    "Stores",
    "Usage",
    "check_limit",
]
