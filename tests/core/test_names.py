"""Names a person may give, and the host names guests get from them."""

from __future__ import annotations

import pytest

from core import names
from core.errors import Invalid

GOOD = ["web", "Web server №1", "日本語", "a" * 255, "e\u0301", "x.y:z/ü"]
BAD = ["", " web", "web ", "a" * 256, "a\nb", "a\x1b[31m", "a\u202eb", "a\u200bb", "a\x00", "\ue000", "a\u2028b"]


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    assert names.check(name, "server") == name


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_bad(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        names.check(name, "server")
    assert "server" in refused.value.title


HOSTNAMES = {
    "web": "web",
    "Web_Server 1": "web-server-1",
    "über.example": "uber-example",
    "--a--": "a",
    "日本": "server-x",
    "a" * 70: "a" * 63,
    "a" * 62 + "-b": "a" * 62,
}


@pytest.mark.parametrize(("name", "host"), HOSTNAMES.items())
def test_hostname(name: str, host: str) -> None:
    assert names.hostname(name, "server-x") == host
