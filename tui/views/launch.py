"""The launch form: one page, filled in from the last launch and the project's own things, so that two keys suffice."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from tui.locator import Locator
from tui.verbs import Row
from tui.view import Cell, Field, Form, Lines, Loaded
from tui.views import volume_new
from tui.views.cells import compact
from tui.views.wires import listed, words

FIELDS = (
    Field(name="name", label="name", hint="several become NAME-1, NAME-2, …"),
    Field(name="image", label="image", choices=True),
    Field(name="boot", label="root disk", choices=True),
    Field(name="size", label="its size", hint="GiB, of a new volume"),
    Field(name="flavor", label="flavor", choices=True),
    Field(name="network", label="network", several=True),
    Field(name="groups", label="groups", several=True),
    Field(name="key", label="key", choices=True),
    Field(name="count", label="count", hint="how many at once"),
    Field(name="user_data", label="user data", hint="a file, e.g. cloud-init.yaml"),
    Field(name="zone", label="zone", hint="ZONE or ZONE:HOST"),
)

NO_IMAGE = ("There is no image to boot.", "Bring one: skydeck image create --file FILE --disk-format qcow2 NAME")

LOCAL = ""
"""The root disk: a file on the host, gone with the instance."""
KEPT, GONE = "kept", "gone"
"""Or a new volume made of the image: kept when the instance is deleted, or gone with it. Else a volume's id."""

OWN = "auto"
"""Instead of a network: the project's own, made when it is needed for the first time."""
NONE = "none"
"""Instead of a network: no interface at all."""
DEFAULT = "default"
"""The network, and the group, that a project gets by itself."""


def missing(session: Any, ctx: Any) -> tuple[str, str] | None:
    """What keeps anything from being launched, and the next act: no host, no image, no flavor."""
    from core import listing as lists
    from core.identity.policy import allowed
    from core.lists import LISTINGS

    if allowed(ctx, "host:list") and not lists.count(session, ctx, LISTINGS["host"]):
        return (
            "There is no host to run them.",
            "Add this machine: skydeck host add local   another: skydeck host add ADDRESS",
        )
    if not lists.count(session, ctx, LISTINGS["image"], where={"status": "active"}):
        return NO_IMAGE
    if not lists.count(session, ctx, LISTINGS["flavor"]):
        return "There is no flavor.", "Make one: :flavors, then n"
    return None


def load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """Choices, and the values of the newest instance of the project; the smallest flavor on a first launch."""
    from core.identity import quotas

    if absent := missing(session, ctx):
        return Loaded(values={}, problem=absent)
    own = dataclasses.replace(ctx, all_projects=False)

    images = [
        row
        for row in listed(session, own, "image", where={"status": "active"})
        if row["disk_format"] not in ("aki", "ari")
    ]
    if not images:
        return Loaded(values={}, problem=NO_IMAGE)
    flavors = listed(session, own, "flavor")
    networks = [
        network for network in listed(session, own, "network", where={"external": "false"}) if network["subnets"]
    ]
    groups = listed(session, own, "security_group")
    keys = listed(session, own, "keypair")
    bootable = listed(session, own, "volume", where={"status": "available", "bootable": "true"}, sort="name")
    last = next(iter(listed(session, own, "instance", sort="-created_at", limit=1)), None)
    choices: dict[str, list[tuple[str, str]]] = {
        "image": [(row["id"], _image(row)) for row in images],
        "flavor": [(row["name"], _flavor(row)) for row in flavors],
        "network": [
            *([] if any(row["project_id"] == own.project_id for row in networks) else [(OWN, "the project's own")]),
            *((row["id"], row["name"] if len(networks) > 1 else f"{row['name']}  {row['cidr']}") for row in networks),
        ],
        "groups": [(row["id"], row["name"]) for row in groups],
        "key": [*((row["name"], row["name"]) for row in keys), ("", "none")],
        "boot": [
            (LOCAL, "on its host, gone with it"),
            (KEPT, "a new volume of the image, kept"),
            (GONE, "a new volume of the image, gone with it"),
            *((row["id"], f"volume {row['name'] or row['id'][:8]}  {row['size_gb']}G") for row in bootable),
        ],
    }
    image = next((row for row in images if last and row["name"] == last["image"]), images[0])
    values = {
        "name": _fresh_name(session, own, last["name"] if last else "web-0"),
        "image": image["id"],
        "boot": LOCAL,
        "size": str(max(1, needed_gb(image))),
        "flavor": _first_flavor(flavors, image, last),
        "network": last_networks(own, last, networks),
        "groups": last_groups(session, own, last, groups),
        "key": last["key_name"] or "" if last else choices["key"][0][0],
        "count": "1",
        "user_data": "",
        "zone": "",
    }
    limits = quotas.limits(session, ctx.project_id)
    facts = {
        "quota": {
            what: (quotas.used(session, ctx.project_id, what), limits[what]) for what in ("instances", "cores", "ram")
        },
        "flavors": {row["name"]: row for row in flavors},
        "images": {row["id"]: row["name"] for row in images},
        "networks": {row["id"]: row["name"] for row in networks},
        "groups": {row["id"]: row["name"] for row in groups},
        "volumes": {row["id"]: row["name"] or row["id"] for row in bootable},
        "needed": {row["id"]: needed_gb(row) for row in images},
        "kept": volume_new.quota(session, ctx, "volumes", "gigabytes"),
    }
    # With one group, or none made yet, every port gets the default one.
    hidden = frozenset({"groups"}) if len(groups) < 2 else frozenset[str]()
    return Loaded(values=values, choices=choices, hidden=hidden, facts=facts)


