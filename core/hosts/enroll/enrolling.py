"""`skydeck host add`: from an address to a host that takes guests, in seven named steps.

    reach    its sshd, its host key, the user's login
    look     what the machine has; refused here with every cause at once
    install  the distribution's packages that are missing
    push     hostd, as one file
    key      the cloud's own, good for hostd's relay and nothing else
    start    libvirtd and hostd
    prove    the engine's way in: the cloud's key, hello, observe

Up to and including `look` nothing is changed on the host, and errors are Refused; from then on they are Failed. Each
step looks before it acts, so that a second run repairs what is broken and leaves alone what is not.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import attrs
from sqlmodel import Session, col

from core import names
from core.cloud import Cloud
from core.config import Config
from core.context import Context
from core.errors import Conflict, Failed, Invalid, Refused, Unavailable
from core.hosts import hosts
from core.hosts.enroll import install, keys
from core.hosts.enroll.layout import Layout
from core.hosts.enroll.look import Facts, become_root, look
from core.hosts.enroll.needs import judge
from core.hosts.enroll.prove import PROBE_PATIENCE, Proof, prove
from core.hosts.enroll.reach import Address, RemoteTarget, agree, check_wanted, public_line
from core.hosts.enroll.removing import REMOVING
from core.hosts.enroll.report import Ask, Report, Row, Steps, Tell, Verdict
from core.hosts.enroll.target import LocalTarget, Target
from core.hosts.hosts import Host
from core.hosts.transport import SshTarget
from core.identity.policy import authorize
from core.sql import select
from core.store import Store, now

LOCAL: Final = "local"
"""The address that means this machine, without SSH."""

DEFAULT_ZONE: Final = "nova"


@attrs.frozen(kw_only=True)
class _Order:
    """What was asked for, and what the database already knew of it."""

    cloud: str
    term: int
    address: Address | None
    """None for this machine."""
    name: str | None
    zone: str | None
    known: Host | None
    layout: Layout
    assume_yes: bool
    ask: Ask


def add(
    store: Store,
    config: Config,
    ctx: Context,
    *,
    address: str,
    ask: Ask,
    tell: Tell,
    port: int = 22,
    user: str = "root",
    name: str | None = None,
    zone: str | None = None,
    host_key: str | None = None,
    assume_yes: bool = False,
    identity: Path | None = None,
    layout: Layout | None = None,
) -> Report:
    """Enrol the machine at `address`, or repair the one that is enrolled there.

    `address` is a host name, an IP address, `user@` and either, or LOCAL. `name` and `zone` are kept when None, else
    the host's own name and DEFAULT_ZONE. `host_key` is a fingerprint (`SHA256:…`) or a public key line. `assume_yes`
    answers what would be asked about packages, never about a host key. `identity` is the user's private key; without
    it, ssh-agent and ~/.ssh. Blocks, and runs event loops of its own: call it from a thread that has none.

    Raises Refused (nothing was changed on the host) or Failed (run it again once the cause is gone).
    """
    authorize(ctx, "host:manage")
    where = _parse(address, port=port, user=user)
    check_wanted(host_key)
    order = _order(store, where, name=name, zone=zone, layout=layout or Layout(), assume_yes=assume_yes, ask=ask)
    steps = Steps(tell)
    if where is None:
        return _enrol(store, config, ctx, order, steps, LocalTarget(), host_key="")
    with RemoteTarget(where) as remote:
        with steps.step("reach", f"{where.name}") as said:
            pinned = order.known.host_key if order.known else ""
            shown = remote.shown_keys(pinned=pinned, wanted=host_key)
            key = agree(shown, name=where.name, pinned=pinned, wanted=host_key, assume_yes=assume_yes, ask=ask)
            remote.login(key, identity=identity)
            said.append(f"host key {key.get_fingerprint()}")
            steps.rows += [
                Row("address", where.name),
                Row("host key", f"{key.get_fingerprint()} ({key.get_algorithm()})"),
            ]
        return _enrol(store, config, ctx, order, steps, remote, host_key=public_line(key))


def _parse(address: str, *, port: int, user: str) -> Address | None:
    if address == LOCAL:
        return None
    login, at, host = address.rpartition("@")
    host = host.removeprefix("[").removesuffix("]")
    user = login if at else user
    if not host or not user or any(character.isspace() or character == "/" for character in user + host):
        raise Invalid(f"{address!r} is no address", hint="Give [user@]name, [user@]IP address, or local.")
    if not 0 < port < 65536:
        raise Invalid(f"{port} is no port", hint="Between 1 and 65535.")
    return Address(host=host, port=port, user=user)


def _order(
    store: Store,
    address: Address | None,
    *,
    name: str | None,
    zone: str | None,
    layout: Layout,
    assume_yes: bool,
    ask: Ask,
) -> _Order:
    with store.read() as session:
        cloud, term = session.execute(select(Cloud.id, Cloud.term)).one()
        place = (
            (col(Host.address) == address.host, col(Host.port) == address.port)
            if address
            else (col(Host.address) == "",)
        )
        known = session.execute(select(Host).where(*place)).scalars().first()
        _check_name(session, name, known)
    return _Order(
        cloud=cloud, term=term, address=address, name=name, zone=zone, known=known, layout=layout,
        assume_yes=assume_yes, ask=ask,
    )  # fmt: skip


def _check_name(session: Session, name: str | None, known: Host | None) -> None:
    if name is None:
        return
    names.check(name, "host")
    taken = session.execute(select(Host).where(col(Host.name) == name)).scalars().first()
    if taken is not None and (known is None or taken.id != known.id):
        raise Conflict(
            f"a host named {name!r} exists, at {taken.address or LOCAL}", hint="Give this one another with --name."
        )


def _enrol(
    store: Store, config: Config, ctx: Context, order: _Order, steps: Steps, target: Target, *, host_key: str
) -> Report:
    layout = order.layout
    with steps.step("look", "what the machine has") as said:
        root, facts = _look(target, order)
        findings = judge(facts, now=time.time(), over_ssh=order.address is not None)
        _refuse(target, findings)
        name = _name(store, order, facts)
        said.append(facts.release or facts.arch)
        program = install.bundle()
    lacking = _packages(findings)
    if lacking:
        facts = _install(root, facts, lacking, order, steps)
        findings = judge(facts, now=time.time(), over_ssh=order.address is not None)
        _refuse(target, findings)
    steps.acting = True
    steps.rows += findings
    with steps.step("push", f"hostd to {layout.program}") as said:
        pushed = install.push(root, layout, program)
        steps.changes += pushed
        said.append("brought" if pushed else "there already")
    if order.address is not None:
        with steps.step("key", "the cloud's key, for hostd's relay only") as said:
            if _authorize(root, facts, config, order):
                steps.changes.append("key")
                said.append("added")
            else:
                said.append("there already")
    with steps.step("start", "libvirtd and hostd") as said:
        if install.start_libvirtd(root, facts):
            steps.changes.append("libvirtd")
        started = install.start(root, layout, systemd=facts.init == "systemd")
        steps.changes += started
        said.append("started" if started else "run already")
    with steps.step("prove", "hello and observe, as the engine will") as said:
        proof = prove(
            _way_in(config, order, host_key), cloud=order.cloud, term=order.term, host=None, patience=PROBE_PATIENCE
        )
        _same_host(order, proof)
        host = _keep(store, config, ctx, order, proof, name=name, host_key=host_key)
        steps.rows += _proven(proof)
        said.append(f"host {host.name} ({host.id})")
    return steps.report(host_id=host.id, name=host.name)


# ---------------------------------------------------------------------------- look


def _look(target: Target, order: _Order) -> tuple[Target, Facts]:
    root = become_root(target)
    if order.address is None and root is not target:
        raise Unavailable(
            "hostd's socket on this machine is root's alone, and skydeck does not run as root",
            hint="Run skydeck as root; or add this machine over SSH: skydeck host add 127.0.0.1.",
        )
    facts = look(root, order.layout)
    if facts.cloud not in ("", order.cloud):
        raise Conflict(
            f"{target.name} belongs to another cloud ({facts.cloud})",
            hint="Remove it there first. If that cloud is no more: stop hostd and remove "
            f"{order.layout.state}/journal.db on the host.",
        )
    if order.address is not None and keys.authorized_keys_path(facts) is None:
        raise Unavailable(
            f"sshd on {target.name} reads no authorized_keys (AuthorizedKeysFile none)",
            hint="Set `AuthorizedKeysFile .ssh/authorized_keys` in its sshd_config.",
        )
    return root, facts


def _refuse(target: Target, findings: list[Row]) -> None:
    in_the_way = [f"{row.check}: {row.found}" for row in findings if row.verdict is Verdict.FAIL]
    if in_the_way:
        raise Unavailable(
            f"{target.name} cannot hold guests: {'; '.join(in_the_way)}", hint="Put that right, and run this again."
        )


def _name(store: Store, order: _Order, facts: Facts) -> str:
    """The name asked for, the one it had, or the host's own."""
    name = order.name or (order.known.name if order.known else facts.hostname)
    with store.read() as session:
        _check_name(session, name, order.known)
    return name


