"""Consoles of real guests: several at one, taken over, over reboots; their logs searched and heard; ways into them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pexpect
import pytest
from sqlmodel import col

from core import door
from core.consoles.client import Change, Console, ConsoleNote
from core.events import Event
from core.network import security_groups
from core.sql import select
from tests.e2e.cloud import PATIENCE, READY, Cloud
from tests.e2e.conftest import EAST, WEST

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

DISPLAY = "tiny-display"
"""The guest's image, with a display."""


class Desk:
    """One who is attached."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.heard = ""
        self.notes: list[ConsoleNote] = []

    async def until(self, text: str) -> None:
        """Until the guest wrote it after what was awaited before."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.heard:
                await self._next()
        self.heard = self.heard.partition(text)[2]

    async def noted(self, change: Change) -> ConsoleNote:
        async with asyncio.timeout(PATIENCE):
            while all(note.change is not change for note in self.notes):
                await self._next()
        at = next(at for at, note in enumerate(self.notes) if note.change is change)
        note = self.notes[at]
        del self.notes[: at + 1]
        return note

    async def types(self, text: str) -> None:
        await self.console.write(text.encode())

    async def _next(self) -> None:
        said = await self.console.next()
        assert said is not None, f"the console ended after {self.heard!r}"
        if isinstance(said, bytes):
            self.heard += said.decode(errors="replace")
        else:
            self.notes.append(said)


@contextlib.asynccontextmanager
async def attached(cloud: Cloud, name: str, at: str) -> AsyncIterator[Desk]:
    with cloud.store.write() as session:
        ticket = door.ticket(session, cloud.ctx, purpose="console", instance=name)
    console = await door.console(cloud.config, ticket, at=at)
    try:
        yield Desk(console)
    finally:
        await console.close()


def heard(cloud: Cloud, action: str, uuid: str) -> list[Event]:
    with cloud.store.read() as session:
        query = select(Event).where(col(Event.action) == action, col(Event.object_id) == uuid)
        return list(session.execute(query.order_by(col(Event.id))).scalars())


@pytest.fixture
def open_to_tcp(cloud: Cloud) -> Iterator[None]:
    """Guests of the default group take TCP connections."""
    with cloud.store.write() as session:
        group = security_groups.default_group(session, cloud.ctx.project_id)
        rule = security_groups.add_rule(session, cloud.ctx, group.id, protocol="tcp")
    cloud.until_told()
    yield
    cloud.ask(security_groups.delete_rule, rule.id)


async def test_two_at_one_console_a_take_over_and_a_reboot(cloud: Cloud) -> None:
    await asyncio.to_thread(cloud.launch, "one", host=EAST)
    await asyncio.to_thread(cloud.booted, "one")
    async with attached(cloud, "one", "pts/1") as alice, attached(cloud, "one", "pts/2") as bob:
        assert (await bob.noted(Change.ATTACHED)).others == ("admin@pts/1",)
        await alice.types("echo both-$((40+2))\n")
        await asyncio.gather(alice.until("both-42"), bob.until("both-42"))
        await bob.console.take()
        lost = await alice.noted(Change.TAKEN)
        assert (lost.who, lost.typing) == ("admin@pts/2", False)
        await alice.types("echo never-$((40+3))\n")
        await bob.types("echo mine-$((40+4))\n")
        await asyncio.gather(alice.until("mine-44"), bob.until("mine-44"))
        assert "never-43" not in alice.heard + bob.heard
        began = time.monotonic()
        operation = await asyncio.to_thread(cloud.start_power, "one", "reboot_hard")
        for desk in (alice, bob):
            assert not (await desk.noted(Change.OFF)).running
            assert (await desk.noted(Change.ON)).running
        await asyncio.gather(alice.until(READY), bob.until(READY))
        print(f"\nboth saw it come up again {time.monotonic() - began:.2f} s after the reboot was asked for")
        await asyncio.to_thread(cloud.succeeded, operation.id)
        assert "never-43" not in await asyncio.to_thread(cloud.console_log, "one")
    assert await asyncio.to_thread(cloud.verify) == []


