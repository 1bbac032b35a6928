"""What a routing namespace is like inside, as a digest: taken when it was made, and again by a look that believes no
mark.

So there is no second account of what was asked for. The digest is kept where it belongs, as an empty chain of the
namespace's own table: it goes when the table goes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Final

from hostd.network import namespaces, nft, rtnetlink
from hostd.network.nft import Json
from hostd.network.routers import sysctls
from hostd.network.routers.rules import TABLE

_MADE: Final = "made_"


def seal(namespace: str, mine: Callable[[str], bool]) -> None:
    """Leave the digest of all that these links (by name) have. Blocks; raises HostError, OSError."""
    chain = {"family": TABLE[0], "table": TABLE[1], "name": _chain(namespace, mine)}
    nft.run([{"add": {"chain": chain}}], namespace=namespace)


def as_made(namespace: str, mine: Callable[[str], bool]) -> bool:
    """Whether all is as it was. Blocks; raises HostError, OSError."""
    return nft.list_chain(*TABLE, _chain(namespace, mine), namespace=namespace) is not None


def _chain(namespace: str, mine: Callable[[str], bool]) -> str:
    with namespaces.inside(namespace):
        names = {link.index: link.name for link in rtnetlink.links().values() if link.up and mine(link.name)}
        addresses = {names[index]: sorted(found) for index, found in rtnetlink.addresses().items() if index in names}
        routes = sorted(
            (route.destination, names[route.index], route.gateway or "", route.table)
            for route in rtnetlink.routes()
            if route.index in names and route.table != rtnetlink.LOCAL
        )
        settings = sysctls.read()
        # A gateway's rules come and go with its routers, each of which has its own.
        rules = sorted(repr(rule) for rule in rtnetlink.rules()) if mine("lo") else []
    listing = nft.list_table(*TABLE, namespace=namespace, stateless=True) or []
    table = [_plain(item) for item in listing if not item.get("chain", {}).get("name", "").startswith(_MADE)]
    told = json.dumps([sorted(names.values()), addresses, routes, settings, rules, table], sort_keys=True)
    return _MADE + hashlib.sha256(told.encode()).hexdigest()[:12]


def _plain(item: Json) -> str:
    """One object of a listing, equal for equal content."""
    ((kind, value),) = item.items()
    kept = {key: held for key, held in value.items() if key not in ("handle", "elem")}
    elements = sorted(json.dumps(element, sort_keys=True) for element in value.get("elem", ()))
    return json.dumps([kind, kept, elements], sort_keys=True)
