"""Enrolment: how a machine becomes a host of the cloud, and how it leaves it again.

report = add(store, config, ctx, address="root@10.0.0.5", ask=confirm, tell=print)
remove(store, config, ctx, report.name, ask=confirm, tell=print)
"""

from core.hosts.enroll.enrolling import DEFAULT_ZONE, LOCAL, add
from core.hosts.enroll.keys import key_path, ssh_target
from core.hosts.enroll.layout import Layout
from core.hosts.enroll.removing import remove
from core.hosts.enroll.report import Report, Row, Verdict

__all__ = ["DEFAULT_ZONE", "LOCAL", "Layout", "Report", "Row", "Verdict", "add", "key_path", "remove", "ssh_target"]
