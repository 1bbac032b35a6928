"""What a host gives to its guests' networks: addresses and names (dnsmasq), and metadata.

Both stand in the network's namespace `skn-X`, on the service leg `svc`, with the same addresses on every host.
"""

from __future__ import annotations

from hostd.network.services.dhcp import Dhcp
from hostd.network.services.metadata import MetadataPart

__all__ = ["Dhcp", "MetadataPart"]
