"""What guests write to their serial consoles: where it is kept, how it is read and searched, and what in it a person
should hear of.

virtlogd writes the logs and turns them over; nothing here writes to them. When an instance is deleted its log is kept
for a while.
"""
