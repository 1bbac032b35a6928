"""Bulk bytes to and from one host: images, contents of disks, consoles, on a connection of their own.

On the calls' connection they would make every call wait. Everything that blocks is done in threads; images go by
sendfile(2), file to socket without passing through Python.
"""

from core.hosts.bulk.consoles import ConsoleStream, FrameStream, TunnelStream
from core.hosts.bulk.extents import Extent, save_extents
from core.hosts.bulk.link import BulkLink

__all__ = ("BulkLink", "ConsoleStream", "Extent", "FrameStream", "TunnelStream", "save_extents")
