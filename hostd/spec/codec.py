"""To and from JSON: plain values, digests and frames."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, TypeVar

import cattrs

from hostd.spec.calls import HEADER, MAX_FRAME
from hostd.spec.errors import ErrorCode, HostError

_converter = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=False)
T = TypeVar("T")


def _exact(value: Any, kind: type) -> Any:
    # cattrs would turn "3" into 3; on the wire that is a sign of two sides that disagree.
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value


for _kind in (int, str, bool, float):
    _converter.register_structure_hook(_kind, _exact)
_converter.register_structure_hook(StrEnum, lambda value, kind: kind(value))
_converter.register_unstructure_hook(StrEnum, lambda value: value.value)


def dump(value: Any) -> dict[str, Any]:
    """A wire value as plain JSON values."""
    plain: dict[str, Any] = _converter.unstructure(value)
    return plain


def load(kind: type[T], plain: Any) -> T:
    """A plain JSON value as `kind`.

    Raises HostError(PROTOCOL) naming what is wrong: an unknown field, a missing one, a wrong type.
    """
    try:
        return _converter.structure(plain, kind)
    except cattrs.BaseValidationError as bad:
        raise HostError(ErrorCode.PROTOCOL, f"{kind.__name__}: {'; '.join(cattrs.transform_error(bad))}") from bad
    except (ValueError, TypeError, KeyError, AttributeError) as bad:
        raise HostError(ErrorCode.PROTOCOL, f"{kind.__name__}: {bad!r}") from bad


def digest(spec: dict[str, Any]) -> str:
    """sha256 over the canonical JSON of a dumped spec: equal exactly when two applies ask the same."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def encode(value: Any) -> bytes:
    """One frame, header included. Raises HostError(PROTOCOL) when it would exceed MAX_FRAME."""
    body = json.dumps(dump(value), separators=(",", ":")).encode()
    return frame(body)


def frame(body: bytes) -> bytes:
    """`body` with its length before it."""
    if len(body) > MAX_FRAME:
        raise HostError(ErrorCode.PROTOCOL, f"frame of {len(body)} bytes exceeds {MAX_FRAME}")
    return len(body).to_bytes(HEADER, "big") + body


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object of one frame's body. Raises HostError(PROTOCOL)."""
    try:
        plain = json.loads(body)
    except ValueError as bad:
        raise HostError(ErrorCode.PROTOCOL, f"frame is not JSON: {bad}") from bad
    if not isinstance(plain, dict):
        raise HostError(ErrorCode.PROTOCOL, "frame is not a JSON object")
    return plain
