"""The network a launch gets that names none."""

from __future__ import annotations

from sqlmodel import Session, col

from core.config import Config
from core.context import Context
from core.errors import Invalid
from core.network import auto, subnets
from core.network.networks.verbs import create
from core.network.tables import Network
from core.sql import select


def default_for(session: Session, ctx: Context, config: Config) -> Network:
    """The project's only network, or the one called `default`, which is made when it has none: behind a router to the
    default external network, where there is one.

    Raises Invalid when the project has several and none is called `default`.
    """
    own = (
        session.execute(
            select(Network).where(col(Network.project_id) == ctx.project_id).order_by(col(Network.created_at))
        )
        .scalars()
        .all()
    )
    usable = [network for network in own if not network.external and subnets.of_network(session, network.id)]
    if len(usable) == 1:
        return usable[0]
    for network in usable:
        if network.name == auto.DEFAULT:
            return network
    if usable:
        raise Invalid(
            f"project {ctx.project_name} has {len(usable)} networks",
            hint=f"Choose with --network: {', '.join(network.name for network in usable[:5])}.",
        )
    network = create(session, ctx, config, name=auto.DEFAULT)
    subnet = subnets.create(
        session, ctx, name=auto.DEFAULT, network=network.id, project_id=network.project_id, cidr=config.network_cidr
    )
    auto.lead_out(session, ctx, subnet)
    return network