# ---------------------------------------------------------------------------- install


def _packages(findings: list[Row]) -> list[str]:
    return list(dict.fromkeys(package for row in findings for package in row.packages))


def _install(root: Target, facts: Facts, packages: list[str], order: _Order, steps: Steps) -> Facts:
    """Ask, install, look again."""
    command = install.install_command(facts, packages)
    with steps.step("install", " ".join(packages)) as said:
        question = f"{root.name} lacks packages. Run there: {command}?"
        if not order.assume_yes and not order.ask(question):
            raise Refused(
                f"{root.name} lacks packages, and nobody agreed to install them: {' '.join(packages)}",
                hint=f"Run `{command}` there, or give --yes.",
            )
        steps.acting = True
        install.install_packages(root, facts, packages)
        steps.changes += packages
        facts = look(root, order.layout)
        still = [row for row in judge(facts, now=time.time(), over_ssh=order.address is not None) if row.packages]
        if still:
            raise Failed(
                f"{facts.packager} installed {' '.join(packages)}, and {root.name} still has "
                + "; ".join(row.found for row in still),
                hint="Look at the host by hand: are the programs in /usr/bin or /usr/sbin?",
            )
        said.append("installed")
    return facts


# ---------------------------------------------------------------------------- key, prove


def _authorize(root: Target, facts: Facts, config: Config, order: _Order) -> bool:
    path = keys.authorized_keys_path(facts)
    assert path is not None  # _look has seen to it
    public_key = keys.cloud_key(config, cloud=order.cloud)
    return install.authorize_key(root, order.layout, path=path, public_key=public_key)


