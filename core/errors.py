"""What can go wrong, as a person will read it.

Two families. `Refused`: nothing happened, the request could not be accepted. `Failed`: an accepted
operation met trouble; the error is kept on the operation and shown from there.

    SkydeckError
    ├── Refused            nothing happened
    │   ├── Invalid        a value is wrong                              exit 2
    │   ├── NotFound       no such object, or not yours to see           exit 3
    │   ├── Forbidden      policy says no                                exit 4
    │   ├── Conflict       the object's state, lock or name says no      exit 5
    │   ├── QuotaExceeded  the project's quota says no                   exit 6
    │   ├── NoValidHost    no host passes the filters; holds the funnel  exit 7
    │   └── Unavailable    the store or a service cannot be used now     exit 8
    └── Failed             kept on the operation                         exit 9
        ├── HostFailed     a host refused or failed a call; has its code
        ├── Unknown        a cut connection or a timeout: outcome unread
        └── Superseded     another engine owns the operation now

Every error has a title (the cause, one line) and a hint (the next act). The command line prints both,
the app shows both, and the exit status of a command is the class's `exit_code`.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SkydeckError(Exception):
    """Base of all errors meant for a person."""

    exit_code: ClassVar[int] = 1

    def __init__(self, title: str, *, hint: str = "") -> None:
        super().__init__(title)
        self.title = title
        self.hint = hint

    def to_json(self) -> dict[str, Any]:
        """As kept on an operation: {type, title, hint}."""
        return {"type": type(self).__name__, "title": self.title, "hint": self.hint}


class Refused(SkydeckError):
    """Nothing happened."""


class Invalid(Refused):
    """A value is missing, malformed or out of range."""

    exit_code = 2


class NotFound(Refused):
    """No such object, or none this project may see: the two look the same from outside."""

    exit_code = 3


class Forbidden(Refused):
    """The caller's roles do not allow this."""

    exit_code = 4


class Conflict(Refused):
    """The object's state, its lock or a name already taken forbids this."""

    exit_code = 5


class QuotaExceeded(Refused):
    """The project would exceed its quota."""

    exit_code = 6


class NoValidHost(Refused):
    """No host passes the filters. `funnel` tells which filter turned which host away, with the numbers."""

    exit_code = 7

    def __init__(self, title: str, *, hint: str = "", funnel: dict[str, Any] | None = None) -> None:
        super().__init__(title, hint=hint)
        self.funnel: dict[str, Any] = funnel or {}
        self.operation_id: str | None = None
        """The failed operation under which the funnel was kept."""

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "funnel": self.funnel}


class Unavailable(Refused):
    """The store, or the service that would do this, cannot be used now."""

    exit_code = 8


class Failed(SkydeckError):
    """An accepted operation met trouble."""

    exit_code = 9


class HostFailed(Failed):
    """A host refused or failed a call. `code` is the wire's ErrorCode value; `transient` invites a retry."""

    def __init__(self, title: str, *, hint: str = "", code: str = "internal", transient: bool = False) -> None:
        super().__init__(title, hint=hint)
        self.code = code
        self.transient = transient

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "code": self.code}


class Unknown(Failed):
    """The connection was cut or the time ran out before the answer: it may or may not have happened."""


class Superseded(Failed):
    """Another engine took the operation over; this one must not write any more."""
