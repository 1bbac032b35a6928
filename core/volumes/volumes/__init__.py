"""Volumes: making, changing and deleting them. `create`, `change` and `retype` are the verbs."""

from core.volumes.access import find
from core.volumes.volumes.change import delete, extend, revert, set, unset
from core.volumes.volumes.create import create, create_kept, prepare
from core.volumes.volumes.retype import retype

__all__ = ("create", "create_kept", "delete", "extend", "find", "prepare", "retype", "revert", "set", "unset")
