"""Instances: the guests that projects ask for.

states    vm_state and task_state, and the status a person is shown
table     the row
guards    which verb is allowed in which state, exactly as nova's decorators have it
create    placing one to n new instances
verbs     everything done to one afterwards
wire      the row as a host is told it
reads     lists and details
"""
