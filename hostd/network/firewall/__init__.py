"""The firewall of a host's guests: anti-spoofing, security groups, and what must not leak between hosts.

`rules.ruleset` makes all of it out of a document; `part.Firewall` keeps the kernel so; `decide` and `counted` say which
rule decides on a packet, and how often it did.
"""

from hostd.network.firewall.kernel import backend
from hostd.network.firewall.part import Firewall, FirewallSeen
from hostd.network.firewall.policy import Decision, counted, decide, in_place
from hostd.network.firewall.rules import Backend, ruleset

__all__ = [
    "Backend",
    "Decision",
    "Firewall",
    "FirewallSeen",
    "backend",
    "counted",
    "decide",
    "in_place",
    "ruleset",
]
