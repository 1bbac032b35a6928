"""Through the door to a real hostd and back: consoles, logs, searches, ways into guests, displays."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import door
from core.compute.instances.table import Instance
from core.consoles.client import Change, Console
from core.consoles.display import owner
from core.context import Context
from core.doorkeeper import Doorkeeper
from core.errors import Conflict, Forbidden, HostFailed, Invalid, NotFound
from core.hosts.pool import HostPool
from core.images.stores import Stores
from core.runner import Runner
from hostd.spec import Apply, NetworkingSpec, NetworkSpec, ObjectKind, SegmentType, dump
from tests.contract.hosts import Daemon
from tests.core.world import World
from tests.hostd.specs import instance as spec_of


class Deaf:
    """A pool's listener that does not care."""

    async def connected(self, host: Any, hello: Any) -> None:
        host.introduced()

    async def disconnected(self, host_id: str, reason: str) -> None: ...

    async def event(self, host: Any, event: Any) -> None: ...


@dataclasses.dataclass
class House:
    """A cloud with one real hostd, the door to it, and two guests: `web` of the admin, `theirs` of another."""

    world: World
    daemon: Daemon
    keeper: Doorkeeper
    web: Instance
    theirs: Instance
    member: Context

    def ticket(self, purpose: str, ctx: Context | None = None, name: str = "web") -> str:
        with self.world.store.write() as session:
            return door.ticket(session, ctx or self.world.admin, purpose=purpose, instance=name)

    def search(self, text: str, ctx: Context | None = None, **options: bool) -> str:
        with self.world.store.write() as session:
            return door.search_ticket(session, ctx or self.world.admin, text, **options)

    def way(self, port: int, ctx: Context | None = None, name: str = "web") -> str:
        with self.world.store.write() as session:
            return door.way_ticket(session, ctx or self.world.admin, name, address="", port=port)

    def log_of(self, guest: Instance) -> Path:
        return self.daemon.run / f"{guest.id[:8]}.log"


@pytest.fixture
async def house(world: World, tmp_path: Path) -> AsyncIterator[House]:
    async with Daemon(tmp_path) as daemon:
        world.image()
        host_id = (daemon.state / "host.uuid").read_text().strip()
        world.host("h1", id=host_id, socket=str(daemon.run / "hostd.sock"))
        member = world.someone("member")
        web = world.settled()
        theirs = world.settled(member, name="theirs", networks=("none",))
        world.config.run_dir.mkdir(parents=True, exist_ok=True)
        runner = Runner(world.store)
        pool = HostPool(runner, world.config, Deaf(), cloud="c", term=1, images=Stores(world.config))
        await pool.refresh()
        keeper = Doorkeeper(runner, pool, world.config.run_dir / door.SOCKET)
        await keeper.start()
        try:
            host = pool.get(host_id)
            for guest in (web, theirs):
                body = spec_of(uuid=guest.id, image=None, nics=(), metadata=None)
                apply = Apply(kind=ObjectKind.INSTANCE, uuid=guest.id, generation=1, spec=dump(body))
                await host.call("apply", apply, deadline=20)
            yield House(world, daemon, keeper, web, theirs, member)
        finally:
            await keeper.stop()
            await pool.close()
            runner.close()


async def until(console: Console, text: bytes) -> None:
    heard = b""
    while text not in heard:
        heard += await console.read()


async def test_two_at_a_console_are_told_of_each_other(house: House) -> None:
    config = house.world.config
    first = await door.console(config, house.ticket("console"), at="pts/1")
    attached = await first.next()
    assert attached.change is Change.ATTACHED  # type: ignore[union-attr]
    second = await door.console(config, house.ticket("console"), at="x" * 99)
    assert (await first.next()).others == ("admin@" + "x" * 24,)  # type: ignore[union-attr]
    assert (await second.next()).others == ("admin@pts/1",)  # type: ignore[union-attr]
    await first.write(b"hello")
    await asyncio.gather(until(first, b"hello"), until(second, b"hello"))
    await second.take()
    assert not (await first.next()).typing  # type: ignore[union-attr]
    await second.close()
    assert (await first.next()).change is Change.RELEASED  # type: ignore[union-attr]
    await first.close()
    assert len(house.world.events("instance.console")) == 2
    with house.world.store.write() as session:
        door.ticket(session, house.world.admin, purpose="console", instance="web", again=True)
    assert len(house.world.events("instance.console")) == 2, "who comes back after a cut is no news"
    await door.knock(config)
    with pytest.raises(NotFound):
        house.ticket("console", house.member)
    reader = house.world.someone("reader", project="admin")
    with pytest.raises(Forbidden):
        house.ticket("console", reader)


async def test_a_log_is_read_on_with_one_ticket(house: House) -> None:
    house.log_of(house.web).write_bytes(b"one\ntwo\n")
    reader = house.world.someone("reader", project="admin")
    log = await door.log(house.world.config, house.ticket("console_log", reader), 1)
    part = await log.read(1)
    assert part is not None
    assert (part.text, part.whole) == ("two\n", True)
    with house.log_of(house.web).open("ab") as file:
        file.write(b"three\n")
    part = await log.read(1)
    assert part is not None
    assert (part.text, part.whole) == ("three\n", False)
    await log.close()
    assert await door.console_log(house.world.config, house.ticket("console_log"), 2) == "two\nthree\n"


