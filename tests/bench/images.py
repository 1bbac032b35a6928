"""`image_bring`, `image_convert`: an image into the store (copied, hashed, synced, inspected twice), and a raw disk
made into one (without rights, within limits).

The baselines are `cp` and `sync` of the same file, and `qemu-img convert` of the same disk.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path

from core import cloud
from core.config import Config, load
from core.context import Context
from core.images import bring, convert
from core.store import Store
from tests.bench.common import record
from tests.bench.ground import median, took

SIZE = int(os.environ.get("BENCH_IMAGE_MIB", "256"))
"""MiB."""

ROUNDS = 5


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="skydeck-bench-") as folder:
        home = Path(folder)
        config = load({"SKYDECK_HOME": str(home / "home")})
        store = cloud.open_store(config)
        try:
            with store.read() as session:
                ctx = cloud.context(session, config, source="cli")
            _bring(store, config, ctx, home)
        finally:
            store.close()
        _convert(home)


def _bring(store: Store, config: Config, ctx: Context, folder: Path) -> None:
    file, copy = folder / "disk", folder / "copy"
    file.write_bytes(os.urandom(SIZE << 20))
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(ROUNDS + 1):
        # Another image each time, so that its file is a new one.
        with file.open("r+b") as changed:
            changed.write(os.urandom(512))
        os.sync()
        with store.write() as session:
            image = bring.start(session, ctx, name=f"i{number}", disk_format="raw", path=file)
        mine = took(lambda id=image.id: bring.bring(store, config, ctx, id, path=file))  # type: ignore[misc]
        cp = took(lambda: subprocess.run(["sh", "-c", f"cp {file} {copy} && sync {copy}"], check=True))
        bring.remove(store, config, ctx, image.id)
        copy.unlink()
        if number:
            ours.append(mine)
            theirs.append(cp)
    record("image_bring", SIZE / median(ours), "MiB/s", SIZE / median(theirs), ROUNDS)


def _convert(folder: Path) -> None:
    source, target = folder / "disk", folder / "made"
    ours: list[float] = []
    theirs: list[float] = []
    plain = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(source), str(target)]
    for number in range(ROUNDS + 1):
        target.unlink(missing_ok=True)
        mine = took(lambda: asyncio.run(convert.convert(source, target, disk_format="qcow2", limit=SIZE << 21)))
        target.unlink()
        baseline = took(lambda: subprocess.run(plain, check=True))
        os.sync()
        if number:
            ours.append(mine)
            theirs.append(baseline)
    record("image_convert", SIZE / median(ours), "MiB/s", SIZE / median(theirs), ROUNDS)
