"""What stands behind every form, whatever noun it is of: the command that does the same, what its verb would say, what
was left unfinished, and the same values as a document in an editor."""
