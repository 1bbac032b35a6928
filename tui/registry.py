"""Every noun the app shows, by kind: one explicit map. A new noun is a file in `views` and a line here."""

from __future__ import annotations

from tui.commands import COMMANDS as COMMANDS
from tui.view import View
from tui.views import (
    aggregates,
    backends,
    backups,
    events,
    findings,
    flavors,
    floating_ips,
    hosts,
    image_members,
    images,
    instances,
    keypairs,
    networks,
    operations,
    ports,
    projects,
    qos,
    routers,
    security_group_rules,
    security_groups,
    snapshots,
    subnets,
    transfers,
    users,
    volume_types,
)
from tui.views.volumes import view as volumes

VIEWS: dict[str, View] = {
    view.kind: view
    for view in (
        instances.VIEW,
        volumes.VIEW,
        snapshots.VIEW,
        backups.VIEW,
        images.VIEW,
        image_members.VIEW,
        flavors.VIEW,
        keypairs.VIEW,
        networks.VIEW,
        subnets.VIEW,
        ports.VIEW,
        routers.VIEW,
        floating_ips.VIEW,
        security_groups.VIEW,
        security_group_rules.VIEW,
        transfers.VIEW,
        volume_types.VIEW,
        qos.VIEW,
        backends.VIEW,
        hosts.VIEW,
        aggregates.VIEW,
        projects.VIEW,
        users.VIEW,
        operations.VIEW,
        events.VIEW,
        findings.VIEW,
    )
}

FIRST = "instance"
"""What the app begins with."""


def _words() -> dict[str, str]:
    """Word to kind."""
    return {word: view.kind for view in VIEWS.values() for word in (*view.aliases, view.kind, view.title.lower())}


def known(word: str) -> bool:
    """Whether the word stands for exactly one thing."""
    return word.lower() in _words() or word.lower() in COMMANDS


def kind_of(word: str) -> str | None:
    """The noun an alias, a kind or a title means."""
    return _words().get(word.lower())


def suggest(text: str) -> list[str]:
    """Titles and commands that contain the text, an exact alias first."""
    needle = text.lower()
    words = _words()
    exact = [VIEWS[words[needle]].title.lower()] if needle in words else []
    titles = [view.title.lower() for view in VIEWS.values()]
    names = [*titles, *dict.fromkeys(command.words[0] for command in COMMANDS.values())]
    starts = [name for name in names if name.startswith(needle)]
    return list(dict.fromkeys([*exact, *starts, *(name for name in names if needle in name)]))
