"""`skydeck host remove`: the reverse of enrolment, in three named steps.

    check    it holds no instance and no volume; from here on it takes none
    clear    its networks, hostd, the cloud's key; what it stored stays unless asked otherwise
    forget   the row

A host that cannot be reached may be forgotten all the same; the person is then told what stays on it.
"""

from __future__ import annotations

from pathlib import Path

from core.cloud import Cloud
from core.config import Config
from core.context import Context
from core.errors import Conflict, HostFailed, SkydeckError, Unavailable
from core.hosts import hosts
from core.hosts.enroll import install, keys
from core.hosts.enroll.layout import UNIT, Layout
from core.hosts.enroll.look import Facts, become_root, look
from core.hosts.enroll.prove import dissolve
from core.hosts.enroll.reach import Address, RemoteTarget, agree
from core.hosts.enroll.report import Ask, Report, Row, Steps, Tell, Verdict
from core.hosts.enroll.target import LocalTarget, Target
from core.hosts.hosts import Host
from core.hosts.transport import SshTarget
from core.identity.policy import authorize
from core.sql import select
from core.store import Store

REMOVING = "being removed"
"""Why a host is disabled while it is, and after a removal that failed."""


def remove(
    store: Store,
    config: Config,
    ctx: Context,
    id_or_name: str,
    *,
    ask: Ask,
    tell: Tell,
    keep_data: bool = True,
    assume_yes: bool = False,
    user: str | None = None,
    identity: Path | None = None,
    layout: Layout | None = None,
) -> Report:
    """Take a host out of the cloud.

    `keep_data=False` also removes all that hostd stored there: images, disks, its journal. `assume_yes` forgets a host
    that cannot be reached, without asking. `user` and `identity` are the login for the work, as in `add`.
    Raises NotFound, Conflict for a host that holds any, Refused, Failed (the host stays, disabled).
    """
    authorize(ctx, "host:manage")
    layout = layout or Layout()
    steps = Steps(tell)
    with steps.step("check", f"host {id_or_name}"):
        host, cloud = _reserve(store, ctx, id_or_name)
    try:
        with steps.step("clear", host.address or "this machine") as said:
            _clear(config, host, cloud, steps, layout, keep_data=keep_data, user=user, identity=identity)
            said.append(f"what it stored is kept in {layout.state}" if keep_data else "nothing is left")
    except Unavailable as trouble:
        stays = (
            f"On it stay hostd ({layout.program}, {UNIT}), the line {keys.comment_of(cloud.id)} in root's "
            f"authorized_keys, {layout.state}, and every guest that runs there."
        )
        if not assume_yes and not ask(f"{trouble.title}\n{stays}\nForget host {host.name} all the same?"):
            raise
        steps.rows.append(Row("left behind", stays, Verdict.WARN))
    with steps.step("forget", f"host {host.name}"), store.write() as session:
        hosts.remove(session, ctx, host.id)
    return steps.report(host_id=host.id, name=host.name)


def _reserve(store: Store, ctx: Context, id_or_name: str) -> tuple[Host, Cloud]:
    """The host, disabled so that nothing is placed on it any more."""
    with store.write() as session:
        host = hosts.find(session, ctx, id_or_name)
        hosts.check_empty(session, host)
        if host.enabled:
            hosts.update_host(session, ctx, host.id, enabled=False, disabled_reason=REMOVING)
        return host, session.execute(select(Cloud)).scalar_one()


def _clear(
    config: Config,
    host: Host,
    cloud: Cloud,
    steps: Steps,
    layout: Layout,
    *,
    keep_data: bool,
    user: str | None,
    identity: Path | None,
) -> None:
    if not host.address:
        _clear_target(LocalTarget(), Path(host.socket), host, cloud, steps, layout, keep_data=keep_data)
        return
    address = Address(host=host.address, port=host.port, user=user or host.ssh_user)
    with RemoteTarget(address) as remote:
        shown = remote.shown_keys(pinned=host.host_key)
        try:
            key = agree(
                shown,
                name=address.name,
                pinned=host.host_key,
                wanted=None,
                assume_yes=True,
                ask=lambda _question: False,
            )
        except Conflict as other:
            # Another machine answers there, or the host was reinstalled: this host cannot be reached.
            raise Unavailable(other.title, hint="Forget the host if it is no more.") from other
        remote.login(key, identity=identity)
        way_in = keys.ssh_target(config, address=host.address, port=host.port, host_key=host.host_key)
        _clear_target(remote, way_in, host, cloud, steps, layout, keep_data=keep_data)


def _clear_target(
    target: Target,
    way_in: SshTarget | Path,
    host: Host,
    cloud: Cloud,
    steps: Steps,
    layout: Layout,
    *,
    keep_data: bool,
) -> None:
    root = become_root(target)
    facts = look(root, layout)
    steps.acting = True
    empty = _dissolve(way_in, host, cloud, steps, keep_data=keep_data)
    if host.address and _forget_key(root, facts, cloud):
        steps.changes.append("key")
    install.uninstall(root, layout, systemd=facts.init == "systemd")
    steps.changes += ["daemon", "hostd"]
    if empty:
        install.release(root, layout, keep_data=keep_data)
        steps.changes.append("journal" if keep_data else "data")
    if keep_data:
        steps.rows.append(Row("left behind", layout.state))


def _dissolve(way_in: SshTarget | Path, host: Host, cloud: Cloud, steps: Steps, *, keep_data: bool) -> bool:
    """Networks go; a guest of ours that no instance claims stops the removal: it may be somebody's only copy.

    False when hostd did not say, so that its journal is still needed.
    """
    try:
        seen = dissolve(way_in, cloud=cloud.id, term=cloud.term, host=host.id)
    except SkydeckError as bad:
        if not keep_data:
            raise HostFailed(
                f"hostd does not say what guests host {host.name} holds, so their data is not deleted: {bad.title}",
                hint="Repair it with `skydeck host add`, or remove the host and keep its data.",
            ) from bad
        # hostd may be what is broken; removing it must still be possible.
        steps.rows.append(Row("networks", f"not looked at: {bad.title}", Verdict.WARN))
        return False
    strays = [domain.name for domain in seen.domains if domain.owned]
    if strays:
        raise HostFailed(
            f"host {host.name} still has guests that no instance claims: {', '.join(strays)}",
            hint="`skydeck verify` names them and what can be done.",
        )
    if seen.networks:
        steps.changes.append(f"{len(seen.networks)} networks")
    return True


def _forget_key(root: Target, facts: Facts, cloud: Cloud) -> bool:
    path = keys.authorized_keys_path(facts)
    return path is not None and install.forget_key(root, path=path, comment=keys.comment_of(cloud.id))
