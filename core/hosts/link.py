"""The held channel to one host: connected for as long as the engine runs, whatever happens to the network.

    connecting ──hello, watch──▶ up ──cut, silence──▶ down ──backoff or poke──▶ connecting
         └───────────────────────┴── stale controller, wrong host, wrong cloud ──▶ ended

A cut connection or a timeout means that the outcome is unknown, never that the call failed. hostd answers a repeated
apply (same generation) or act (same request id) with its first answer, so `call_until_known` simply asks again.
"""

from __future__ import annotations

import asyncio
import logging
import random as _random
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final

import attrs

from core.errors import Unavailable, Unknown
from core.hosts.conversation import Conversation
from core.hosts.transport import Transport
from hostd.spec import PROTOCOL, Ack, Empty, ErrorCode, Event, Hello, HelloReply, HostError, Watch

BACKOFF_FIRST: Final = 0.2
BACKOFF_MOST: Final = 15.0
"""Seconds between attempts to connect, doubled each time, before jitter of plus or minus a half."""

HELLO_TIMEOUT: Final = 10.0
HEARTBEAT: Final = 10.0
"""Seconds of silence after which hostd is asked for a sign of life: SSH's keepalive speaks for sshd alone."""
HEARTBEAT_TIMEOUT: Final = 30.0

_STEADY: Final = 1.0
"""Seconds after which a connection counts as one that held: the next one is tried again without delay."""

_ENDING: Final = frozenset({ErrorCode.STALE_CONTROLLER, ErrorCode.WRONG_HOST, ErrorCode.WRONG_CLOUD})
_log = logging.getLogger(__name__)


class LinkState(StrEnum):
    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"
    ENDED = "ended"
    """For good: the host refuses this controller, or is another host. Also after `close`."""


@attrs.frozen(kw_only=True)
class LinkStatus:
    """A link's state and why it is in it."""

    state: LinkState
    reason: str
    """In words, for a person."""
    since: float
    """Seconds since the epoch."""
    hint: str = ""
    code: ErrorCode | None = None
    """Why the link ended, when the host said so."""