def _way_in(config: Config, order: _Order, host_key: str) -> SshTarget | Path:
    if order.address is None:
        return Path(order.layout.socket)
    return keys.ssh_target(config, address=order.address.host, port=order.address.port, host_key=host_key)


def _same_host(order: _Order, proof: Proof) -> None:
    known = order.known
    if known is not None and known.id != proof.hello.host:
        raise Failed(
            f"this address was host {known.name} ({known.id}), and is now another one ({proof.hello.host})",
            hint=f"If it was reinstalled: skydeck host remove {known.name}; then add it again.",
        )


def _keep(store: Store, config: Config, ctx: Context, order: _Order, proof: Proof, *, name: str, host_key: str) -> Host:
    """The host's row, with what was observed."""
    known, address = order.known, order.address
    with store.write() as session:
        host = hosts.enroll(
            session,
            ctx,
            config,
            id=proof.hello.host,
            name=name,
            address=address.host if address else "",
            port=address.port if address else 0,
            ssh_user=keys.LOGIN,
            host_key=host_key,
            socket="" if address else order.layout.socket,
            availability_zone=order.zone or (known.availability_zone if known else DEFAULT_ZONE),
        )
        host.observed(proof.seen, at=now(session))
        host.versions = proof.hello.versions
        if host.disabled_reason == REMOVING:
            host.enabled, host.disabled_reason = True, ""
        host.refresh_caps()
    return host


def _proven(proof: Proof) -> list[Row]:
    hello, seen = proof.hello, proof.seen
    has = seen.capacity
    return [
        Row("hostd", f"{hello.version}, protocol {hello.protocol}, host {hello.host}"),
        Row(
            "capacity",
            f"{has.vcpus} vCPU, {has.ram_mb} MB RAM ({has.ram_free_mb} free), "
            f"{has.disk_gb} GB disk ({has.disk_free_gb} free)",
        ),
        Row("guests run under", seen.accel.reason, Verdict.OK if seen.accel.mode == "kvm" else Verdict.WARN),
        *(Row("problem", problem, Verdict.WARN) for problem in seen.problems),
    ]
