"""The engine's end of the door: redeems tickets and passes bytes between terminals and hosts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import Any

from sqlmodel import Session

from core import door
from core.compute.instances.table import Instance
from core.consoles import display, passing, searching
from core.door import Ticket
from core.errors import NotFound, SkydeckError, Unavailable
from core.hosts.pool import HostHandle, HostPool
from core.metrics import live
from core.network import tracing
from core.runner import Runner
from hostd.spec import Connect, LogRead, LogsFound, Measured, Metrics, ReadLog, SearchLogs, Trace, Way, dump

_log = logging.getLogger(__name__)

LOG_DEADLINE = 15.0
TRACE_DEADLINE = 15.0
METRICS_DEADLINE = 5.0
MOST_LINES = 10_000

LONGEST_PLACE = 24
"""Characters of the terminal's name that others at a console are told."""

SEARCHED_AT_ONCE = 64
"""Hosts that search at the same time."""


class Doorkeeper:
    """Serves the door's socket."""

    def __init__(self, runner: Runner, hosts: HostPool, path: Path) -> None:
        self._runner = runner
        self._hosts = hosts
        self._path = path
        self._server: asyncio.Server | None = None
        self._shows: set[asyncio.Task[None]] = set()
        """Displays that were handed out."""
        self.attached = 0
        """Connections open now."""

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=door.LINE)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for show in self._shows:
            show.cancel()
        await asyncio.gather(*self._shows, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attached += 1
        try:
            await self._answer(reader, writer)
        except SkydeckError as bad:
            await _say(writer, {"error": bad.to_json()})
        except (ConnectionError, ValueError, asyncio.IncompleteReadError) as bad:
            _log.info("the door: %s", bad)
        finally:
            self.attached -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if not line:
            return  # somebody attended, and left
        request = json.loads(line)
        ticket = await self._runner.write(lambda session: door.redeem(session, str(request["ticket"])))
        if ticket.purpose == "observe":
            await _say(writer, {"ok": True})
            await _say(writer, {"hosts": await self._observe()})
            return
        if ticket.purpose == "metrics":
            await _say(writer, {"ok": True})
            await live.serve(reader, writer, lambda since: self._measured(ticket, since))
            return
        if ticket.purpose == "trace":
            await _say(writer, {"ok": True})
            await _say(writer, {"answers": await self._trace(ticket)})
            return
        if ticket.purpose == "log_search":
            await _say(writer, {"ok": True})
            await _say(writer, await self._search(ticket.args))
            return
        host = await self._host_of(ticket)
        if ticket.purpose == "console_log":
            await self._log(reader, writer, host, ticket.object_id, request)
        elif ticket.purpose == "display":
            await self._display(writer, host, ticket.object_id)
        elif ticket.purpose == "connect":
            asked = Connect(uuid=ticket.object_id, way=Way.TCP, **ticket.args)
            async with host.tunnel(asked) as tunnel:
                await _say(writer, {"ok": True})
                await passing.raw(reader, writer, tunnel)
        else:
            at = str(request.get("at", ""))[:LONGEST_PLACE]
            who = str(ticket.args.get("who", "")) + (f"@{at}" if at else "")
            async with host.console(ticket.object_id, write=bool(request.get("write", True)), who=who) as stream:
                await _say(writer, {"ok": True})
                await passing.frames(reader, writer, stream)

    async def _log(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: HostHandle,
        uuid: str,
        request: dict[str, Any],
    ) -> None:
        """The first answer, and one for each further line that is sent."""
        first = True
        while True:
            lines = min(int(request.get("lines", 100)), MOST_LINES)
            body = ReadLog(uuid=uuid, lines=lines, after=str(request.get("after", "")))
            read: LogRead = await host.call("read_log", body, deadline=LOG_DEADLINE)
            if first:
                await _say(writer, {"ok": True})
                first = False
            await _say(writer, dump(read))
            line = await reader.readline()
            if not line:
                return
            request = json.loads(line)

    async def _search(self, args: dict[str, Any]) -> dict[str, Any]:
        """Ask all hosts that have something to search, side by side; the slow ones are said to be silent."""
        asked = await self._runner.read(lambda session: searching.asked(session, args))
        turn = asyncio.Semaphore(SEARCHED_AT_ONCE)

        async def one(host_id: str, uuids: list[str]) -> LogsFound | tuple[str, str]:
            try:
                host = self._hosts.get(host_id)
            except SkydeckError as bad:
                return host_id, bad.title
            body = SearchLogs(text=args["text"], uuids=tuple(uuids), most=searching.MOST, each=searching.EACH)
            try:
                async with turn:
                    found: LogsFound = await host.call("search_logs", body, deadline=LOG_DEADLINE)
            except SkydeckError as bad:
                return host.name if args["hosts"] else "a host", bad.title
            return found

        answers = await asyncio.gather(*(one(host_id, uuids) for host_id, uuids in asked.items()))
        found = [answer for answer in answers if isinstance(answer, LogsFound)]
        silent = [answer for answer in answers if not isinstance(answer, LogsFound)]
        silent += [("a host", "did not get through all its logs in time") for one in found if one.unfinished]
        lines = [dump(line) for one in found for line in one.lines]
        more = any(one.more for one in found) or len(lines) > searching.MOST
        named = await self._runner.read(lambda session: searching.named(session, args, lines))
        return {"lines": named, "searched": sum(one.searched for one in found), "more": more, "silent": silent}

    async def _display(self, writer: asyncio.StreamWriter, host: HostHandle, uuid: str) -> None:
        """An address for one viewer. What becomes of it goes on after the answer."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._shown(host, uuid, answer))
        self._shows.add(task)
        task.add_done_callback(self._shows.discard)
        told = await answer
        await _say(writer, {"ok": True})
        await _say(writer, told)

    async def _shown(self, host: HostHandle, uuid: str, answer: asyncio.Future[dict[str, Any]]) -> None:
        self.attached += 1
        try:
            # Opened first: a guest without a display is told now, and not to the viewer.
            async with host.tunnel(Connect(uuid=uuid, way=Way.DISPLAY)) as tunnel:
                handout = display.Handout(lambda reader, writer: passing.raw(reader, writer, tunnel))
                await handout.open()
                answer.set_result({"address": display.ADDRESS, "port": handout.port})
                await handout.serve()
        except (SkydeckError, OSError) as bad:
            if not answer.done():
                answer.set_exception(bad)
            else:
                _log.info("a display: %s", bad)
        finally:
            self.attached -= 1

    async def _host_of(self, ticket: Ticket) -> HostHandle:
        def where(session: Session) -> str:
            instance = session.get(Instance, ticket.object_id)
            if instance is None or instance.host_id is None:
                raise NotFound("the instance is on no host")
            return instance.host_id

        return self._hosts.get(await self._runner.read(where))

    async def _measured(self, ticket: Ticket, since: int) -> Measured | dict[str, Any]:
        try:
            # Asked for anew at each look: a guest may have moved.
            host = self._hosts.get(ticket.object_id) if ticket.args["host"] else await self._host_of(ticket)
            if not host.up:  # a page can show what was collected meanwhile: it shall not wait for that
                raise Unavailable(f"host {host.name} is not connected", hint="skydeck host list shows why.")
            body = Metrics(since=since, ids=(ticket.object_id,))
            measured: Measured = await host.call("metrics", body, deadline=METRICS_DEADLINE)
        except SkydeckError as bad:
            return live.told(bad)
        return measured

    async def _observe(self) -> dict[str, Any]:
        async def one(host: HostHandle) -> dict[str, Any]:
            try:
                return dump(await host.observe(stats=False))
            except SkydeckError as bad:
                return {"error": bad.title}

        hosts = self._hosts.all()
        seen = await asyncio.gather(*(one(host) for host in hosts))
        return {host.id: answer for host, answer in zip(hosts, seen, strict=True)}

    async def _trace(self, ticket: Ticket) -> list[dict[str, Any]]:
        async def one(host_id: str, question: Trace) -> dict[str, Any]:
            try:
                return {"ok": dump(await self._hosts.get(host_id).call("trace", question, deadline=TRACE_DEADLINE))}
            except SkydeckError as bad:
                return {"error": bad.title}

        asks = tracing.Path.from_json(ticket.args).asks()
        return list(await asyncio.gather(*(one(host_id, question) for host_id, question in asks)))


async def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
