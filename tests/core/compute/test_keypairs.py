"""Public keys as ssh-keygen makes them, and what is refused."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from sqlmodel import Session

from core.compute import keypairs
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded
from core.identity import quotas
from tests.core.world import World

KINDS = {
    "ed25519": ["-t", "ed25519"],
    "rsa": ["-t", "rsa", "-b", "2048"],
    "ecdsa-256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa-384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa-521": ["-t", "ecdsa", "-b", "521"],
    "weak": ["-t", "rsa", "-b", "1024"],
}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind to the path of the private key."""
    home = tmp_path_factory.mktemp("keys")
    for name, options in KINDS.items():
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", f"me@{name}", "-f", home / name, *options], check=True)
    return {name: home / name for name in KINDS}


def public(keys: dict[str, Path], name: str) -> str:
    return keys[name].with_suffix(".pub").read_text()


@pytest.mark.parametrize("name", [name for name in KINDS if name != "weak"])
def test_real_keys_are_taken_with_ssh_keygens_fingerprint(name: str, keys: dict[str, Path]) -> None:
    line, fingerprint = keypairs.parse(public(keys, name))
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", keys[name].with_suffix(".pub")], capture_output=True, text=True, check=True
    )
    assert fingerprint == shown.stdout.split()[1]
    assert line == public(keys, name).strip()


def wire(*fields: bytes) -> str:
    return base64.b64encode(b"".join(len(field).to_bytes(4, "big") + field for field in fields)).decode()


ED = wire(b"ssh-ed25519", b"k" * 32)
BAD = {
    "nothing": ("", "not an OpenSSH public key"),
    "one word": ("ssh-ed25519", "not an OpenSSH public key"),
    "two lines": (f"ssh-ed25519 {ED}\nssh-ed25519 {ED}", "one line"),
    "no base64": ("ssh-ed25519 AAAA!", "base64 is damaged"),
    "truncated": (f"ssh-ed25519 {ED[:40]}", "holds something else"),
    "another type inside": (f"ssh-rsa {ED}", "says it is 'ssh-rsa' but holds something else"),
    "short ed25519": (f"ssh-ed25519 {wire(b'ssh-ed25519', b'k' * 31)}", "malformed"),
    "more than a key": (f"ssh-ed25519 {wire(b'ssh-ed25519', b'k' * 32, b'x')}", "malformed"),
    "dss": (f"ssh-dss {wire(b'ssh-dss', b'1', b'2', b'3', b'4')}", "'ssh-dss' are not taken"),
    "no such curve": (
        f"ecdsa-sha2-nistp192 {wire(b'ecdsa-sha2-nistp192', b'nistp192', b'x' * 49)}",
        "malformed",
    ),
    "curves that differ": (
        f"ecdsa-sha2-nistp256 {wire(b'ecdsa-sha2-nistp256', b'nistp384', bytes([4]) + b'x' * 64)}",
        "malformed",
    ),
    "a compressed point": (
        f"ecdsa-sha2-nistp256 {wire(b'ecdsa-sha2-nistp256', b'nistp256', bytes([2]) + b'x' * 64)}",
        "malformed",
    ),
    "an escape in the comment": (f"ssh-ed25519 {ED} me\x1b[2J", "unprintable"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD)
def test_bad_keys(text: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        keypairs.parse(text)
    assert says in refused.value.title


def test_a_private_key_is_named_as_what_it_is(keys: dict[str, Path]) -> None:
    with pytest.raises(Invalid, match="this is a private key"):
        keypairs.parse(keys["ed25519"].read_text())


def test_a_weak_rsa_key(keys: dict[str, Path]) -> None:
    with pytest.raises(Invalid, match="an RSA key of 1024 bits is too weak"):
        keypairs.parse(public(keys, "weak"))


def test_a_key_without_a_comment() -> None:
    assert keypairs.parse(f"ssh-ed25519 {ED}\n")[0] == f"ssh-ed25519 {ED}"


def test_they_belong_to_the_user(world: World) -> None:
    line = f"ssh-ed25519 {ED}"
    one, other = world.someone("member", name="one"), world.someone("member", name="other")
    with world.store.write() as session:
        keypairs.create(session, one, name="k", public_key=line)
        keypairs.create(session, other, name="k", public_key=line)
        with pytest.raises(Conflict, match="keypair 'k' exists"):
            keypairs.create(session, one, name="k", public_key=line)
        keypairs.delete(session, one, "k")
        with pytest.raises(NotFound):
            keypairs.find(session, one, "k")
        assert keypairs.find(session, other, "k").public_key == line


def test_their_quota_is_per_user(world: World) -> None:
    me = world.someone("member", name="one")

    def make(session: Session, count: int) -> None:
        for number in range(count):
            keypairs.create(session, me, name=f"k{number}", public_key=f"ssh-ed25519 {ED}")

    with world.store.write() as session:
        quotas.update(session, world.admin, me.project_id, me.project_name, {"key_pairs": 2})
    with pytest.raises(QuotaExceeded, match="quota exceeded for key_pairs: 2 of 2 used"):
        with world.store.write() as session:
            make(session, 3)
    with world.store.write() as session:
        make(session, 2)