async def test_a_search_sees_what_the_caller_may_see(house: House) -> None:
    config = house.world.config
    house.log_of(house.web).write_bytes(b"x\nneedle \x1b[2Jof web\n")
    house.log_of(house.theirs).write_bytes(b"needle of theirs\n")
    mine = await door.search(config, house.search("NEEDLE"))
    assert [(line.instance, line.number, line.text, line.host) for line in mine.lines] == [
        ("web", 2, "needle \x1b[2Jof web", "h1")
    ]
    assert (mine.searched, mine.more, mine.silent) == (1, False, ())
    other = await door.search(config, house.search("needle", house.member))
    assert [(line.instance, line.host) for line in other.lines] == [("theirs", "")]
    everything = dataclasses.replace(house.world.admin, all_projects=True)
    assert len((await door.search(config, house.search("needle", everything))).lines) == 2
    with pytest.raises(Forbidden):
        house.search("needle", dataclasses.replace(house.member, all_projects=True))
    for text in ("", "a\nb", "x" * 201):
        with pytest.raises(Invalid):
            house.search(text)
    now = house.world.store.clock.now()
    house.world.change(house.web.id, deleted_at=now)
    assert (await door.search(config, house.search("needle"))).searched == 0
    gone = await door.search(config, house.search("needle", deleted=True))
    assert [line.deleted for line in gone.lines] == [True]
    house.world.change(house.web.id, deleted_at=now - 8 * 86_400_000_000)
    assert (await door.search(config, house.search("needle", deleted=True))).searched == 0
    house.world.change(house.web.id, deleted_at=0)
    await house.daemon.kill()
    silent = await door.search(config, house.search("needle"))
    assert (silent.lines, silent.silent[0][0]) == ((), "h1")


async def test_a_way_into_a_guest_through_its_host(house: House) -> None:
    config, world = house.world.config, house.world
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(HostFailed, match="has no namespace"):
            await door.tunnel(config, house.way(port))
        (network_id,) = {args["network"] for args in [_way_args(house, port)]}
        network = NetworkSpec(uuid=network_id, type=SegmentType.VXLAN, segment=1001, mtu=1450)
        document = NetworkingSpec(uuid=str(house.web.host_id), networks=(network,))
        host = house.keeper._hosts.get(str(house.web.host_id))
        body = Apply(kind=ObjectKind.NETWORKING, uuid=document.uuid, generation=1, spec=dump(document))
        await host.call("apply", body, deadline=20)
        tunnel = await door.tunnel(config, house.way(port))
        far, _ = await asyncio.to_thread(listening.accept)
        with far:
            await tunnel.write(b"SSH-2.0-x\r\n")
            assert await asyncio.to_thread(far.recv, 99) == b"SSH-2.0-x\r\n"
            tunnel.end()
            assert await asyncio.to_thread(far.recv, 99) == b""
            far.sendall(b"y" * 300_000)
            far.shutdown(socket.SHUT_WR)
            back = b""
            while data := await tunnel.read():
                back += data
            assert back == b"y" * 300_000
        await tunnel.close()
    with pytest.raises(HostFailed, match="does not answer"):
        await door.tunnel(config, house.way(port))
    assert [event.after["port"] for event in world.events("instance.connect")] == [port] * 4  # type: ignore[index]
    with pytest.raises(Conflict, match="has no address"):
        house.way(22, house.member, "theirs")
    with pytest.raises(Conflict, match="no address of web"):
        with world.store.write() as session:
            door.way_ticket(session, world.admin, "web", address="10.99.99.99", port=22)
    with pytest.raises(Invalid):
        house.way(0)
    with pytest.raises(Forbidden):
        house.way(22, house.world.someone("reader", project="admin"))
    with pytest.raises(Forbidden, match="from this machine only"):
        house.way(22, dataclasses.replace(world.admin, source="remote"))


def _way_args(house: House, port: int) -> dict[str, Any]:
    with house.world.store.write() as session:
        row = session.get(door.Ticket, door.way_ticket(session, house.world.admin, "web", address="", port=port))
        assert row is not None
        return row.args


async def test_a_display_is_for_one_viewer(house: House) -> None:
    config = house.world.config
    with pytest.raises(HostFailed, match="no display"):
        await door.display(config, house.ticket("display"))
    path = house.daemon.run / f"{house.web.id[:8]}.vnc"

    async def shows(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n")
        writer.write((await reader.readexactly(12)).upper())
        writer.close()

    server = await asyncio.start_unix_server(shows, str(path))
    try:
        address, port = await door.display(config, house.ticket("display"))
        assert house.keeper.attached == 1, "a background engine stays for a viewer that is to come"
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(b"rfb 003.008\n")
        assert await reader.read(24) == b"RFB 003.008\n"
        assert await reader.read(24) == b"RFB 003.008\n"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(address, port)
        writer.close()
        await asyncio.gather(*house.keeper._shows)
        assert house.keeper.attached == 0
        _, unused = await door.display(config, house.ticket("display"))
        with pytest.raises(Forbidden):
            house.ticket("display", dataclasses.replace(house.world.admin, source="remote"))
        await house.keeper.stop()
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(address, unused)
            assert await reader.read(1) == b""
            writer.close()
    finally:
        server.close()


def test_who_owns_a_local_connection(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 1 1\n"
        "   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 2 1\n"
    )
    assert owner(50000, 8080, table) == 1001
    assert owner(8080, 50000, table) == 1000
    assert owner(1, 2, table) is None
