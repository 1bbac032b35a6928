"""Plans: what a large act would do to which objects, in which order and what stands in its way, before it is done.

A plan is read, shown and agreed to; carrying it out uses the verbs that anybody could use by hand, one transaction
each, so that policy, guards, quotas and the audit trail hold as ever. There is no hidden cascade.
"""

from core.plans.carry import Outcome, carry_out
from core.plans.model import Blocker, Plan, Step
from core.plans.planning import PLANS, plan

__all__ = ("PLANS", "Blocker", "Outcome", "Plan", "Step", "carry_out", "plan")
