"""`port_commit`, `port_live`: a port made and bound on one host of three, until it is stored, and until it is ACTIVE.

Real hosts, the engine as its own process, SSH between them. The baseline of both is a bare script on the host that does
what a port needs there: nft elements for its rights, a lease, forwarding entries.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from core.identity import quotas
from core.network import networks, ports, subnets
from core.network.tables import GUEST, Port
from tests.bench.common import quantile, record
from tests.e2e.cloud import Cloud
from tests.lab.hosts import REPOSITORY, Lab

ROUNDS = 40
HOSTS = ("bench-a", "bench-b", "bench-c")

SCRIPT = """
nft add table bridge bare
nft add set bridge bare rights '{ type ifname . ether_addr . ipv4_addr; }'
nft add element bridge bare rights '{ "skt-%(tap)s" . %(mac)s . %(ip)s }'
ip link show >/dev/null
bridge fdb show >/dev/null
echo '%(mac)s,%(ip)s' >/run/bare-lease
"""


def run() -> None:
    with _three_hosts() as cloud:
        with cloud.store.write() as session:
            quotas.update(session, cloud.ctx, cloud.ctx.project_id, cloud.ctx.project_name, {"ports": quotas.UNLIMITED})
            net = networks.create(session, cloud.ctx, cloud.config, name="bench")
            subnets.create(
                session, cloud.ctx, name="bench", network=net.id, project_id=net.project_id, cidr="10.80.0.0/16"
            )
        for name in HOSTS:  # every host carries the network
            _bound(cloud, net.id, name)
        commits, live, bare = [], [], []
        for number in range(ROUNDS):
            begun = time.perf_counter()
            port = _bound(cloud, net.id, HOSTS[number % 3], wait=False)
            commits.append(time.perf_counter() - begun)
            _until_active(cloud, port)
            live.append(time.perf_counter() - begun)
            host = cloud.hosts[HOSTS[number % 3]]
            begun = time.perf_counter()
            host.run(["sh", "-c", SCRIPT % {"tap": f"{number:011x}", "mac": port.mac, "ip": "10.80.0.9"}])
            bare.append(time.perf_counter() - begun)
        baseline = 1000 * statistics.median(bare)
        for name, values in (("port_commit", commits), ("port_live", live)):
            record(f"{name}_p50", 1000 * statistics.median(values), "ms", baseline, ROUNDS)
            record(f"{name}_p99", 1000 * quantile(values, 0.99), "ms", baseline, ROUNDS)


@contextlib.contextmanager
def _three_hosts() -> Iterator[Cloud]:
    lab = Lab(REPOSITORY / ".lab" / "bench-ports")
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        cloud = Cloud(Path(home))
        try:
            cloud.enrol(lab, lab.up(HOSTS))
            yield cloud
        finally:
            cloud.close()
            lab.down()


def _bound(cloud: Cloud, network: str, host: str, *, wait: bool = True) -> Port:
    row = cloud.host(host)
    with cloud.store.write() as session:
        port = ports.add(session, cloud.ctx, network=network)
        port.device_id, port.device_owner = str(uuid4()), f"{GUEST}nova"
        session.flush()
        ports.bind(session, port.device_id, row.id)
    if wait:
        _until_active(cloud, port)
    return port


def _until_active(cloud: Cloud, port: Port) -> None:
    cloud.until_wired(port.id)
