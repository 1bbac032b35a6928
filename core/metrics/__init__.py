"""What guests and hosts use: collected by the engine every ten seconds, kept for a day in ring files, read from there.

rates       counters to rates
files       the ring files: where they are, what is in them
reads       latest and series, for lists and pages
collect     the engine's part: one call per host and step
live        the last ten minutes, second by second, from the host itself

The files belong to the machine the engine runs on. Where the database is shared, another machine's app sees no series.
"""

from core.metrics.rates import Latest, Rate, Series
from core.metrics.reads import latest, series

__all__ = ["Latest", "Rate", "Series", "latest", "series"]
