"""Bridges, tunnels, cables and VLANs: what a host's networks are made of.

guest -- skt-P --+-- skb-X (bridge) --+-- skv-X  VXLAN to the other hosts
                                      +-- skd-X == svc, in namespace skn-X: DHCP, DNS, metadata
                                      +-- eth1, skl-X (VLAN of eth1), or sku-X == skw-X on the operator's bridge
"""

from __future__ import annotations

from hostd.network.links.part import Links, bridge_of

__all__ = ["Links", "bridge_of"]