def test_the_terminal_stays_at_the_console_over_reboots_and_a_killed_engine(cloud: Cloud) -> None:
    cloud.launch("one", host=EAST)
    cloud.booted("one")
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "tui", "console", "attach", "one"],
        env=cloud.environ,
        dimensions=(24, 80),
        timeout=PATIENCE,
    )
    terminal.expect_exact("serial0 one — Ctrl+] leaves".encode())
    terminal.expect_exact(b"# ")
    terminal.send(b"stty size; echo hello-$((40+2))\r")
    terminal.expect_exact(b"hello-42")
    terminal.send(b"\x1es")
    terminal.expect_exact(b"stty rows 24 cols 80")
    terminal.send(b"stty size\r")
    terminal.expect_exact(b"24 80")
    terminal.send(b"reboot\r")  # inside: its process goes on
    terminal.expect_exact(READY.encode())
    cloud.succeeded(cloud.start_power("one", "reboot_hard").id)
    terminal.expect_exact(b"the guest is off")
    terminal.expect_exact(b"the guest is on again")
    terminal.expect_exact(READY.encode())
    cloud.kill_engine()
    terminal.expect_exact(b"the console ended; attaching again")
    terminal.expect_exact(b"attached to one again")
    terminal.send(b"\recho again-$((40+2))\r")
    terminal.expect_exact(b"again-42")
    terminal.send(b"\x1d")
    terminal.expect_exact(b"left one")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    restored(cloud)


def restored(cloud: Cloud) -> None:
    for name in cloud.hosts:
        cloud.until_up(name)
    assert cloud.verify() == []


def test_logs_are_searched_on_all_hosts_and_kept_over_restarts_and_deletes(cloud: Cloud) -> None:
    for name, host in (("one", EAST), ("two", WEST)):
        cloud.launch(name, host=host)
    for name in ("one", "two"):
        cloud.booted(name)
        cloud.type(name, f"echo needle-{name}-$((40+2))\n", f"needle-{name}-42")

    def found(*options: str) -> dict[str, str]:
        done = cloud.skydeck("console", "search", "NEEDLE-", "-f", "json", *options)
        lines = [line for line in json.loads(done.stdout) if "$" not in line["Line"]]
        assert all(line["Time"] for line in lines), lines
        return {line["Server"]: line["Line"] for line in lines}

    began = time.monotonic()
    cloud.until(lambda: found() == {"one": "needle-one-42", "two": "needle-two-42"}, "both logs are searched and timed")
    print(f"\nboth hosts answered {time.monotonic() - began:.2f} s after the first question")
    cloud.kill_hostd(EAST)
    cloud.until_up(EAST)
    cloud.until(lambda: set(found()) == {"one", "two"}, "the log is there after hostd was killed")
    cloud.succeeded(cloud.start_delete("two").id)
    assert set(found()) == {"one"}
    assert found("--deleted") == {"one": "needle-one-42", "two": "needle-two-42"}
    stranger = cloud.project("other")
    with cloud.store.write() as session:
        ticket = door.search_ticket(session, stranger, "needle-")
    elsewhere = asyncio.run(door.search(cloud.config, ticket))
    assert (elsewhere.lines, elsewhere.searched) == ((), 0)
    assert cloud.verify() == []


def test_a_panic_and_a_lack_of_memory_are_heard_once(cloud: Cloud) -> None:
    uuid = cloud.launch("one", host=EAST)
    cloud.booted("one")
    cloud.type("one", "tail /dev/zero; echo survived-$((40+2))\n", "survived-42")
    began = time.monotonic()
    cloud.until(lambda: bool(heard(cloud, "instance.console_oom", uuid)), "the lack of memory is an event")
    print(f"\nan event {time.monotonic() - began:.2f} s after the prompt came back")
    cloud.type("one", "printf 'web login: '; sleep 4\n", "web login: ")
    cloud.until(lambda: bool(heard(cloud, "instance.console_login", uuid)), "the login prompt is an event")
    cloud.type("one", "echo c >/proc/sysrq-trigger\n", "Kernel panic - not syncing")
    began = time.monotonic()
    cloud.until(lambda: bool(heard(cloud, "instance.console_panic", uuid)), "the panic is an event")
    print(f"\nan event {time.monotonic() - began:.2f} s after the panic was on the console")
    cloud.booted("one", boots=2)  # panic=1 reboots it
    cloud.type(
        "one",
        "for i in $(seq 500); do echo 'Kernel panic - not syncing: flood'; done; echo done-$((40+2))\n",
        "done-42",
    )
    time.sleep(3)  # looks of the follower, of which none may tell
    (panic,) = heard(cloud, "instance.console_panic", uuid)
    assert panic.after is not None
    assert panic.after["line"].startswith("[")
    assert "Kernel panic - not syncing" in panic.after["line"]
    assert cloud.verify() == []