def needed_gb(image: Row) -> int:
    """The smallest disk that holds it."""
    return max(image["min_disk_gb"], -(-(image["virtual_size"] or 0) // (1 << 30)))


def _first_flavor(flavors: list[Row], image: Row, last: Row | None) -> str:
    """The last launch's, else the smallest that the image fits into."""
    needed = needed_gb(image)
    fitting = [
        row
        for row in flavors
        if row["ram_mb"] >= image["min_ram_mb"] and (not row["disk_gb"] or row["disk_gb"] >= needed)
    ]
    names = [row["name"] for row in fitting or flavors]
    return last["flavor"] if last and last["flavor"] in names else str(names[0])


def _image(row: Row) -> str:
    return f"{row['name']}  {compact(row['size'])} {row['disk_format']}"


def _flavor(row: Row) -> str:
    return f"{row['name']}  {row['vcpus']}v/{compact(row['ram_mb'] << 20)}/{row['disk_gb']}G"


def last_networks(ctx: Any, last: Row | None, networks: list[Row]) -> str:
    """Ids, by comma: those of the last launch, else what a launch without any named would get."""
    names = {network for network, _ in last["addresses"]} if last else set()
    if found := [row["id"] for row in networks if row["name"] in names]:
        return ",".join(found)
    mine = [row for row in networks if row["project_id"] == ctx.project_id]
    named = [row["id"] for row in mine if row["name"] == DEFAULT]
    return str([*named, *(row["id"] for row in mine), OWN][0])


def last_groups(session: Any, ctx: Any, last: Row | None, groups: list[Row]) -> str:
    """Ids, by comma: what the last launch's ports are in, else the default one."""
    ports = listed(session, ctx, "port", where={"device_id": last["id"]}) if last else []
    ids = {id for port in ports for id in port["security_group_ids"]}
    ids = ids or {row["id"] for row in groups if row["name"] == DEFAULT}
    return ",".join(row["id"] for row in groups if row["id"] in ids)


def _fresh_name(session: Any, ctx: Any, last: str) -> str:
    """The number at the end of the last name, counted on until nobody has it."""
    from core import listing as lists
    from core.lists import LISTINGS

    stem = last.rstrip("0123456789")
    number = int(last[len(stem) :] or "0")
    stem = stem if stem.endswith("-") else f"{stem}-" if not last[len(stem) :] else stem
    for candidate in range(number + 1, number + 1000):
        name = f"{stem}{candidate}"
        if not lists.count(session, ctx, LISTINGS["instance"], where={"name": name}):
            return name
    return stem


def submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.compute.instances.create import CreateSpec, create
    from core.errors import Invalid

    count = _count(values)
    if count is None:
        raise Invalid(f"{values['count']!r} is not a number of instances", hint="For example 1.")
    networks = _networks(values)
    if OWN in networks:
        raise Invalid(
            "the project's own network is made by a launch that asks for no other",
            hint="Take the others out, or make it first: :networks, then n.",
        )
    user_data = None
    if path := values["user_data"].strip():
        try:
            user_data = Path(path).expanduser().read_bytes()
        except OSError as bad:
            raise Invalid(f"user data cannot be read: {bad.strerror}", hint=f"It was {path}.") from bad
    made = create(
        store,
        config,
        ctx,
        CreateSpec(
            name=values["name"].strip(),
            flavor=values["flavor"],
            image=values["image"] if values["boot"] == LOCAL else None,
            block_devices=_root(values),
            networks=networks,
            security_groups=words(values["groups"]),
            key_name=values["key"] or None,
            user_data=user_data,
            availability_zone=values["zone"].strip() or None,
            min_count=count,
            max_count=count,
        ),
    )
    names = [instance.name for instance in made.instances]
    return f"creating {names[0]}" if len(names) == 1 else f"creating {len(names)}: {names[0]} to {names[-1]}"


def _root(values: dict[str, str]) -> tuple[Any, ...]:
    """The volume it boots from, as CreateSpec takes it; nothing for a disk on its host. Raises Invalid."""
    from core.compute.instances.block_devices import BlockDevice

    if values["boot"] == LOCAL:
        return ()
    root: dict[str, Any] = {"destination_type": "volume", "boot_index": 0}
    if values["boot"] in (KEPT, GONE):
        size = volume_new.number(values["size"], "size")
        root |= {"source_type": "image", "uuid": values["image"], "size_gb": size}
        root["delete_on_termination"] = values["boot"] == GONE
    else:
        root |= {"source_type": "volume", "uuid": values["boot"]}
    return (BlockDevice(**root),)


def _networks(values: dict[str, str]) -> tuple[str, ...]:
    """As CreateSpec takes them: nothing for the project's own, NONE for no interface."""
    return () if values["network"] == OWN else words(values["network"]) or (NONE,)


def _count(values: dict[str, str]) -> int | None:
    text = values.get("count", "1").strip()
    return int(text) if text.isdigit() and int(text) else None


def preview(loaded: Loaded, values: dict[str, str]) -> Lines:
    """The quota as it will be, and the command that does the same."""
    flavor = loaded.facts["flavors"].get(values["flavor"])
    count = _count(values) or 0
    lines: Lines = []
    if flavor:
        cells: list[Cell] = [("quota after  ", "dim")]
        needs = {"instances": count, "cores": flavor["vcpus"] * count, "ram": flavor["ram_mb"] * count}
        for what, (used, limit) in loaded.facts["quota"].items():
            after, scale = used + needs[what], 1024 if what == "ram" else 1
            tone = "bad" if 0 <= limit < after else ""
            shown = f"{after // scale}/{limit // scale if limit >= 0 else '-'}{'G' if what == 'ram' else ''}"
            cells.append((f"{what} {shown}   ", tone))
        if values["boot"] in (KEPT, GONE):
            size = values["size"].strip()
            more = {"volumes": count, "gigabytes": count * int(size) if size.isdecimal() else 0}
            cells += volume_new.after(loaded.facts["kept"], more)[1:]
        lines.append(cells)
    if values["boot"] in (KEPT, GONE):
        least = max(1, loaded.facts["needed"].get(values["image"], 1))
        size = values["size"].strip()
        if not size.isdecimal() or int(size) < least:
            lines.append([("! ", "warn"), (f"a volume of this image needs at least {least} GiB", "warn")])
    elif values["boot"] != LOCAL and count > 1:
        lines.append([("! ", "warn"), ("one volume boots one instance", "warn")])
    return [*lines, [("same as      ", "dim"), (command(loaded, values), "")]]


def command(loaded: Loaded, values: dict[str, str]) -> str:
    """The equivalent command line."""
    line = ["skydeck", "server", "create"]
    if values["boot"] in (LOCAL, KEPT, GONE):
        line += ["--image", loaded.facts["images"].get(values["image"], values["image"])]
    else:
        line += ["--volume", loaded.facts["volumes"].get(values["boot"], values["boot"])]
    if values["boot"] in (KEPT, GONE):
        line += ["--boot-from-volume", values["size"].strip()]
    line += ["--delete-on-termination"] if values["boot"] == GONE else []
    line += ["--flavor", values["flavor"]]
    for network in _networks(values):
        line += ["--network", loaded.facts["networks"].get(network, network)]
    chosen = [loaded.facts["groups"][group] for group in words(values["groups"])]
    if chosen != [DEFAULT]:
        line += [word for group in chosen for word in ("--security-group", group)]
    for option, field in (("--key-name", "key"), ("--user-data", "user_data"), ("--availability-zone", "zone")):
        if values[field]:
            line += [option, values[field]]
    if (count := _count(values) or 1) > 1:
        line += ["--min", str(count), "--max", str(count)]
    return shlex.join([*line, values["name"]])


def _load_image(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """The same, with the image under the cursor."""
    assert row is not None
    loaded = load(session, ctx, None)
    if loaded.problem is None:
        loaded.values["image"] = row["id"]
        loaded.values["size"] = str(max(1, needed_gb(row)))
    return loaded


FORM = Form(
    title="Launch",
    fields=FIELDS,
    load=load,
    submit=submit,
    preview=preview,
    then=Locator(kind="instance"),
)

OF_IMAGE = dataclasses.replace(FORM, load=_load_image)
"""Opened about an image."""
