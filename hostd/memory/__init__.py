"""Drivers whose guests, networks and exports are small JSON files, or nothing but a dictionary, and whose volumes are
sparse files.

They behave as the real ones do towards the daemon, so that its own promises (generations, journal,
crashes, queues) are tested on any machine, by anybody, in milliseconds. `fake` stands on them too.
"""

from hostd.memory.exports import MemoryExports
from hostd.memory.guests import MemoryGuests
from hostd.memory.networking import MemoryNetworking
from hostd.memory.records import Directory, Record
from hostd.memory.volumes import MemoryBackend, MemoryPools

__all__ = (
    "Directory",
    "MemoryBackend",
    "MemoryExports",
    "MemoryGuests",
    "MemoryNetworking",
    "MemoryPools",
    "Record",
)
