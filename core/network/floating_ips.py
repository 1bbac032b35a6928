"""Floating IPs: addresses of an external network that belong to a project and can be put on any port of its."""

from __future__ import annotations
