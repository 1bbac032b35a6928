"""Copies of images from host to host: two caches, and a real sshd between them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostd.cache import ImageCache
from hostd.crash import NEVER
from hostd.peers import Peers
from hostd.spec import ErrorCode, HostError, Receive
from tests.core.hosts.sshd import Sshd, running_sshd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="hosts log in to each other as root")

DATA = os.urandom(3 << 20)
DIGEST = hashlib.sha256(DATA).hexdigest()
COPY = "0" * 32


class Host:
    def __init__(self, state: Path, keys: Path) -> None:
        self.cache = ImageCache(state / "images", clock=time.time, crash=NEVER)
        self.now = time.time()
        self.keys = keys
        self.peers = Peers(self.cache, clock=lambda: self.now, authorized_keys=lambda: keys)

    def act(self, verb: str, **args: Any) -> dict[str, Any]:
        return self.peers.act(f"image_{verb}", {"copy": COPY, **args})


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path, tmp_path / "nothing") as sshd:
        yield sshd


@pytest.fixture
def giver(tmp_path: Path) -> Host:
    host = Host(tmp_path / "giver", tmp_path / "authorized_keys")
    with host.cache.receive(Receive(digest=DIGEST, size=len(DATA))) as incoming:
        incoming.write(memoryview(DATA))
        incoming.finish()
    return host


@pytest.fixture
def taker(tmp_path: Path) -> Host:
    return Host(tmp_path / "taker", tmp_path / "none")


def way(sshd: Sshd, **changes: Any) -> dict[str, Any]:
    at = sshd.target
    return {
        "digest": DIGEST,
        "size": len(DATA),
        "address": at.address,
        "port": at.port,
        "host_key": at.host_key,
        **changes,
    }


def test_an_image_goes_from_host_to_host(sshd: Sshd, giver: Host, taker: Host) -> None:
    before = giver.keys.read_text()
    asked = taker.act("ask")
    assert taker.act("ask") == asked, "asked again it is the same key"
    giver.act("offer", digest=DIGEST, **asked)
    giver.act("offer", digest=DIGEST, **asked)
    (line,) = giver.keys.read_text().removeprefix(before).splitlines()
    assert line.startswith('restrict,expiry-time="')
    assert f"give --state {giver.cache.root.parent} {DIGEST}" in line
    # A part of it is there already: it goes on from there.
    with taker.cache.receive(Receive(digest=DIGEST, size=len(DATA))) as incoming:
        incoming.write(memoryview(DATA)[: 1 << 20])
    assert taker.act("take", **way(sshd)) == {"bytes": 2 << 20}
    assert taker.cache.path_of(DIGEST).read_bytes() == DATA
    giver.act("withdraw")
    assert giver.keys.read_text() == before
    assert [path.name for path in (taker.cache.root / "peers").iterdir()] == []
    with pytest.raises(HostError, match="is over"):
        taker.act("take", **way(sshd))


def test_what_the_key_may_not_do(sshd: Sshd, giver: Host, taker: Host) -> None:
    asked = taker.act("ask")
    with pytest.raises(HostError) as missing:
        giver.act("offer", digest="0" * 64, **asked)
    assert missing.value.code is ErrorCode.IMAGE_MISSING
    with pytest.raises(HostError, match="does not give it"):  # it was never offered
        taker.act("take", **way(sshd))
    asked = taker.act("ask")
    giver.act("offer", digest=DIGEST, **asked)
    other = hashlib.sha256(b"other").hexdigest()
    (giver.cache.root / other).write_bytes(b"other")
    with pytest.raises(HostError, match=r"more than|have sha256"):  # whatever is asked for, it gives the one image
        taker.act("take", **way(sshd, digest=other, size=5))
    assert [image.digest for image in taker.cache.images() if image.verified] == []


def test_a_giver_that_is_another_is_not_spoken_to(sshd: Sshd, giver: Host, taker: Host, tmp_path: Path) -> None:
    giver.act("offer", digest=DIGEST, **taker.act("ask"))
    forged = (tmp_path / "client_key.pub").read_text().strip()
    with pytest.raises(HostError, match="does not give it"):
        taker.act("take", **way(sshd, host_key=forged))
    assert [image.size for image in taker.cache.images()] == [0]


def test_an_offer_that_nobody_withdrew_is_over_by_itself(giver: Host, taker: Host) -> None:
    before = giver.keys.read_text() if giver.keys.exists() else ""
    giver.act("offer", digest=DIGEST, seconds=60, **taker.act("ask"))
    giver.now += 61
    giver.peers.act("image_offer", {"copy": "1" * 32, "digest": DIGEST, **taker.act("ask")})
    assert COPY not in giver.keys.read_text()
    giver.peers.act("image_withdraw", {"copy": "1" * 32})
    assert giver.keys.read_text() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "-oProxyCommand=touch /tmp/x"},
        {"address": "a b"},
        {"host_key": "ssh-ed25519 AAAA\ngiver ssh-ed25519 BBBB"},
        {"port": 0},
        {"digest": "../../etc/shadow"},
        {"copy": "../x"},
    ],
)
def test_words_from_elsewhere_are_shaped(taker: Host, wrong: dict[str, Any]) -> None:
    taker.act("ask")
    asked = {"digest": DIGEST, "size": 1, "address": "127.0.0.1", "port": 22, "host_key": "ssh-ed25519 AAAA", **wrong}
    with pytest.raises(HostError) as refused:
        taker.act("take", **asked)
    assert refused.value.code is ErrorCode.PROTOCOL


def test_a_key_is_one_line(giver: Host) -> None:
    for key in ("ssh-ed25519 AAAA\nssh-rsa BBBB", 'ssh-ed25519 AAAA" x', "", 'command="sh" ssh-ed25519 AAAA'):
        with pytest.raises(HostError):
            giver.act("offer", digest=DIGEST, public_key=key)