def test_ssh_reaches_a_guest_without_a_floating_ip_through_its_host(
    cloud: Cloud, open_to_tcp: None, tmp_path: Path
) -> None:
    """OpenSSH's own server, sent into the guest through the tunnel and started there."""
    cloud.launch("one", host=WEST)
    cloud.booted("one")
    server = packed_sshd(tmp_path)
    cloud.sh("one", "(nc -l -p 2222 >/run/s.tar; echo got-$((40+2))) & true")
    cloud.until(lambda: ":2222 " in cloud.sh("one", "netstat -ltn"), "the guest listens")
    began = time.monotonic()
    with server.open("rb") as file:
        subprocess.run(
            [sys.executable, "-m", "tui", "server", "tunnel", "one", "--port", "2222"],
            env=cloud.environ, stdin=file, check=True, timeout=120, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    print(f"\n{server.stat().st_size >> 20} MiB through the tunnel in {time.monotonic() - began:.1f} s")
    cloud.until(lambda: "got-42" in cloud.console_log("one"), "all of it arrived")
    cloud.sh("one", "cd / && tar xf /run/s.tar && rm /run/s.tar && sh /run/s/start")
    key = tmp_path / "key"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tui", "server", "ssh", "one", "--login", "root", "-i", str(key)),
            *("-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={tmp_path / 'known'}", "-o", "IdentitiesOnly=yes"),
            *("-o", "GSSAPIAuthentication=no", "--", "echo", "inside-$(hostname)-$((40+2))"),
        ],
        env=cloud.environ, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "inside-one-42\n"), done.stderr + cloud.console_log("one", 30)
    assert f"{cloud.address('one')}, through its host" in done.stderr
    alias = f"skydeck-{cloud.instance('one').id}"
    known = ["ssh-keygen", "-F", alias, "-f", str(tmp_path / "known")]
    assert subprocess.run(known, capture_output=True).returncode == 0, "its key is remembered under its id"
    refused = cloud.skydeck("server", "tunnel", "one", "--port", "2", check=False)
    assert "port 2 does not answer" in refused.stderr
    assert cloud.verify() == []


def packed_sshd(directory: Path) -> Path:
    """A tar of this machine's sshd with its libraries, keys and a script that starts it, to be unpacked at /."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "key")], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "host")], check=True)
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no sshd on this machine")
    libraries = re.findall(r"(/\S+)", subprocess.run(["ldd", program], capture_output=True, text=True).stdout)
    start = """mkdir -p /lib64 /lib /run/sshd /root/.ssh
ln -sf /run/s/lib /lib/x86_64-linux-gnu
ln -sf /run/s/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
echo 'root:*:0:0::/root:/bin/sh' >/etc/passwd
echo 'sshd:*:74:74::/run/sshd:/bin/false' >>/etc/passwd
echo 'root:x:0:' >/etc/group
chmod 600 /run/s/host
cp /run/s/key.pub /root/.ssh/authorized_keys
/run/s/sshd -r -f /dev/null -h /run/s/host -o UsePAM=no -o StrictModes=no -o PidFile=none -o UseDNS=no
"""
    target = directory / "s.tar"
    with tarfile.open(target, "w", dereference=True) as tar:
        tar.add(program, "run/s/sshd")
        for library in sorted(set(libraries)):
            tar.add(os.path.realpath(library), f"run/s/lib/{os.path.basename(library)}")
        for name in ("host", "key.pub"):
            tar.add(directory / name, f"run/s/{name}")
        info = tarfile.TarInfo("run/s/start")
        info.size = len(start)
        tar.addfile(info, io.BytesIO(start.encode()))
    return target


def test_a_display_is_handed_out_to_one_viewer(cloud: Cloud, guest_image: object) -> None:
    boot = {"kernel_id": "tiny-kernel", "ramdisk_id": "tiny-ramdisk", "os_command_line": "console=ttyS0 quiet panic=1"}
    cloud.add_image(
        DISPLAY, guest_image.disk, disk_format="qcow2", virtual_size=32 << 20,  # type: ignore[attr-defined]
        properties=boot | {"hw_video_model": "virtio"},
    )  # fmt: skip
    try:
        cloud.launch("shown", host=EAST, image=DISPLAY)
        cloud.launch("plain", host=EAST)
        url = json.loads(cloud.skydeck("console", "url", "show", "shown", "-f", "json").stdout)["url"]
        address, port = re.fullmatch(r"vnc://(127\.0\.0\.1):(\d+)", url).groups()  # type: ignore[union-attr]
        with socket.create_connection((address, int(port)), timeout=10) as viewer:
            assert viewer.recv(12) == b"RFB 003.008\n"
            viewer.sendall(b"RFB 003.008\n")
            assert viewer.recv(2) == b"\x01\x01"  # one security type: none, for the address is the ticket
            viewer.sendall(b"\x01")
            assert viewer.recv(4) == b"\0\0\0\0"
            viewer.sendall(b"\x01")
            width, height = (int.from_bytes(part, "big") for part in (viewer.recv(2), viewer.recv(2)))
            print(f"\na display of {width}x{height}")
            assert width * height > 0
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, int(port)), timeout=1)
        without = cloud.skydeck("console", "url", "show", "plain", check=False)
        assert without.returncode != 0
        assert "the guest has no display" in without.stderr
        assert cloud.verify() == []
    finally:
        cloud.clear()
        cloud.delete_image(DISPLAY)
