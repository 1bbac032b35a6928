"""`image_copy`: an image into a host's cache over the bulk connection, received, hashed and synced there.

The baseline is scp of the same file under the same cipher, which neither hashes nor syncs.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

from core.hosts.bulk import BulkLink
from tests.bench.common import record
from tests.bench.ground import Ground, ground, median, took

SIZE = int(os.environ.get("BENCH_IMAGE_MIB", "512"))
"""MiB."""

ROUNDS = 5

CIPHER = "aes128-gcm@openssh.com"
"""What the bulk connection prefers."""


def run() -> None:
    with ground() as on, tempfile.TemporaryDirectory(prefix="skydeck-bench-") as folder:
        ours, theirs = asyncio.run(_measure(on, Path(folder, "image")))
    record("image_copy", SIZE / median(ours), "MiB/s", SIZE / median(theirs), ROUNDS)


async def _measure(on: Ground, file: Path) -> tuple[list[float], list[float]]:
    bulk = BulkLink(on.target, cloud=on.identity, term=on.take_over(), host=on.row.id)
    ours: list[float] = []
    theirs: list[float] = []
    file.write_bytes(os.urandom(SIZE << 20))
    copy = [*_scp(on), str(file), f"root@{on.host.address}:/var/lib/copy"]
    try:
        for number in range(ROUNDS + 1):
            # Another image each time: the host takes none that it has.
            with file.open("r+b") as changed:
                changed.write(os.urandom(16))
            with file.open("rb") as whole:
                digest = hashlib.file_digest(whole, "sha256").hexdigest()
            os.sync()
            began = time.perf_counter()
            await bulk.send_image(file, digest)
            mine = time.perf_counter() - began
            os.sync()
            scp = took(lambda: subprocess.run(copy, check=True, capture_output=True))
            on.host.run(["rm", "/var/lib/copy"])
            on.host.run(["sh", "-c", f"rm -f /var/lib/skydeck/images/*{digest}*"])
            if number:  # the first one connects and warms the file
                ours.append(mine)
                theirs.append(scp)
    finally:
        await bulk.close()
    return ours, theirs


def _scp(on: Ground) -> list[str]:
    """scp with the lab's key and the host's pinned one, as `LabHost.ssh` has them."""
    options = on.host.ssh()[1:-2]
    return ["scp", "-q", "-o", f"Ciphers={CIPHER}", *options]
