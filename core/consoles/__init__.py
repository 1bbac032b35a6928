"""Consoles of instances, as the cloud has them: what their logs tell, searching logs across hosts, and ways into
guests. The bytes themselves go through the door (core.door)."""
