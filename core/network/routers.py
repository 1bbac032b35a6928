"""Routers: what joins a project's networks to each other and to the world. Realised on every host that needs one."""

from __future__ import annotations
