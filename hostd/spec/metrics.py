"""What guests and hosts use, as hostd counts it: cumulative counters, from which the reader makes rates.

A controller asks every host for all its guests every ten seconds, so samples cross packed: base64 of fixed records, a
tenth of what reading them one by one from JSON would cost.
"""

from __future__ import annotations

import base64
import operator
import struct
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

import attrs

from hostd.spec.errors import ErrorCode, HostError

MOST_SAMPLES: Final = 16_384
"""Samples of one answer, which then fit a frame."""


@attrs.frozen(kw_only=True)
class GuestSample:
    """One guest at one moment. Counters begin at zero whenever the guest is started."""

    uuid: str
    at_us: int
    """Microseconds since the epoch, by the host's clock."""
    cpu_ns: int
    """Of all its vCPUs and of what emulates the rest of it."""
    vcpus: int
    memory_used: int
    """Bytes; see memory_guest."""
    memory_max: int
    """Bytes that it may use."""
    memory_guest: bool
    """Whether memory_used is what the guest itself says it uses; false: what the host keeps resident for it, which
    counts the guest's page cache too, and never falls."""
    disk_read_bytes: int
    disk_write_bytes: int
    disk_read_ops: int
    disk_write_ops: int
    net_rx_bytes: int
    """Into the guest."""
    net_tx_bytes: int
    net_rx_packets: int
    net_tx_packets: int


@attrs.frozen(kw_only=True)
class HostSample:
    """The host itself at one moment. Counters begin at zero when it boots."""

    at_us: int
    cpu_busy_ns: int
    """Of all its CPUs: all but idling and waiting for disks."""
    cpus: int
    memory_used: int
    """Bytes that new programs could not have."""
    memory_total: int
    disk_used: int
    """Bytes, of the file system that holds the guests' disks."""
    disk_total: int
    load1: float
    net_rx_bytes: int
    """Over the machine's own interfaces: what guests say to each other on it does not count."""
    net_tx_bytes: int


@attrs.frozen(kw_only=True)
class Metrics:
    """Ask for the samples of the last ten minutes, or of a part of them."""

    since: int
    """Those after this moment, in microseconds by the host's clock; below zero: of so many microseconds until now."""
    step: int = 1
    """Seconds. Above one: of each guest the last sample of every whole step that is over."""
    ids: tuple[str, ...] = ()
    """Only of these guests, and of the host where its own uuid is among them; empty: all."""


@attrs.frozen(kw_only=True)
class Measured:
    """Samples, oldest first."""

    at: int
    """The host's clock, in microseconds since the epoch."""
    guests: str
    """`unpack_guests` reads it."""
    host: str
    """`unpack_host` reads it."""
    more: bool = False
    """There were more than MOST_SAMPLES: ask again, since the newest of these."""
    every: float = 1.0
    """Seconds between two samples at present: a host takes fewer where they cost too much."""


_GUEST: Final = struct.Struct("<16sqqqqq?qqqqqqqq")
_HOST: Final = struct.Struct("<qqqqqqqdqq")
_guest_values: Final = operator.attrgetter(*(field.name for field in attrs.fields(GuestSample)[1:]))
_host_values: Final = operator.attrgetter(*(field.name for field in attrs.fields(HostSample)))
_GUEST_FIELDS: Final = tuple(field.name for field in attrs.fields(GuestSample)[1:])
_HOST_FIELDS: Final = tuple(field.name for field in attrs.fields(HostSample))


def guest_values(sample: GuestSample) -> tuple[Any, ...]:
    """All but the uuid, in order."""
    values: tuple[Any, ...] = _guest_values(sample)
    return values


def guest_sample(uuid: str, values: Iterable[Any]) -> GuestSample:
    """The opposite of `guest_values`."""
    return GuestSample(uuid=uuid, **dict(zip(_GUEST_FIELDS, values, strict=True)))


def host_values(sample: HostSample) -> tuple[Any, ...]:
    """All, in order."""
    values: tuple[Any, ...] = _host_values(sample)
    return values


def host_sample(values: Iterable[Any]) -> HostSample:
    """The opposite of `host_values`."""
    return HostSample(**dict(zip(_HOST_FIELDS, values, strict=True)))


def pack_guests(samples: Iterable[GuestSample]) -> str:
    """As `Measured.guests` carries them."""
    packed = b"".join(_GUEST.pack(UUID(each.uuid).bytes, *_guest_values(each)) for each in samples)
    return base64.b64encode(packed).decode("ascii")


def unpack_guests(packed: str) -> list[GuestSample]:
    """Raises HostError(PROTOCOL)."""
    return [guest_sample(_uuid(values[0].hex()), values[1:]) for values in _GUEST.iter_unpack(_bytes(packed, _GUEST))]


def _uuid(digits: str) -> str:
    # As UUID would write it, in a quarter of the time.
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def pack_host(samples: Iterable[HostSample]) -> str:
    """As `Measured.host` carries them."""
    return base64.b64encode(b"".join(_HOST.pack(*_host_values(each)) for each in samples)).decode("ascii")


def unpack_host(packed: str) -> list[HostSample]:
    """Raises HostError(PROTOCOL)."""
    return [host_sample(values) for values in _HOST.iter_unpack(_bytes(packed, _HOST))]


def _bytes(packed: str, record: struct.Struct) -> bytes:
    try:
        plain = base64.b64decode(packed, validate=True)
    except ValueError as bad:
        raise HostError(ErrorCode.PROTOCOL, f"samples: {bad}") from bad
    if len(plain) % record.size:
        raise HostError(ErrorCode.PROTOCOL, f"samples: {len(plain)} bytes are no whole number of records")
    return plain
