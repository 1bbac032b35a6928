"""Routers, on every host that needs them: no packet takes a way over another host to be routed.

guest -- skb-A -- skr-A == qr-A --+-- sn == t-R --+-- ext == ske-N -- skb-N  the outside
guest -- skb-B -- skr-B == qr-B --+   namespace skg-N: all routers' guests are seen as this host's one address
             namespace skr-R      +-- qx == skx-R -- skb-N  floating IPs, seen as themselves
"""

from __future__ import annotations

from hostd.network.routers.part import Routers

__all__ = ["Routers"]
