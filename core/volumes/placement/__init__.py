"""Choosing where a volume is kept, and which host acts for it.

`model`, `filters`, `weighers`: pure, as the compute scheduler's. `places`: from the database to them and back.
"""

from core.volumes.placement.acting import actor, choose_actor, reach
from core.volumes.placement.model import Place, Request, key
from core.volumes.placement.places import look, place, zone_of

__all__ = ("Place", "Request", "actor", "choose_actor", "key", "look", "place", "reach", "zone_of")
