"""What an import may not do: reach where the operator does not want it, lead elsewhere, unpack without end."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from core.config import Config
from core.errors import Forbidden, Invalid, NotFound, SkydeckError, Unavailable
from core.images import catalog, checksums, fetch, properties, reach, unpack, web
from core.images.images import FORMATS
from core.images.reach import Reach
from core.images.stores import ImageStore
from tests.core.images.site import Site, serving

MIB = 1 << 20
DATA = bytes(range(256)) * 5000


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        site.pages["/disk"] = DATA
        yield site


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def configured(tmp_path: Path, **settings: object) -> Reach:
    return reach.of(Config(home=tmp_path, database_url="sqlite://", **settings))  # type: ignore[arg-type]


HERE = Reach(names=("127.0.0.1",))


def take(store: ImageStore, url: str, **more: object) -> str:
    found = fetch.fetch_url(store, url, **{"reach": HERE, "pause": lambda seconds: None, **more})  # type: ignore[arg-type]
    return found.digest


# ---------------------------------------------------------------------------- addresses

NEVER = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "255.255.255.255", "240.0.0.1",
    "::1", "::", "fe80::1", "fe80::1%eth0", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe", "2001:0:7f00:1::80ff:fffe",
]  # fmt: skip
PRIVATE = ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"]
GLOBAL = ["93.184.216.34", "2606:2800:220:1::1"]


def answering(*addresses: str, **more: object) -> Reach:
    def resolve(host: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in addresses]

    return Reach(resolve=resolve, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", NEVER)
def test_the_controller_itself_and_its_link_are_out_of_reach(address: str) -> None:
    with pytest.raises(Invalid, match=r"images are not fetched from mirror.*address"):
        answering(address).addresses("mirror", 80)
    with pytest.raises(Invalid):  # one good address does not excuse a bad one
        answering(GLOBAL[0], address).addresses("mirror", 80)


def test_private_addresses_are_in_reach_unless_configured() -> None:
    for address in (*PRIVATE, *GLOBAL):
        assert answering(address).addresses("mirror", 80)
    for address in PRIVATE:
        with pytest.raises(Invalid, match="a private address"):
            answering(address, private=False).addresses("mirror", 80)
    for address in GLOBAL:
        assert answering(address, private=False).addresses("mirror", 80)


def test_the_operator_allows_networks_and_hosts(tmp_path: Path) -> None:
    allowed = configured(tmp_path, image_import_allow="127.0.0.0/8, mirror.lan,.inside", image_import_private=False)
    with pytest.raises(Invalid):
        allowed.check("10.0.0.1")
    allowed.check("127.0.0.9")
    for host in ("mirror.lan", "MIRROR.lan.", "a.inside"):
        assert Reach(names=allowed.names, resolve=answering("127.0.0.1").resolve).addresses(host, 80)
    for host in ("xmirror.lan", "inside", "notinside"):
        with pytest.raises(Invalid):
            Reach(names=allowed.names, resolve=answering("127.0.0.1").resolve).addresses(host, 80)
    with pytest.raises(Invalid, match="neither a network nor a host"):
        configured(tmp_path, image_import_allow="http://x/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1"])
def test_no_spelling_of_loopback_is_fetched(store: ImageStore, site: Site, tmp_path: Path, host: str) -> None:
    with pytest.raises(Invalid, match="loopback"):
        take(store, site.url("/disk", host), reach=configured(tmp_path))
    assert (site.asked, store.usage().images, store.usage().partial_bytes) == ([], 0, 0)


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:{port}/disk",
        "http://localhost:{port}/disk",
        "file:///etc/passwd",
        "ftp://127.0.0.1/disk",
        "//0.0.0.0:{port}/disk",
        "gopher://x/",
    ],
)
def test_a_redirect_is_judged_like_the_first_request(store: ImageStore, site: Site, to: str) -> None:
    site.moved["/go"] = to.format(port=site.server_address[1])
    with pytest.raises(Invalid):
        take(store, site.url("/go"))
    assert [path for path, _, _ in site.asked] == ["/go"]
    assert store.usage().images == 0


def test_redirects_are_followed_within_bounds(store: ImageStore, site: Site) -> None:
    site.moved |= {"/go": "/on", "/on": "disk", "/round": "/round"}
    assert take(store, site.url("/go")) == hashlib.sha256(DATA).hexdigest()
    with pytest.raises(Invalid, match="without end"):
        take(store, site.url("/round"))


def test_a_login_is_for_its_own_server(store: ImageStore, site: Site) -> None:
    with serving() as other:
        other.pages["/disk"] = DATA
        site.moved |= {"/go": "/disk", "/away": other.url("/disk")}
        login = site.url("/go", "me:secret@127.0.0.1")
        take(store, login)
        take(store, login.replace("/go", "/away"))
    assert [login is not None for _, login, _ in site.asked] == [True, True, True]
    assert [login for _, login, _ in other.asked] == [None]


def test_a_name_is_resolved_once_and_that_address_connected_to(store: ImageStore, site: Site) -> None:
    """DNS rebinding: the second answer would be another one."""
    answers = iter([[(socket.AF_INET, "127.0.0.1")], [(socket.AF_INET, "169.254.169.254")]])
    rebinding = Reach(networks=configured_networks("127.0.0.0/8"), resolve=lambda host, port: next(answers))
    assert take(store, site.url("/disk", "mirror.example"), reach=rebinding) == hashlib.sha256(DATA).hexdigest()
    assert site.asked[0][2] == f"mirror.example:{site.server_address[1]}"
    with pytest.raises(Invalid, match=r"mirror.example \(169.254.169.254\)"):
        take(store, site.url("/other", "mirror.example"), reach=rebinding)


def configured_networks(text: str) -> tuple[reach.Network, ...]:
    return configured(Path("/nonexistent"), image_import_allow=text).networks


def test_files_of_the_controller_are_for_those_allowed(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(DATA)
    with pytest.raises(Forbidden):
        take(store, (tmp_path / "disk").as_uri())
    assert take(store, (tmp_path / "disk").as_uri(), files=True) == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    "url", ["http://a b/", "http://x/\r\nHost: y", "http://x:0/", "http://x:99999/", "http://\u202e/"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="URL"):
        web.split(url)


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(store: ImageStore, site: Site) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="takes too long"):
        take(store, site.url("/trickle"), seconds=0.2)
    assert time.monotonic() - began < 10
    assert store.usage().partials >= 1, "what came is kept"


# ---------------------------------------------------------------------------- checksums

SHA256, SHA512 = hashlib.sha256(DATA).hexdigest(), hashlib.sha512(DATA).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        f"{'0' * 64}  other\n{SHA256}  disk\n",
        f"{SHA256} *disk\n",
        f"{SHA512}  ./images/disk",
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk: 5 bytes\nSHA256 (disk) = {SHA256}\n",
        f"SHA512 (disk) = {SHA512.upper()}\nSHA256 (disk) = {'0' * 64}\n",
        f"{SHA512}\n",
    ],
)
def test_the_lists_that_distributions_publish(store: ImageStore, site: Site, text: str) -> None:
    site.pages["/SUMS"] = text.encode()
    assert take(store, site.url("/disk"), checksum=site.url("/SUMS")) == SHA256


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{'1' * 64}  disk\n", Invalid),
        (f"{SHA256}  disk2\n", NotFound),
        (f"{SHA256}\n{SHA512}\n", NotFound),
        (f"{SHA256}  disk\n{'1' * 64}  disk\n", Invalid),
        ("x" * (checksums.LONGEST_LIST + 1), Invalid),
    ],
)
def test_lists_that_do_not_fit(store: ImageStore, site: Site, text: str, error: type[SkydeckError]) -> None:
    site.pages["/SUMS"] = text.encode()
    with pytest.raises(error):
        take(store, site.url("/disk"), checksum=site.url("/SUMS"))
    assert store.usage().images == 0


def test_a_list_of_checksums_is_out_of_reach_as_well(store: ImageStore, site: Site) -> None:
    with pytest.raises(Invalid, match="loopback"):
        take(store, site.url("/disk"), checksum=site.url("/SUMS", "localhost"))
    assert site.asked == []


# ---------------------------------------------------------------------------- the catalog


def test_the_catalog_names_what_can_be_had() -> None:
    for entry in catalog.entries():
        assert catalog.find(entry.name) is entry
        assert entry.checksum
        web.split(entry.url)
        assert entry.url.startswith("https://")
        assert "://" in entry.checksum or checksums.check(entry.checksum)
        assert properties.check(dict(entry.properties)) == entry.properties
        assert entry.disk_format in FORMATS
        assert entry.architecture == "x86_64"
    with pytest.raises(NotFound, match="no image 'beos'"):
        catalog.find("beos")


# ---------------------------------------------------------------------------- unpacking

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("kind", PACK)
def test_what_is_compressed_is_unpacked_in_pieces(tmp_path: Path, kind: str) -> None:
    whole = DATA * 3 + bytes(3 * MIB)
    packed = PACK[kind](whole)
    (tmp_path / "packed").write_bytes(packed)
    assert unpack.kind_of(tmp_path / "packed") == kind
    assert b"".join(unpack.unpacked(io.BytesIO(packed), kind)) == whole
    assert max(map(len, unpack.unpacked(io.BytesIO(packed), kind))) <= unpack.CHUNK
    assert b"".join(unpack.unpacked(io.BytesIO(packed * 2), kind)) == whole * 2, "several streams are one file"
    (tmp_path / "plain").write_bytes(DATA)
    assert unpack.kind_of(tmp_path / "plain") is None


@pytest.mark.parametrize("kind", PACK)
def test_a_bomb_is_read_no_further_than_it_is_taken(kind: str) -> None:
    bomb = PACK[kind](bytes(64 * MIB))
    assert len(bomb) < MIB
    taken = 0
    for piece in unpack.unpacked(io.BytesIO(bomb), kind):
        assert len(piece) <= unpack.CHUNK
        taken += len(piece)
        if taken > 2 * MIB:
            break


@pytest.mark.parametrize("kind", PACK)
def test_damaged_streams_are_refused(kind: str) -> None:
    packed = PACK[kind](DATA)
    for damaged in (packed[:6] + b"\xff" * 40 + packed[46:], packed[: len(packed) // 2]):
        try:
            got = b"".join(unpack.unpacked(io.BytesIO(damaged), kind))
        except Invalid:
            continue
        assert got != DATA
        assert kind == "zstd", "a cut zstd frame is told by its missing end alone: the inspector sees the rest"
