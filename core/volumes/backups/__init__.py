"""Backups of volumes: full or incremental, in a directory or in S3-compatible storage, verified and proven.

A backup is a complete list of chunks (`manifest`), each stored once in a `repository` under the digest of its contents.
An incremental one costs what changed, and is as complete as a full one: nothing of its parent is needed to restore it.
`verbs` are the rules; the steps are in core/operations/kinds/backups.py and drills.py.
"""

from core.volumes.backups.verbs import create, delete, drill, find, restore, set, verify

__all__ = ("create", "delete", "drill", "find", "restore", "set", "verify")
