"""Everything that shows or reaches the inside of an instance: its serial console, its log, ssh, its display."""
