"""Keypairs: public keys a user brings. They belong to the user, not the project; private halves are never kept here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path

from sqlalchemy import BigInteger, func
from sqlmodel import Field, Session, SQLModel, col

from core import events, names
from core.context import Context
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded
from core.identity import quotas
from core.identity.policy import authorize
from core.sql import select
from core.store import now

_SMALLEST_RSA = 2048
_CURVES = {"nistp256": 65, "nistp384": 97, "nistp521": 133}
"""ECDSA curve to bytes of an uncompressed point."""


class Keypair(SQLModel, table=True):
    user_id: str = Field(primary_key=True, foreign_key="account.id", ondelete="CASCADE")
    name: str = Field(primary_key=True)
    type: str = "ssh"
    fingerprint: str
    """SHA256 of the key, as `ssh-keygen -l` prints it."""
    public_key: str
    created_at: int = Field(sa_type=BigInteger)


def parse(line: str) -> tuple[str, str]:
    """A public key line checked field by field: (the line, cleaned; its SHA256 fingerprint).

    ed25519, rsa of at least 2048 bits, and ecdsa on the three NIST curves (RFC 4253, 5656, 8709). Raises Invalid,
    and says so when somebody pastes a private key.
    """
    text = line.strip()
    if "PRIVATE KEY" in text:
        raise Invalid("this is a private key", hint="Import the file that ends in .pub, and keep this one to yourself.")
    if "\n" in text or "\r" in text:
        raise Invalid("a public key is one line", hint="Pass the .pub file.")
    parts = text.split(None, 2)
    if len(parts) < 2:
        raise Invalid("this is not an OpenSSH public key", hint="It looks like: ssh-ed25519 AAAA… comment")
    kind, encoded = parts[0], parts[1]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error as bad:
        raise Invalid("the key's base64 is damaged", hint="Copy the whole line.") from bad
    fields = _fields(blob)
    if not fields or fields[0] != kind.encode():
        raise Invalid(f"the key says it is {kind!r} but holds something else", hint="Copy the whole line.")
    if kind == "ssh-ed25519":
        good = len(fields) == 2 and len(fields[1]) == 32
    elif kind == "ssh-rsa":
        good = len(fields) == 3
        bits = int.from_bytes(fields[2], "big").bit_length() if good else 0
        if good and bits < _SMALLEST_RSA:
            raise Invalid(f"an RSA key of {bits} bits is too weak", hint=f"At least {_SMALLEST_RSA}, or ed25519.")
    elif kind.startswith("ecdsa-sha2-"):
        curve = kind.removeprefix("ecdsa-sha2-")
        good = (
            len(fields) == 3
            and fields[1] == curve.encode()
            and len(fields[2]) == _CURVES.get(curve)
            and fields[2][:1] == b"\x04"
        )
    else:
        raise Invalid(f"keys of type {kind!r} are not taken", hint="Use ed25519, rsa or ecdsa.")
    if not good:
        raise Invalid(f"the {kind} key is malformed", hint="Copy the whole line.")
    comment = names.check(parts[2], "key comment") if len(parts) > 2 else ""
    print_ = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return " ".join(part for part in (kind, encoded, comment) if part), f"SHA256:{print_}"


def _fields(blob: bytes) -> list[bytes]:
    """The length-prefixed strings of an SSH wire blob; empty when the lengths do not add up."""
    fields, at = [], 0
    while at < len(blob):
        size = int.from_bytes(blob[at : at + 4], "big")
        if at + 4 + size > len(blob):
            return []
        fields.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    return fields


def find(session: Session, ctx: Context, name: str) -> Keypair:
    """The caller's own keypair. Raises NotFound."""
    authorize(ctx, "keypair:list")
    row = session.get(Keypair, (ctx.user_id, name))
    if row is None:
        raise NotFound(f"no keypair {name!r}", hint="skydeck keypair list shows yours.")
    return row


def create(session: Session, ctx: Context, *, name: str, public_key: str) -> Keypair:
    """Import a public key. Raises Invalid, Conflict for a name taken, QuotaExceeded."""
    authorize(ctx, "keypair:create")
    names.check(name, "keypair")
    line, fingerprint = parse(public_key)
    if session.get(Keypair, (ctx.user_id, name)) is not None:
        raise Conflict(f"keypair {name!r} exists", hint="Choose another name, or delete it first.")
    # Keypairs are counted per user, unlike all that quotas.check counts.
    limit = quotas.limits(session, ctx.project_id)["key_pairs"]
    have = session.execute(select(func.count()).where(col(Keypair.user_id) == ctx.user_id)).scalar_one()
    if limit != quotas.UNLIMITED and have >= limit:
        raise QuotaExceeded(f"quota exceeded for key_pairs: {have} of {limit} used", hint="Delete one first.")
    keypair = Keypair(user_id=ctx.user_id, name=name, fingerprint=fingerprint, public_key=line, created_at=now(session))
    session.add(keypair)
    session.flush()
    events.record(
        session, ctx, "keypair.create", kind="keypair", id=name, name=name, after={"fingerprint": fingerprint}
    )
    return keypair


def generate(session: Session, ctx: Context, *, name: str, private_key: Path) -> Keypair:
    """A new Ed25519 pair: the public half is kept here, the private one is written to a file that only its owner may
    read, and nowhere else. Raises Invalid for a file that is there or cannot be written, and as `create`."""
    import asyncssh

    pair = asyncssh.generate_private_key("ssh-ed25519", comment=name)
    made = create(session, ctx, name=name, public_key=pair.export_public_key().decode())
    session.flush()
    try:
        descriptor = os.open(private_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as bad:
        raise Invalid(f"the private key cannot be written: {bad.strerror}", hint=f"To {private_key}.") from bad
    with os.fdopen(descriptor, "wb") as file:
        file.write(pair.export_private_key())
    return made


def delete(session: Session, ctx: Context, name: str) -> None:
    """Guests that were given the key keep it."""
    authorize(ctx, "keypair:delete")
    session.delete(find(session, ctx, name))
    session.flush()
    events.record(session, ctx, "keypair.delete", kind="keypair", id=name, name=name)
