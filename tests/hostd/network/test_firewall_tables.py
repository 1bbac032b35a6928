"""From one ruleset to another: by what differs, in an order that a kernel takes, and to the very same end."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostd.network.document import Document
from hostd.network.firewall import Backend, rules
from hostd.network.firewall.tables import Table, difference, gained, listed, narrowed, replacement
from hostd.network.nft import Json
from hostd.spec import GroupSpec, NetworkingSpec, PortSpec
from tests.hostd.network import walled
from tests.hostd.network.walled import SPEC


class Kernel:
    """Tables as nft keeps them: it takes no command that names what is not there, or takes away what is in use."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}

    def run(self, commands: list[Json]) -> None:
        for command in commands:
            ((verb, what),) = command.items()
            ((kind, value),) = what.items()
            if kind == "table":
                self._table(verb, (value["family"], value["name"]))
            else:
                getattr(self, f"_{kind}")(verb, self.tables[value["family"], value["table"]], value)

    def _table(self, verb: str, name: tuple[str, str]) -> None:
        if verb == "add":
            self.tables.setdefault(name, {"chains": {}, "sets": {}})
        else:
            del self.tables[name]

    def _set(self, verb: str, table: dict[str, Any], value: Json) -> None:
        if verb == "add":
            assert value["name"] not in table["sets"]
            table["sets"][value["name"]] = {"is": json.dumps(value), "elements": []}
        else:
            assert f"@{value['name']}" not in json.dumps(table["chains"]), "in use"
            del table["sets"][value["name"]]

    _map = _set

    def _chain(self, verb: str, table: dict[str, Any], value: Json) -> None:
        chains = table["chains"]
        if verb == "add":
            assert value["name"] not in chains
            chains[value["name"]] = {"is": json.dumps(value), "rules": []}
        elif verb == "flush":
            chains[value["name"]]["rules"].clear()
        else:
            assert not chains[value["name"]]["rules"]
            assert json.dumps({"target": value["name"]}) not in json.dumps(table), "in use"
            del chains[value["name"]]

    def _rule(self, verb: str, table: dict[str, Any], value: Json) -> None:
        assert verb == "add"
        for target in _targets(value["expr"]):
            assert target in table["chains"]
        for name in _strings(value["expr"]):
            assert not name.startswith("@") or name[1:] in table["sets"]
        table["chains"][value["chain"]]["rules"].append({"expr": value["expr"], "comment": value.get("comment")})

    def _element(self, verb: str, table: dict[str, Any], value: Json) -> None:
        elements = table["sets"][value["name"]]["elements"]
        for element in value["elem"]:
            for target in _targets(element):
                assert target in table["chains"]
            if verb == "add":
                key = element[0] if isinstance(element, list) else element
                assert key not in [held[0] if isinstance(held, list) else held for held in elements]
                elements.append(element)
            else:
                elements.remove(element)

    def content(self) -> object:
        """Everything, but for the order of elements."""
        return json.loads(json.dumps(self.tables_sorted()))

    def tables_sorted(self) -> dict[str, Any]:
        return {
            " ".join(name): {
                "chains": table["chains"],
                "sets": {
                    kind: {"is": held["is"], "elements": sorted(map(json.dumps, held["elements"]))}
                    for kind, held in table["sets"].items()
                },
            }
            for name, table in self.tables.items()
        }

    def listing(self, name: tuple[str, str]) -> list[Json]:
        table = self.tables[name]
        sets = [
            {"map" if "map" in json.loads(held["is"]) else "set": {**json.loads(held["is"]), "elem": held["elements"]}}
            for held in table["sets"].values()
        ]
        return sets + [{"chain": json.loads(held["is"])} for held in table["chains"].values()]


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for part in inner for found in _strings(part)]


def _targets(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["target"]] if isinstance(value.get("target"), str) else []
        return own + [found for part in value.values() for found in _targets(part)]
    return [found for part in value for found in _targets(part)] if isinstance(value, list) else []


