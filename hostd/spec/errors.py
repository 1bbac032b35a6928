"""Why a host said no."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import attrs


class ErrorCode(StrEnum):
    """Why a host said no. Codes up to `CONFLICT` are refusals: nothing happened."""

    PROTOCOL = "protocol"
    """A frame or field that this side does not know."""
    STALE_CONTROLLER = "stale_controller"
    WRONG_CLOUD = "wrong_cloud"
    WRONG_HOST = "wrong_host"
    OLD_GENERATION = "old_generation"
    CONFLICT = "conflict"
    """The same generation with another digest."""
    NOT_FOUND = "not_found"
    BAD_STATE = "bad_state"
    """The guest is not in a state in which this can be done."""
    IMAGE_MISSING = "image_missing"
    """The cache lacks an image the spec names: carry it and apply again."""
    DIGEST_MISMATCH = "digest_mismatch"
    DISK_FULL = "disk_full"
    LIBVIRT_DOWN = "libvirt_down"
    LIBVIRT = "libvirt"
    NETWORK = "network"
    STORAGE = "storage"
    """A volume backend cannot be reached, or failed."""
    INTERNAL = "internal"


TRANSIENT: Final = frozenset({ErrorCode.LIBVIRT_DOWN, ErrorCode.IMAGE_MISSING})
"""Errors that the same call may well not meet again in a few seconds, on the same host."""


@attrs.frozen(kw_only=True)
class WireError:
    code: ErrorCode
    message: str
    """Names the cause, for a person."""
    hint: str = ""
    """The next act, for a person."""
    step: str | None = None
    """The step of an apply that failed."""


class HostError(Exception):
    """A host's refusal or failure, raised on both sides of the wire; `error` is what crosses it."""

    def __init__(self, code: ErrorCode, message: str, *, hint: str = "", step: str | None = None) -> None:
        super().__init__(message)
        self.error = WireError(code=code, message=message, hint=hint, step=step)

    @property
    def code(self) -> ErrorCode:
        return self.error.code
