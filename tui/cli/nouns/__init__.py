"""A file per noun of the command line: what it declares, and the commands that are its own."""
