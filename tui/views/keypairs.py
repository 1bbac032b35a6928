"""Keypairs: public keys of the person who sits here."""

from __future__ import annotations

from typing import Any

from tui.verbs import COPY, DESCRIBE, NEW, OPEN, YAML, Needs, Verb, deletion
from tui.view import Column, Tab, View
from tui.views.cells import aged, facts, plain
from tui.views.keypair_forms import GENERATE, IMPORT
from tui.views.policy import needs_role


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.compute import keypairs

    return keypairs.delete(session, ctx, id)


GENERATE_KEY = Verb(
    name="generate",
    key="K",
    label="make",
    help="Make a pair; its private half is written to a file here",
    needs=Needs.NOTHING,
    form=GENERATE,
)

VIEW = View(
    kind="keypair",
    title="Keypairs",
    aliases=("key", "keypair"),
    columns=(
        Column(title="NAME", key="name", width=18, grow=14),
        Column(
            title="KIND", width=8, cell=lambda row, now: (row["public_key"].split()[0].removeprefix("ssh-")[:8], "")
        ),
        Column(title="FINGERPRINT", key="fingerprint", width=38, grow=14, cell=plain("fingerprint")),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        GENERATE_KEY,
        deletion(
            _delete, help="Delete the key; guests that have it keep it", disabled_reason=needs_role("keypair:delete")
        ),
        YAML,
        COPY,
    ),
    form=IMPORT,
    tabs=(
        Tab(
            title="Overview",
            read=lambda session, ctx, row, now: facts(
                [("fingerprint", row["fingerprint"]), ("public key", row["public_key"])]
            ),
        ),
    ),
    preview=lambda row, now: [[(row["public_key"], "")]],
    empty=lambda session, ctx: [
        ("No keypairs yet.", "head"),
        ("n imports a public key, e.g. ~/.ssh/id_ed25519.pub; K makes a pair.", ""),
    ],
    key="name",
    copies=("name", "fingerprint"),
)
