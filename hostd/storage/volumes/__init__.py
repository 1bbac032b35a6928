"""Volumes and their snapshots on a host: one driver over every backend."""
