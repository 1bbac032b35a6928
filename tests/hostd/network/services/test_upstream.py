"""Whom a network's DNS asks for foreign names."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostd.network.services.upstream import resolvers

STUB = "# systemd-resolved\nnameserver 127.0.0.53\noptions edns0\n"


@pytest.mark.parametrize(
    ("told", "texts", "found"),
    [
        (("192.0.2.53", "2001:db8::53"), (STUB,), ("192.0.2.53",)),
        ((), ("nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.org\n",), ("192.0.2.1", "192.0.2.2")),
        ((), (STUB, "nameserver 192.0.2.9\n"), ("192.0.2.9",)),
        ((), (STUB,), ()),
        ((), ("nameserver\nnameserver no-address\nnameserver 0.0.0.0\nnameserver fe80::1%eth0\n\xff\n",), ()),
        ((), (), ()),
    ],
    ids=["told", "host", "behind systemd", "loopback alone", "nonsense", "no file"],
)
def test_resolvers(tmp_path: Path, told: tuple[str, ...], texts: tuple[str, ...], found: tuple[str, ...]) -> None:
    files = [tmp_path / f"resolv{number}.conf" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text.encode("latin-1"))
    assert resolvers(told, files=[*files, tmp_path / "missing"]) == found
