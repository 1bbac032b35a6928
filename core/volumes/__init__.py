"""Volumes and what is made of them: types, snapshots, backups, transfers; and the backends that keep them."""
