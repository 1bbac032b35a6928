"""The options of `hostd`, for those subcommands that may take a moment to start."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import Any, TypeVar

from hostd import __version__, relay, spec

T = TypeVar("T")


def main(arguments: list[str]) -> int:
    """Run the subcommand; the exit code."""
    parser = argparse.ArgumentParser(prog="hostd", description=__doc__)
    parser.add_argument("--version", action="version", version=f"hostd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (
        ("serve", "run the daemon"),
        ("relay", "carry stdin and stdout to the daemon's socket"),
        ("status", "say whether the daemon serves, and what it sees"),
        ("labels", "print every crash point, one a line"),
        ("give", "write an image of the cache to standard output, for another host"),
    ):
        command = commands.add_parser(name, help=purpose, description=purpose)
        command.add_argument("--state", type=Path, default=Path(relay.STATE), metavar="DIR")
        command.add_argument("--run", type=Path, default=Path(relay.RUN), metavar="DIR")
        command.add_argument("--drivers", choices=["host", "memory"], default="host", help=argparse.SUPPRESS)
        if name == "give":
            command.add_argument("digest", metavar="DIGEST")
    options = parser.parse_args(arguments)
    if options.command == "give":
        from hostd import peers

        return peers.give(options.state, options.digest, asked=os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    memory = options.drivers == "memory"
    if options.command == "serve":
        from hostd import serve

        return serve.main(state=options.state, run=options.run, memory=memory)
    if options.command == "labels":
        return _labels(state=options.state, run=options.run, memory=memory)
    return _status(options.run / "hostd.sock")


def _labels(*, state: Path, run: Path, memory: bool) -> int:
    from hostd.crash import labels
    from hostd.serve import drivers

    for label in labels(drivers(state=state, run=run, memory=memory)):
        sys.stdout.write(f"{label}\n")
    return 0


def _status(path: Path) -> int:
    """What a person at the host wants to know; exit code 1 when nothing serves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError as bad:
            sys.stdout.write(f"hostd does not serve on {path}: {bad.strerror}\n")
            return 1
        hello = spec.Hello(protocol=spec.PROTOCOL, cloud="", term=0, host=None, purpose=spec.STATUS)
        host = _ask(sock, "hello", hello, spec.HelloReply)
        seen = _ask(sock, "observe", spec.Observe(stats=False), spec.Observation)
    rows = {
        "host": f"{host.hostname} ({host.host})",
        "hostd": f"{host.version}, protocol {host.protocol}, controller's term {host.term}",
        "accel": seen.accel.reason,
        "guests": f"{len(seen.domains)}, {sum(d.power is spec.PowerState.RUNNING for d in seen.domains)} running",
        "networks": str(len(seen.networks)),
        "images": f"{len(seen.images)} in the cache, {sum(image.size for image in seen.images) / 1e6:.1f} MB",
        "disk": f"{seen.capacity.disk_free_gb} of {seen.capacity.disk_gb} GiB free",
        **{f"problem {number}": problem for number, problem in enumerate(seen.problems, 1)},
    }
    for name, value in rows.items():
        sys.stdout.write(f"{name:10} {value}\n")
    return 0


def _ask(sock: socket.socket, call: str, body: Any, answer: type[T]) -> T:
    sock.sendall(spec.encode(spec.Request(id=1, call=call, body=spec.dump(body))))
    length = int.from_bytes(sock.recv(spec.HEADER, socket.MSG_WAITALL), "big")
    reply = spec.load(spec.Reply, spec.decode(sock.recv(length, socket.MSG_WAITALL)))
    if reply.error is not None:
        raise SystemExit(f"hostd: {reply.error.message}")
    return spec.load(answer, reply.ok)
