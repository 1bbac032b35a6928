"""Where an import may connect to: every address a name stands for is judged, and just the judged one is connected to.

An import makes the controller fetch what a tenant names. Without this it would fetch its own loopback services, its
cloud's metadata and its neighbours for them, by a name that resolves there, a redirect that leads there, or a name
that resolves elsewhere the second time (OWASP: server side request forgery; DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Final

import attrs

from core.config import Config
from core.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")


class Unreachable(Exception):
    """The name does not resolve, or nothing answers: another attempt may fare better."""


@attrs.frozen(kw_only=True)
class Reach:
    """What imports may connect to."""

    networks: tuple[Network, ...] = ()
    """Allowed whatever else is said of them."""
    names: tuple[str, ...] = ()
    """Hosts that may resolve to anything; with a leading dot, all under that domain."""
    private: bool = True
    """Whether addresses that are not global may be connected to: a mirror of one's own has such a one."""
    resolve: Callable[[str, int], list[tuple[int, str]]] = attrs.field(
        default=lambda host, port: [
            (family, str(address[0]))
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ]
    )
    """Host and port to (address family, address)."""

    def addresses(self, host: str, port: int) -> list[tuple[int, str]]:
        """What to connect to, all judged. Raises Invalid when one may not be, Unreachable when there is none."""
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError) as bad:
            raise Unreachable(f"{host} does not resolve: {bad}") from bad
        if not found:
            raise Unreachable(f"{host} has no address")
        if not self._known(host):
            # A name with one good and one bad address is no mistake of a name server.
            for _, address in found:
                self._judge(host, address)
        return found

    def check(self, host: str) -> None:
        """Judge a literal address; names pass. Raises Invalid."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        self._judge(host, host)

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """A connection to one of the addresses that were judged. Raises Invalid, Unreachable."""
        last: OSError | None = None
        for family, address in self.addresses(host, port):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            try:
                sock.connect((address, port))
            except OSError as bad:
                sock.close()
                last = bad
            else:
                return sock
        raise Unreachable(str(last)) from last

    def _known(self, host: str) -> bool:
        host = host.rstrip(".").lower()
        return any(host == name or (name.startswith(".") and host.endswith(name)) for name in self.names)

    def _judge(self, host: str, address: str) -> None:
        plain = ipaddress.ip_address(address.partition("%")[0])
        for one in _inside(plain) or [plain]:
            if any(one.version == network.version and one in network for network in self.networks):
                continue
            if (why := self._against(one)) is not None:
                where = address if address == host else f"{host} ({address})"
                raise Invalid(
                    f"images are not fetched from {where}: it is {why}",
                    hint="The operator may allow it: image_import_allow in config.toml.",
                )

    def _against(self, address: Address) -> str | None:
        for name in ("loopback", "link_local", "multicast", "unspecified"):
            if getattr(address, f"is_{name}"):
                return f"a {name.replace('_', '-')} address"
        if address.is_reserved or address in _THIS_NETWORK:
            return "a reserved address"
        if not self.private and not address.is_global:
            return "a private address"
        return None


def _inside(address: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 one leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found: list[Address] = [one for one in (address.ipv4_mapped, address.sixtofour) if one is not None]
    if address.teredo is not None:
        found += address.teredo
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def of(config: Config) -> Reach:
    """As configured. Raises Invalid for an allow-list that is none."""
    networks: list[Network] = []
    names: list[str] = []
    for entry in filter(None, (part.strip() for part in config.image_import_allow.split(","))):
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            if not all(letter.isalnum() or letter in "-." for letter in entry):
                raise Invalid(
                    f"image_import_allow: {entry!r} is neither a network nor a host",
                    hint="For example 192.0.2.0/24, mirror.example, .lan.example",
                ) from None
            names.append(entry.lower())
    return Reach(networks=tuple(networks), names=tuple(names), private=config.image_import_private)
