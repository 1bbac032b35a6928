"""Who may do what: the rules, the roles that include each other, and the file that overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import cloud
from core.compute import flavors
from core.compute.instances import verbs
from core.context import Context
from core.errors import Forbidden, Invalid, NotFound
from core.identity import policy, users
from core.images import images
from core.network import networks
from core.operations import operations
from tests.core.world import World


def context(*roles: str) -> Context:
    return Context(user_id="u", user_name="ann", project_id="p", project_name="demo", roles=frozenset(roles))


ADMINS = [
    "project:create",
    "project:set",
    "project:delete",
    "user:list",
    "quota:set",
    "flavor:create",
    "flavor:set",
    "flavor:delete",
    "image:create_public",
    "image:import_file",
    "instance:force_host",
    "instance:unlock_override",
    "host:list",
    "host:manage",
    "aggregate:list",
    "aggregate:manage",
    "finding:list",
    "finding:act",
    "network:provider",
    "network:external",
    "network:share_all",
    "network:repair",
    "router:no_snat",
    "volume:force_delete",
    "volume_type:manage",
    "backend:list",
    "backend:manage",
    "image:deactivate",
    "image:cache",
    "all_projects",
]
"""What the document leaves to the operator (semantics K)."""


@pytest.mark.parametrize("rule", policy.RULES)
def test_a_rule_by_role(rule: str) -> None:
    least = policy.RULES[rule]
    assert (least == "admin") == (rule in ADMINS)
    for role in policy.ROLES:
        included = policy.ROLES.index(role) >= policy.ROLES.index(least)
        assert policy.allowed(context(role), rule) == included
    assert not policy.allowed(context(), rule)
    assert not policy.allowed(context("stranger"), rule)


def test_a_reader_lists_and_a_member_makes() -> None:
    assert policy.allowed(context("reader"), "instance:list")
    assert not policy.allowed(context("reader"), "instance:create")
    assert policy.allowed(context("member"), "instance:create")


def test_an_unknown_rule_denies_everybody() -> None:
    with pytest.raises(Forbidden, match="policy instance:fly needs the role nobody"):
        policy.authorize(context("admin"), "instance:fly")


def test_a_refusal_says_who_has_what() -> None:
    with pytest.raises(Forbidden) as refused:
        policy.authorize(context("reader"), "instance:create")
    assert refused.value.title == "policy instance:create needs the role member"
    assert refused.value.hint == "ann has reader in project demo."


def test_the_file_overrides(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('"instance:create" = "admin"\n"host:list" = "reader"\n')
    policy.load_file(file)
    assert not policy.allowed(context("manager"), "instance:create")
    assert policy.allowed(context("reader"), "host:list")
    policy.load_file(tmp_path / "none")
    assert policy.allowed(context("member"), "instance:create")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"instance:fly" = "admin"', "unknown rule 'instance:fly'"),
        ('"instance:create" = "king"', "instance:create: unknown role 'king'"),
        ("a = [", "is not TOML"),
        ('"instance:create" = 3', "unknown role 3"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(Invalid) as refused:
        policy.load_file(file)
    assert says in refused.value.title
    assert str(file) in refused.value.title


def test_what_is_another_projects_does_not_exist(world: World) -> None:
    world.host()
    world.image()
    owner, other = world.someone("member", project="one"), world.someone("manager", project="two")
    private = world.image("mine", ctx=owner, visibility="private", data=b"x")
    created = world.create(owner)
    instance, operation = created.instances[0], created.operations[0]
    with world.store.write() as session:
        network = networks.find(session, owner, "default")
        secret = flavors.create(session, world.admin, name="s", ram_mb=1, disk_gb=0, vcpus=1, is_public=False)
        for look in (
            lambda ctx: verbs.find(session, ctx, instance.id),
            lambda ctx: verbs.find(session, ctx, "web"),
            lambda ctx: verbs.power(session, ctx, instance.id, "stop"),
            lambda ctx: verbs.delete(session, ctx, instance.id),
            lambda ctx: verbs.lock(session, ctx, instance.id),
            lambda ctx: verbs.rename(session, ctx, instance.id, "x"),
            lambda ctx: verbs.set_properties(session, ctx, instance.id, {}),
            lambda ctx: operations.find(session, ctx, operation.id),
            lambda ctx: operations.cancel(session, ctx, operation.id),
            lambda ctx: networks.find(session, ctx, network.id),
            lambda ctx: networks.delete(session, ctx, network.id),
            lambda ctx: images.find(session, ctx, private.id),
            lambda ctx: images.delete(session, ctx, "mine"),
            lambda ctx: flavors.find(session, ctx, secret.id),
        ):
            with pytest.raises(NotFound):
                look(other)
        assert verbs.find(session, owner, "web").id == instance.id
        assert verbs.find(session, world.admin, instance.id).id == instance.id
        with pytest.raises(NotFound):
            verbs.find(session, world.admin, "web")  # a name means the project's own, also to an admin
        flavors.update(session, world.admin, secret.id, add_project=other.project_id)
        session.flush()
        assert flavors.find(session, other, "s").id == secret.id


def test_a_public_image_is_seen_and_not_touched(world: World) -> None:
    world.image()
    other = world.someone("member")
    with world.store.write() as session:
        assert images.find(session, other, "tiny").name == "tiny"
        for touch in (lambda: images.delete(session, other, "tiny"), lambda: images.update(session, other, "tiny")):
            with pytest.raises(Forbidden, match="belongs to another project"):
                touch()
        with pytest.raises(Forbidden, match="image:create_public"):
            images.create(session, other, name="x", disk_format="raw", visibility="public")


def test_who_sits_at_the_terminal(world: World) -> None:
    world.someone("reader", project="demo", name="ann")
    with world.store.read() as session:
        assert cloud.context(session, world.config, source="cli").roles == {"admin"}
        ann = users.context_for(session, user="ann", project="demo", source="app")
        assert (ann.roles, ann.project_name, ann.source) == ({"reader"}, "demo", "app")
        with pytest.raises(Forbidden, match="ann has no role in project admin"):
            users.context_for(session, user="ann", project="admin", source="app")
        with pytest.raises(NotFound, match="no user 'bob'"):
            users.context_for(session, user="bob", project="demo", source="app")
        with pytest.raises(NotFound, match="no project 'x'"):
            users.context_for(session, user="ann", project="x", source="app")