class Link:
    """Calls to one host and events from it, over whatever connection there is at the moment."""

    def __init__(
        self,
        transport: Transport,
        *,
        cloud: str,
        term: int,
        host: str | None,
        on_event: Callable[[Event], Awaitable[None]],
        on_state: Callable[[LinkStatus], None] = lambda _: None,
        from_seq: int = 0,
        journal: str | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = _random.random,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        """Nothing happens before `start`.

        `on_event` is awaited for one event after the other; when it returns, the event is acknowledged and the host
        may forget it, so it must have been kept by then. `host` is the uuid the host must have; None while enrolling.
        Events up to `from_seq` of the host's `journal` were taken in before; of another journal, none were.
        """
        self._transport = transport
        self._hello = Hello(protocol=PROTOCOL, cloud=cloud, term=term, host=host)
        self._on_event = on_event
        self._on_state = on_state
        self._clock = clock
        self._random = random
        self._heartbeat = heartbeat
        self._seen = from_seq
        self._journal = journal
        self._events: asyncio.Queue[tuple[str | None, Event]] = asyncio.Queue()
        self._conversation: Conversation | None = None
        self._changed = asyncio.Event()
        self._poked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.status = LinkStatus(state=LinkState.DOWN, reason="not started", since=clock())
        self.hello: HelloReply | None = None
        """What the host said about itself when last connected."""

    # -- life

    def start(self) -> None:
        """Connect, and keep connecting, in the background."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._deliver())]

    async def close(self) -> None:
        """End the link; unanswered calls become Unknown."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self.status.state is not LinkState.ENDED:
            self._set(LinkState.ENDED, "closed")

    async def __aenter__(self) -> Link:
        self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def poke(self) -> None:
        """Try to connect at once instead of at the end of the backoff."""
        self._poked.set()

    async def wait_up(self, timeout: float | None = None) -> HelloReply:
        """Returns when calls can be made. Raises Unavailable when the time runs out or the link ended."""
        try:
            async with asyncio.timeout(timeout):
                while self._open() is None:
                    if self.status.state is LinkState.ENDED:
                        raise self._not_up()
                    await self._changed.wait()
        except TimeoutError:
            raise self._not_up() from None
        assert self.hello is not None
        return self.hello

    # -- calls

    async def call(self, call: str, body: Any, *, timeout: float | None = None) -> Any:
        """The answer to one call, as its type of `hostd.spec.CALLS`.

        Raises Unavailable when the host is not connected (nothing was sent), Unknown when the connection was cut or
        the time ran out before the answer, HostError as the host raised it.
        """
        conversation = self._open()
        if conversation is None:
            raise self._not_up()
        try:
            return await conversation.call(call, body, timeout=timeout)
        except HostError as error:
            if error.code is ErrorCode.STALE_CONTROLLER:
                self._refused(error)
                conversation.close(str(error))
            raise

    async def call_until_known(
        self, call: str, body: Any, *, deadline: float, attempt_timeout: float | None = None
    ) -> Any:
        """The answer to one call, asked again after every cut until it is read.

        For calls whose repeat is harmless: all of CALLS are, an apply by its generation, an act by its request id.
        Raises Unavailable when `deadline` seconds passed and nothing was ever sent, Unknown when something was,
        HostError as the host raised it.
        """
        sent: Unknown | None = None
        try:
            async with asyncio.timeout(deadline):
                while True:
                    try:
                        await self.wait_up()
                        return await self.call(call, body, timeout=attempt_timeout)
                    except Unknown as cut:
                        sent = cut
                    except Unavailable:
                        if self.status.state is LinkState.ENDED:
                            raise
        except (TimeoutError, Unavailable):
            if sent is not None:
                raise sent from None
            raise self._not_up() from None

    def _open(self) -> Conversation | None:
        """The conversation on which calls can be made now. A cut one is none, even before the loop has noticed."""
        conversation = self._conversation
        return conversation if conversation is not None and not conversation.ended.done() else None

    def _not_up(self) -> Unavailable:
        return Unavailable(
            f"the host is not connected: {self.status.reason}", hint=self.status.hint or "it is tried again by itself"
        )

    # -- the loop

    async def _run(self) -> None:
        attempt = 0
        while True:
            self._poked.clear()
            self._set(LinkState.CONNECTING, f"connecting over {self._transport}")
            began = asyncio.get_running_loop().time()
            try:
                reason, hint = await self._converse(), ""
            except Unavailable as bad:
                reason, hint = bad.title, bad.hint
            except (HostError, Unknown) as bad:
                if isinstance(bad, HostError) and bad.code in _ENDING:
                    self._refused(bad)
                reason, hint = str(bad), ""
            if self.status.state is LinkState.ENDED:
                return
            if asyncio.get_running_loop().time() - began > _STEADY:
                attempt = 0
            self._set(LinkState.DOWN, reason, hint=hint)
            delay = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(attempt, 10)) * (0.5 + self._random())
            attempt += 1
            try:
                async with asyncio.timeout(delay):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def _converse(self) -> str:
        """One connection from hello to its end; returns why it ended."""
        conversation = Conversation(self._arrived)
        try:
            await conversation.open(self._transport)
            reply: HelloReply = await conversation.call("hello", self._hello, timeout=HELLO_TIMEOUT)
            if self._hello.host is not None and reply.host != self._hello.host:
                raise HostError(
                    ErrorCode.WRONG_HOST,
                    f"this is host {reply.host}, not {self._hello.host}",
                    hint="check the address: another machine answers there",
                )
            if reply.journal_id != self._journal:
                # Another journal counts its events from one.
                if self._journal is not None:
                    self._seen = 0
                self._journal = reply.journal_id
            self._seen = min(self._seen, reply.last_seq)
            await conversation.call("watch", Watch(from_seq=self._seen), timeout=HELLO_TIMEOUT)
            self.hello = reply
            self._conversation = conversation
            self._set(LinkState.UP, f"connected to {reply.hostname}")
            return await self._watch_over(conversation)
        finally:
            self._conversation = None
            conversation.close("the link was closed")

    async def _watch_over(self, conversation: Conversation) -> str:
        loop = asyncio.get_running_loop()
        while True:
            quiet = loop.time() - conversation.heard_at
            await asyncio.wait({conversation.ended}, timeout=max(0.01, self._heartbeat - quiet))
            if conversation.ended.done():
                return conversation.ended.result()
            if loop.time() - conversation.heard_at < self._heartbeat:
                continue
            try:
                await conversation.call("ping", Empty(), timeout=max(HEARTBEAT_TIMEOUT, self._heartbeat))
            except Unknown:
                if conversation.ended.done():
                    return conversation.ended.result()
                reason = f"hostd has not answered for {HEARTBEAT_TIMEOUT:g} s"
                conversation.close(reason)
                return reason

    def _refused(self, error: HostError) -> None:
        """The host will never want this link: say so and stop."""
        self._set(LinkState.ENDED, str(error), hint=error.error.hint, code=error.code)

    def _set(self, state: LinkState, reason: str, *, hint: str = "", code: ErrorCode | None = None) -> None:
        self.status = LinkStatus(state=state, reason=reason, since=self._clock(), hint=hint, code=code)
        # Wake whoever waits now; whoever waits next waits for the next change.
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_state(self.status)

    # -- events

    def _arrived(self, event: Event) -> None:
        self._events.put_nowait((self._journal, event))

    async def _deliver(self) -> None:
        while True:
            journal, event = await self._events.get()
            stored = event.seq > 0 and journal == self._journal
            if stored and event.seq <= self._seen:
                continue  # replayed after a cut, and delivered before it
            try:
                await self._on_event(event)
            except Exception:  # noqa: BLE001  the edge of the loop: one bad event must not silence a host
                _log.exception("event %s of host %s was not taken in", event.seq, self._hello.host)
            if stored and journal == self._journal:
                self._seen = event.seq
                if self._events.empty():
                    self._acknowledge()

    def _acknowledge(self) -> None:
        """Tell the host what was kept. Nobody waits for the answer: after a cut the events simply come again."""
        if (conversation := self._open()) is not None:
            conversation.start("ack", Ack(seq=self._seen)).add_done_callback(_ignore)


def _ignore(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()