@st.composite
def specs(draw: st.DrawFn) -> NetworkingSpec:
    """Any part of the sample, ports and rules changed."""
    networks = tuple(network for network in SPEC.networks if draw(st.booleans()))
    here = {network.uuid for network in networks}
    ports = tuple(_changed(draw, port) for port in SPEC.ports if port.network in here and draw(st.booleans()))
    routers = SPEC.routers if walled.RED in here and draw(st.booleans()) else ()
    return attrs.evolve(
        SPEC, networks=networks, ports=ports, routers=routers, groups=tuple(_some(draw, one) for one in SPEC.groups)
    )


def _changed(draw: st.DrawFn, port: PortSpec) -> PortSpec:
    return attrs.evolve(
        port,
        enabled=draw(st.booleans()),
        security=draw(st.booleans()),
        groups=tuple(draw(st.lists(st.sampled_from([walled.WEB, walled.INNER]), unique=True))),
        pairs=port.pairs if draw(st.booleans()) else (),
    )


def _some(draw: st.DrawFn, group: GroupSpec) -> GroupSpec:
    return attrs.evolve(
        group,
        rules=tuple(rule for rule in group.rules if draw(st.booleans())),
        members=tuple(member for member in group.members if draw(st.booleans())),
    )


def tables(spec: NetworkingSpec, backend: Backend = Backend.BR_NETFILTER) -> tuple[Table, ...]:
    document = Document(spec)
    return rules.loaded(document, backend=backend, zones=rules.allocated(document, {}))


@settings(max_examples=60, deadline=None)
@given(specs(), specs(), st.sampled_from(Backend), st.booleans())
def test_a_difference_ends_where_a_replacement_does(
    before: NetworkingSpec, after: NetworkingSpec, backend: Backend, unknown: bool
) -> None:
    old, new = tables(before, backend), tables(after, backend)
    kernel, fresh = Kernel(), Kernel()
    kernel.run(replacement(old))
    fresh.run(replacement(new))
    known = tuple(listed(*table.id, kernel.listing(table.id)) for table in old) if unknown else old
    changes = difference(known, new)
    assert changes is not None
    kernel.run(changes)
    assert kernel.content() == fresh.content()
    if not unknown:
        assert (changes == []) == (old == new)


def test_one_rule_more_is_a_few_commands() -> None:
    web, *others = SPEC.groups
    more = attrs.evolve(web, rules=(*web.rules, walled.rule(99, protocol="tcp", first=443, last=443)))
    old, new = tables(SPEC), tables(attrs.evolve(SPEC, groups=(more, *others)))
    changes = difference(old, new)
    assert changes is not None
    assert [next(iter(command)) for command in changes] == ["add", "add", "delete"], "two marks and a rule"
    assert not narrowed(old, new)
    assert narrowed(new, old)


def test_what_counts_as_taken_away() -> None:
    old = tables(SPEC)
    friends = attrs.evolve(SPEC.groups[2], members=SPEC.groups[2].members[1:])
    for less in (
        attrs.evolve(SPEC, ports=SPEC.ports[1:]),
        attrs.evolve(SPEC, ports=(attrs.evolve(walled.A, enabled=False), *SPEC.ports[1:])),
        attrs.evolve(SPEC, ports=(*SPEC.ports[:1], attrs.evolve(walled.B, pairs=()), *SPEC.ports[2:])),
        attrs.evolve(SPEC, groups=(*SPEC.groups[:2], friends)),
    ):
        assert narrowed(old, tables(less))
        assert not narrowed(tables(less), old) or less.ports != SPEC.ports
    assert gained(tables(attrs.evolve(SPEC, ports=SPEC.ports[1:])), old, "ingress_of")
    assert not gained(old, old, "ingress_of")


def test_another_backend_is_a_replacement() -> None:
    old = tables(SPEC)
    hooked = attrs.evolve(old[1], chains={**old[1].chains, "pre": attrs.evolve(old[1].chains["pre"], hook={})})
    assert difference(old, (old[0], hooked)) is None
    assert difference(old[:1], old) is None


@pytest.mark.parametrize("backend", Backend)
def test_the_mark_names_the_content(backend: Backend) -> None:
    assert rules.mark_of(tables(SPEC, backend)) == rules.mark_of(tables(SPEC, backend))
    assert rules.mark_of(tables(SPEC, backend)) != rules.mark_of(tables(attrs.evolve(SPEC, ports=()), backend))
