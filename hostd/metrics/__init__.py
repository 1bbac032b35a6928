"""What guests and the host use: sampled once a second, kept for ten minutes in ring files, answered by `metrics`.

counting    the host's own figures from /proc, a guest's from libvirt's counters
keeping     the ring files
cost        what sampling takes of the host
sampler     the thread that takes samples, and the answer to the call
"""

from hostd.metrics.counting import Counting, guest_sample_of
from hostd.metrics.sampler import Sampler

__all__ = ["Counting", "Sampler", "guest_sample_of"]
