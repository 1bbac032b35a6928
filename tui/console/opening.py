"""What the app is left for: an instance's console and ssh to it, in its place; and what is handed out: its display."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from tui.console import ssh
from tui.console.display import DisplayScreen
from tui.text import safe

if TYPE_CHECKING:
    from core.consoles.client import Console
    from tui.app import Skydeck


def attach(app: Skydeck, instance: str, name: str) -> None:
    """The raw serial console, in place of the app until Ctrl+] is typed."""
    from core import door
    from tui.console import raw

    if not _may_leave(app, "skydeck console attach"):
        return
    seat = app.seat
    ctx = seat.request()
    attempts = itertools.count()

    async def attached() -> Console:
        await door.knock(seat.config)
        with seat.store.write() as session:
            again = next(attempts) > 0
            ticket = door.ticket(session, ctx, purpose="console", instance=instance, again=again)
        return await door.console(seat.config, ticket, write=True, at=raw.place())

    with app.suspend():
        raw.run(name, attached)
    _back(app)


async def log_in(app: Skydeck, instance: str, name: str) -> None:
    """ssh to an instance, in place of the app until it ends. What is in the way is told."""
    from core.consoles import ways
    from core.errors import SkydeckError

    if app.seat.read_only:
        app.tell("no ssh: this is read-only mode", "Start without --read-only.", tone="warn")
        return
    if not _may_leave(app, "skydeck server ssh"):
        return
    if ssh.installed() is None:
        app.tell("there is no ssh on this machine", "Install openssh-client.", tone="bad")
        return
    ctx = app.seat.request()
    login = ssh.Login()
    try:
        target = await app.seat.read(lambda session: ways.find(session, ctx, instance))
    except SkydeckError as bad:
        app.tell(bad.title, bad.hint, tone="bad")
        return
    way = await asyncio.to_thread(ssh.choose, target, login)
    command = ssh.arguments(target, way, login, project_id=ctx.project_id)
    with app.suspend():
        through = " through its host" if way.kind == "inside" else ""
        who = f"{target.user}@" if target.user else ""
        print(f"\x1b[2J\x1b[Hssh {who}{safe(name)} ({way.address}{through}); exit leaves", flush=True)
        status = _run(command)
    _back(app)
    if status == 255:  # ssh's own failure, and not the remote command's
        hint = "A security group must let TCP 22 in, and the guest run sshd; o: its console"
        app.tell(f"ssh to {safe(name)} failed", hint, tone="warn")


def _run(command: list[str]) -> int:
    """In the foreground; Ctrl+C is the child's."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.call(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    finally:
        signal.signal(signal.SIGINT, before)


async def show_display(app: Skydeck, instance: str, name: str) -> None:
    """Hand out an address for a viewer."""
    from core import door
    from core.consoles.display import url
    from core.errors import SkydeckError

    ctx = app.seat.request()

    def take(session: Any) -> str:
        return door.ticket(session, ctx, purpose="display", instance=instance)

    try:
        address, port = await door.display(app.seat.config, await app.seat.write(take))
    except (SkydeckError, OSError) as bad:
        app.tell(getattr(bad, "title", str(bad)), getattr(bad, "hint", ""), tone="bad")
        return
    app.push_screen(DisplayScreen(safe(name), url(address, port)))


def _may_leave(app: Skydeck, command: str) -> bool:
    if app._driver is None or not app._driver.can_suspend:
        app.tell("this terminal cannot be handed over", f"Use: {command}", tone="warn")
        return False
    return True


def _back(app: Skydeck) -> None:
    app.refresh(layout=True)
    app.news()
