"""The lab's Ceph: block devices for who may, objects over S3, and nothing left of it."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from minio import Minio

from tests.lab.ceph import POOL, USER, Ceph


@pytest.mark.e2e
def test_it_serves_and_leaves_nothing(tmp_path: Path) -> None:
    with Ceph(tmp_path / "ceph") as ceph:
        rbd = ["rbd", "--conf", ceph.conf, "--id", USER, "--keyring", ceph.keyring]
        subprocess.run([*rbd, "create", "--size", "64M", f"{POOL}/image"], check=True, timeout=30)
        assert ceph.rbd("ls", POOL).split() == ["image"]
        s3 = ceph.s3()
        client = Minio(urlsplit(s3.endpoint).netloc, s3.access_key, s3.secret_key, secure=False)
        client.make_bucket("bucket")
        client.put_object("bucket", "object", io.BytesIO(b"data"), 4)
        with client.get_object("bucket", "object") as answer:
            assert answer.read() == b"data"
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and str(tmp_path) in _command(pid)]


def _command(pid: str) -> str:
    try:
        return Path("/proc", pid, "cmdline").read_text()
    except OSError:  # it ended meanwhile
        return ""
