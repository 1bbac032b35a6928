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
from core.door import Ticket
from core.errors import NotFound, SkydeckError
from core.hosts.pool import HostHandle, HostPool
from core.network import tracing
from core.runner import Runner
from hostd.spec import Act, Acted, Trace, dump

_log = logging.getLogger(__name__)

LOG_DEADLINE = 15.0
TRACE_DEADLINE = 15.0
MOST_LINES = 10_000


class Doorkeeper:
    """Serves the door's socket."""

    def __init__(self, runner: Runner, hosts: HostPool, path: Path) -> None:
        self._runner = runner
        self._hosts = hosts
        self._path = path
        self._server: asyncio.Server | None = None
        self.attached = 0
        """Connections open now."""

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=door.LINE)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attached += 1
        try:
            await self._answer(reader, writer)
        except SkydeckError as bad:
            await _say(writer, {"error": bad.to_json()})
        except (ConnectionError, ValueError) as bad:
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
        if ticket.purpose == "trace":
            await _say(writer, {"ok": True})
            await _say(writer, {"answers": await self._trace(ticket)})
            return
        host = await self._host_of(ticket)
        if ticket.purpose == "console_log":
            lines = min(int(request.get("lines", 100)), MOST_LINES)
            body = Act(request=ticket.id, verb="console_log", uuid=ticket.object_id, args={"lines": lines})
            acted: Acted = await host.call("act", body, deadline=LOG_DEADLINE)
            await _say(writer, {"ok": True})
            await _say(writer, {"text": acted.detail["text"]})
            return
        async with host.console(ticket.object_id, write=bool(request.get("write", True))) as stream:
            await _say(writer, {"ok": True})
            await _pass(reader, writer, stream)

    async def _host_of(self, ticket: Ticket) -> HostHandle:
        def where(session: Session) -> str:
            instance = session.get(Instance, ticket.object_id)
            if instance is None or instance.host_id is None:
                raise NotFound("the instance is on no host")
            return instance.host_id

        return self._hosts.get(await self._runner.read(where))

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


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: Any) -> None:
    """Bytes both ways until one side ends."""

    async def out() -> None:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()

    async def typed() -> None:
        while data := await reader.read(1 << 16):
            await stream.write(data)

    ways = {asyncio.ensure_future(out()), asyncio.ensure_future(typed())}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
