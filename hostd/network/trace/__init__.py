"""A host's part of a packet's way: its hops in the order they are met, what each is told and what is there."""

from __future__ import annotations

from hostd.network.trace.hops import hops

__all__ = ["hops"]
