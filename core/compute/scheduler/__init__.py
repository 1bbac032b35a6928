"""Choosing a host: pure functions of what is asked and what each host has. No database, no clock, no network."""
