"""What a guest's console tells is heard once, however often it is said, by whomever, and across restarts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostd.drivers import Happened
from hostd.logs import follower as following
from hostd.logs.files import times_of
from hostd.logs.follower import Follower
from hostd.logs.patterns import LONGEST_SHOWN, asks_login, shown, told
from hostd.logs.times import Times
from hostd.spec import EventKind


class World:
    """Guests' logs in a directory, and what was heard of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1000.0
        self.heard: list[Happened] = []
        self.follower = self.fresh()

    def fresh(self) -> Follower:
        return Follower(
            lambda: {path.stem: path for path in sorted(self.root.glob("*.log"))},
            self.heard.append,
            clock=lambda: self.now,
        )

    def says(self, guest: str, data: bytes) -> None:
        with (self.root / f"{guest}.log").open("ab") as file:
            file.write(data)

    def look(self, *, after: float = 1.0) -> list[tuple[str | None, str, int]]:
        """What is heard by a look then."""
        self.now += after
        before = len(self.heard)
        self.follower.look()
        return [(one.uuid, one.detail["pattern"], one.detail["times"]) for one in self.heard[before:]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        (b"[    3.1] Kernel panic - not syncing: VFS: Unable to mount root fs", "panic"),
        (b"[  9.4] Out of memory: Killed process 812 (stress) total-vm:1kB", "oom"),
        (b"[  9.4] Memory cgroup out of memory: Killed process 1 (a)", "oom"),
        (b"stress invoked oom-killer: gfp_mask=0x1", "oom"),
        (b"[ 77.0] EXT4-fs error (device vda1): ext4_lookup:1855: inode #2", "filesystem"),
        (b"[ 77.0] EXT4-fs (vda1): Remounting filesystem read-only", "filesystem"),
        (b'XFS (vda2): metadata I/O error in "xfs_trans_read_buf_map"', "filesystem"),
        (b"XFS (vda2): Corruption detected. Unmount and run xfs_repair", "filesystem"),
        (b"BTRFS error (device vda3: state A): Transaction aborted, forced readonly", "filesystem"),
        (b"blk_update_request: I/O error, dev vda, sector 2048", "filesystem"),
        (b"Kernel command line: panic=1 oom=no root=/dev/vda", None),
        (b"EXT4-fs (vda1): mounted filesystem with ordered data mode", None),
        (b"see https://wiki/panic: nothing", None),
    ],
)
def test_what_is_heard_of_which_line(line: bytes, pattern: str | None) -> None:
    assert [name for name, _ in told(b"before\n" + line + b"\r\nafter")] == ([pattern] if pattern else [])


def test_a_login_prompt_is_one_without_a_lines_end() -> None:
    assert asks_login(b"\r\nweb-01 login: ")
    assert not asks_login(b"Last login: ")
    assert not asks_login(b"web-01 login: root\r\nPassword: ")
    assert not asks_login(b"a" * 100_000)


def test_nothing_a_guest_says_is_kept_as_it_is() -> None:
    assert shown(b"\x1b[2J\x07Kernel \x00panic\t\xff\xe2\x80\xae!") == "[2J Kernel panic \N{REPLACEMENT CHARACTER} !"
    assert len(shown(b"x" * 10_000)) == LONGEST_SHOWN


def test_each_guest_is_heard_at_once_and_then_less_and_less_often(world: World) -> None:
    panic = b"[ 1.0] Kernel panic - not syncing: bad\n"
    world.says("a", b"booting\n")
    assert world.look() == []
    world.says("a", panic[:20])
    assert world.look() == []
    world.says("a", panic[20:])
    world.says("b", b"web login: ")
    assert world.look() == [("a", "panic", 1), ("b", "login", 1)]
    assert world.heard[0].kind is EventKind.CONSOLE
    assert world.heard[0].detail["line"] == "[ 1.0] Kernel panic - not syncing: bad"
    for _ in range(5):
        world.says("a", panic * 3)
        assert world.look() == []
    world.says("a", panic)
    assert world.look(after=60) == [("a", "panic", 16)]
    world.says("a", panic)
    assert world.look(after=60) == []  # twice as long now
    world.says("a", panic)
    assert world.look(after=61) == [("a", "panic", 2)]
    world.says("a", panic)
    assert world.look(after=7 * 3600) == [("a", "panic", 1)]


def test_a_flood_costs_little_and_all_guests_together_tell_a_bounded_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AT_ONCE", 3)
    monkeypatch.setattr(following, "MOST_READ", 1000)
    monkeypatch.setattr(following, "MOST_AT_ONCE", 5000)
    for number in range(9):
        world.says(f"g{number}", b"x\n")
    world.look()
    for number in range(9):
        world.says(
            f"g{number}", b"Out of memory: Killed process 1\n" * 50 + b"y" * 100_000 + b"\nKernel panic - not syncing\n"
        )
    assert [(guest, pattern) for guest, pattern, _ in world.look()] == [(f"g{n}", "panic") for n in (1, 2, 3)]
    world.says("g8", b"Out of memory: Killed process 1\n")
    assert world.look(after=60) == [("g8", "oom", 1)]


def test_rotations_and_restarts_lose_nothing_and_repeat_nothing(world: World) -> None:
    world.says("a", b"Kernel panic - not syncing: of before anybody looked\n")
    assert world.look() == []
    world.says("a", b"first\n")
    world.look()
    log = world.root / "a.log"
    inode = log.stat().st_ino
    assert Times(times_of(log)).at(inode, log.stat().st_size - 1) == world.now
    assert Times(times_of(log)).at(inode, 0) is None
    world.follower = world.fresh()  # the daemon was killed
    world.says("a", b"EXT4-fs error (device vda)\n")
    os.replace(log, log.with_name("a.log.0"))
    world.says("a", b"I/O error, dev vda\nOut of memory: Killed process 7\n")
    assert world.look() == [("a", "filesystem", 1), ("a", "oom", 1)]
    assert world.look() == []
    log.write_bytes(b"")
    world.says("a", b"short\n")
    world.look()
    world.says("a", b"web login: ")
    assert world.look() == [("a", "login", 1)]
    log.unlink()
    assert world.look() == []
