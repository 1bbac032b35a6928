"""Volumes: how they look, what can be done to them, their forms and their pages."""
