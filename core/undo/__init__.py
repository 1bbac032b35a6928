"""Taking back: what a person did lately, and the verb that would undo it, out of the audit trail.

There is no rollback. Every undo is another verb, with its own policy, guard, quota and audit event, and only what has
such an inverse is offered; of the rest it is said plainly that it cannot be taken back.
"""

from core.undo.history import Deed, recent, undo
from core.undo.inverses import INVERSES, inverse
from core.undo.model import Inverse

__all__ = ("INVERSES", "Deed", "Inverse", "inverse", "recent", "undo")
