"""The proof that an enrolled host works: what the engine will do later, done once now, with the cloud's key alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import attrs

from core.errors import HostFailed, Unavailable, Unknown
from core.hosts.conversation import Conversation
from core.hosts.transport import SshTarget, SshTransport, UnixTransport
from hostd.spec import (
    PROTOCOL,
    TRANSIENT,
    Apply,
    ErrorCode,
    Hello,
    HelloReply,
    HostError,
    NetworkingSpec,
    ObjectKind,
    Observation,
    Observe,
    Want,
    dump,
)

T = TypeVar("T")

PROBE_PATIENCE: Final = 15.0
"""Seconds for hostd to find out whether guests run under KVM."""

_PROBE_LOOK: Final = 0.5
_ANSWER: Final = 30.0
_TRIES: Final = 3
_PROBING: Final = "probing"
"""How the accelerator's reason begins until hostd knows."""


@attrs.frozen(kw_only=True)
class Proof:
    """What the host says about itself."""

    hello: HelloReply
    seen: Observation


def prove(target: SshTarget | Path, *, cloud: str, term: int, host: str | None, patience: float) -> Proof:
    """Say hello and look. `host` is the uuid it must have; `patience` is for the accelerator, in seconds.

    Raises HostFailed when hostd refuses, or cannot be reached with the cloud's key.
    """

    hello = _hello(cloud=cloud, term=term, host=host)

    async def look(conversation: Conversation) -> Proof:
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            seen: Observation = await conversation.call("observe", Observe(stats=False), timeout=_ANSWER)
            if not seen.accel.reason.startswith(_PROBING) or asyncio.get_running_loop().time() > deadline:
                # A daemon that has just started knew no versions of libvirt and QEMU at the first hello.
                return Proof(hello=await conversation.call("hello", hello, timeout=_ANSWER), seen=seen)
            await asyncio.sleep(_PROBE_LOOK)  # hostd tells nobody when its probe ends

    return asyncio.run(_converse(target, hello, look))


def dissolve(target: SshTarget | Path, *, cloud: str, term: int, host: str) -> Observation:
    """Take this cloud's networking off a host that is being removed; what it holds besides.

    Guests are left alone: they are data, and only a verb that names one deletes it. Raises HostFailed.
    """

    async def clear(conversation: Conversation) -> Observation:
        left = _TRIES
        while True:
            seen: Observation = await conversation.call("observe", Observe(stats=False), timeout=_ANSWER)
            if any(domain.owned for domain in seen.domains):
                return seen
            generation = (seen.networking.generation if seen.networking else None) or 0
            absent = NetworkingSpec(uuid=host, want=Want.ABSENT)
            apply = Apply(kind=ObjectKind.NETWORKING, uuid=host, generation=generation + 1, spec=dump(absent))
            try:
                await conversation.call("apply", apply, timeout=_ANSWER)
                return seen
            except HostError as bad:
                left -= 1
                if bad.code not in (ErrorCode.OLD_GENERATION, ErrorCode.CONFLICT) or not left:
                    raise  # otherwise the engine told it something in between

    return asyncio.run(_converse(target, _hello(cloud=cloud, term=term, host=host), clear))


def _hello(*, cloud: str, term: int, host: str | None) -> Hello:
    # Not the engine's own connection: purpose bulk leaves its watch alone.
    return Hello(protocol=PROTOCOL, cloud=cloud, term=term, host=host, purpose="bulk")


async def _converse(target: SshTarget | Path, hello: Hello, talk: Callable[[Conversation], Awaitable[T]]) -> T:
    conversation = Conversation(lambda _event: None)
    try:
        await conversation.open(UnixTransport(target) if isinstance(target, Path) else SshTransport(target))
        await conversation.call("hello", hello, timeout=_ANSWER)
        return await talk(conversation)
    except HostError as bad:
        raise HostFailed(str(bad), hint=bad.error.hint, code=bad.code, transient=bad.code in TRANSIENT) from bad
    except (Unavailable, Unknown) as bad:
        raise HostFailed(
            f"hostd does not answer: {bad.title}",
            hint=f"{bad.hint}; on the host: `hostd status`, /var/lib/skydeck/hostd.log, journalctl -u skydeck-hostd",
        ) from bad
    finally:
        conversation.close("done")
