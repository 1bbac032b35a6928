"""The way into a host, against a real sshd: whose key it is, whose login, and what is said when either is wrong."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from core.errors import Conflict, Invalid, Refused, Unavailable
from core.hosts.enroll.reach import Address, RemoteTarget, agree, check_wanted, public_line
from core.hosts.enroll.target import Lost, put, script
from core.hosts.transport import fingerprint
from tests.core.hosts.sshd import Sshd, make_key, running_sshd


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    # A forced command that runs what was asked for is a shell.
    with running_sshd(tmp_path, tmp_path / "unused", relay=r"eval \"$SSH_ORIGINAL_COMMAND\"") as running:
        yield running


@pytest.fixture
def remote(sshd: Sshd) -> Iterator[RemoteTarget]:
    with RemoteTarget(address_of(sshd)) as remote:
        yield remote


@pytest.fixture
def logged_in(sshd: Sshd, remote: RemoteTarget) -> RemoteTarget:
    remote.login(remote.shown_keys()[0], identity=sshd.target.key_path)
    return remote


def address_of(sshd: Sshd) -> Address:
    return Address(host=sshd.target.address, port=sshd.target.port, user=sshd.target.user)


def never(question: str) -> bool:
    raise AssertionError(question)


# ---------------------------------------------------------------------------- the host's key


def test_the_key_shown_is_the_servers(sshd: Sshd, remote: RemoteTarget) -> None:
    assert [public_line(key) for key in remote.shown_keys()] == [sshd.target.host_key]
    assert [public_line(key) for key in remote.shown_keys(wanted=sshd.target.host_key)] == [sshd.target.host_key]


def test_a_new_key_is_shown_to_the_person(sshd: Sshd, remote: RemoteTarget) -> None:
    shown = remote.shown_keys()
    asked: list[str] = []
    key = agree(
        shown, name="h", pinned="", wanted=None, assume_yes=False, ask=lambda question: not asked.append(question)
    )
    assert public_line(key) == sshd.target.host_key
    assert fingerprint(sshd.target.host_key) in asked[0]
    assert "ssh-ed25519" in asked[0]
    with pytest.raises(Refused, match="was not accepted"):
        agree(shown, name="h", pinned="", wanted=None, assume_yes=False, ask=lambda _question: False)


def test_yes_does_not_stand_for_a_look_at_the_key(remote: RemoteTarget) -> None:
    with pytest.raises(Refused, match="--yes does not say") as caught:
        agree(remote.shown_keys(), name="h", pinned="", wanted=None, assume_yes=True, ask=never)
    assert "--host-key" in caught.value.hint


def test_a_fingerprint_or_a_key_line_decides_alone(sshd: Sshd, remote: RemoteTarget, tmp_path: Path) -> None:
    shown = remote.shown_keys(wanted="SHA256:any")
    other = make_key(tmp_path / "other")
    for wanted in (fingerprint(sshd.target.host_key), sshd.target.host_key, f"{sshd.target.host_key} root@h"):
        # Also over another key that was pinned before: this is how a reinstalled host is confirmed.
        agree(shown, name="h", pinned=other, wanted=wanted, assume_yes=True, ask=never)
    for wanted in (fingerprint(other), other):
        with pytest.raises(Conflict, match=f"--host-key says {fingerprint(other)}".replace("+", r"\+")) as caught:
            agree(shown, name="h", pinned="", wanted=wanted, assume_yes=True, ask=never)
        assert fingerprint(sshd.target.host_key) in caught.value.title


def test_a_changed_key_is_refused(sshd: Sshd, remote: RemoteTarget, tmp_path: Path) -> None:
    shown = remote.shown_keys()
    agree(shown, name="h", pinned=sshd.target.host_key, wanted=None, assume_yes=False, ask=never)
    with pytest.raises(Conflict, match="pinned is SHA256:") as caught:
        agree(shown, name="h", pinned=make_key(tmp_path / "old"), wanted=None, assume_yes=False, ask=never)
    assert "--host-key" in caught.value.hint


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(Invalid, match="neither a fingerprint nor a public key"):
        check_wanted("MD5:00:11")
    check_wanted("SHA256:abc")


# ---------------------------------------------------------------------------- how far it came


def shown_error(host: str, port: int) -> Unavailable:
    with RemoteTarget(Address(host=host, port=port, user="root")) as remote, pytest.raises(Unavailable) as caught:
        remote.shown_keys()
    assert caught.value.hint
    return caught.value


def test_an_unknown_name_a_closed_port_and_a_port_of_something_else_are_told_apart() -> None:
    assert "'nosuch.invalid' is not known" in shown_error("nosuch.invalid", 22).title
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up() -> None:
            for _ in range(4):
                connection, _ = server.accept()
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        assert "takes connections and shows no SSH host key" in shown_error("127.0.0.1", port).title
    assert f"127.0.0.1 port {port} cannot be connected to" in shown_error("127.0.0.1", port).title


# ---------------------------------------------------------------------------- the login


def test_the_keys_tried_are_listed(
    sshd: Sshd, remote: RemoteTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = remote.shown_keys()[0]
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    make_key(ssh / "id_ed25519")
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "a passphrase", "-f", str(ssh / "id_ecdsa")], check=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(Unavailable, match="takes none of your keys") as caught:
        remote.login(key, identity=None)
    assert "tried: no agent, ~/.ssh/id_ecdsa (has a passphrase: ssh-add it), ~/.ssh/id_ed25519" in caught.value.title
    assert f"ssh-copy-id -p {sshd.target.port}" in caught.value.hint


def test_an_identity_that_cannot_be_used_is_named(remote: RemoteTarget, tmp_path: Path) -> None:
    key = remote.shown_keys()[0]
    with pytest.raises(Unavailable, match="no-key cannot be used"):
        remote.login(key, identity=tmp_path / "no-key")


def test_a_login_goes_to_the_agreed_key_only(sshd: Sshd, remote: RemoteTarget, tmp_path: Path) -> None:
    other = asyncssh.import_public_key(make_key(tmp_path / "other"))
    with pytest.raises(Conflict, match="showed another host key"):
        remote.login(other, identity=sshd.target.key_path)


# ---------------------------------------------------------------------------- commands


def test_values_reach_a_script_as_arguments(logged_in: RemoteTarget) -> None:
    nasty = 'a b\'; echo "$HOME" `id` \\ \n *'
    assert script(logged_in, 'printf %s "$1"', nasty).out == nasty


def test_a_command_reads_its_input_to_the_end_even_when_there_is_none(logged_in: RemoteTarget) -> None:
    assert logged_in.run(["cat"], input=b"text").out == "text"
    assert logged_in.run(["cat"]).ok
    failed = logged_in.run(["sh", "-c", "echo why >&2; exit 3"])
    assert (failed.status, failed.said) == (3, "why")


def test_a_file_arrives_whole_with_its_mode_and_through_a_link(logged_in: RemoteTarget, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real/file")
    put(logged_in, data, str(tmp_path / "link"), 0o640)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/file").read_bytes() == data
    assert (tmp_path / "real/file").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["file"]


def test_silence_and_a_cut_are_lost(sshd: Sshd, logged_in: RemoteTarget) -> None:
    with pytest.raises(Lost, match=r"within 0\.2 s"):
        logged_in.run(["sleep", "5"], timeout=0.2)
    sshd.cut()
    with pytest.raises(Lost, match="was cut"):
        logged_in.run(["true"])
