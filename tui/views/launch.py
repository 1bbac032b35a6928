"""The launch form: one page, filled in from the last launch and the project's own things, so that two keys suffice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tui.forms import braces
from tui.forms.command import Command, command
from tui.locator import Locator
from tui.verbs import Row
from tui.view import Field, Form, Holds, Loaded
from tui.views.cells import compact
from tui.views.volumes import new as volume_new
from tui.views.wires import fresh, handle, listed, words

FIELDS = (
    Field(name="name", label="name", hint="web-{1..3} makes three; with a count NAME-1, NAME-2, …"),
    Field(name="image", label="image", choices=True),
    Field(name="boot", label="root disk", choices=True),
    Field(
        name="size",
        label="its size",
        hint="GiB, of a new volume",
        holds=Holds.NUMBER,
        when=lambda values: values["boot"] in ("kept", "gone"),
    ),
    Field(name="flavor", label="flavor", choices=True),
    Field(name="network", label="network", several=True),
    Field(name="groups", label="groups", several=True),
    Field(name="key", label="key", choices=True),
    Field(name="count", label="count", hint="how many at once", holds=Holds.NUMBER),
    Field(name="user_data", label="user data", hint="a file; Ctrl+O writes one in your editor", document=True),
    Field(name="zone", label="zone", hint="ZONE or ZONE:HOST"),
)

NO_IMAGE = ("There is no image to boot.", "n brings one: of the catalog, a URL or a file; or: skydeck image create")

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


def missing(session: Any, ctx: Any) -> tuple[str, str, str] | None:
    """What keeps anything from being launched, the next act, and the kind of what is missing: no host, no image, no
    flavor."""
    from core import listing as lists
    from core.identity.policy import allowed
    from core.lists import LISTINGS

    if allowed(ctx, "host:list") and not lists.count(session, ctx, LISTINGS["host"]):
        return (
            "There is no host to run them.",
            "n adds this machine or another; or: skydeck host add local",
            "host",
        )
    if not lists.count(session, ctx, LISTINGS["image"], where={"status": "active"}):
        return *NO_IMAGE, "image"
    if not lists.count(session, ctx, LISTINGS["flavor"]):
        return "There is no flavor.", "n makes one.", "flavor"
    return None


def load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """Choices, and the values of the newest instance of the project; the smallest flavor on a first launch."""
    if absent := missing(session, ctx):
        title, hint, kind = absent
        return Loaded(values={}, problem=(title, hint), remedy=kind)
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
        "name": fresh(session, own, "instance", last["name"] if last else "web-1"),
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
    # What a command calls each of them.
    facts = {
        "images": {row["id"]: handle(session, own, "image", row) for row in images},
        "networks": {row["id"]: handle(session, own, "network", row) for row in networks},
        "groups": {row["id"]: handle(session, own, "security_group", row) for row in groups},
        "volumes": {row["id"]: handle(session, own, "volume", row) for row in bootable},
        "default": next((row["id"] for row in groups if row["name"] == DEFAULT), ""),
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


def submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.compute.instances.create import CreateSpec, create
    from core.errors import Invalid

    called, count = names(values)
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
            name=called[0],
            names=called if len(called) > 1 else (),
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
    new = [instance.name for instance in made.instances]
    return f"creating {new[0]}" if len(new) == 1 else f"creating {len(new)}: {new[0]} to {new[-1]}"


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


def names(values: dict[str, str]) -> tuple[tuple[str, ...], int]:
    """What they are to be called, and how many of them there are to be. Raises Invalid.

    One name and a count: NAME-1, NAME-2, …, as core numbers them.
    """
    from core.errors import Invalid

    text = values.get("count", "1").strip()
    if not text.isdecimal() or not int(text):
        raise Invalid(f"{values['count']!r} is not a number of instances", hint="For example 1.")
    called = tuple(braces.expanded(values["name"].strip()))
    if len(called) > 1 and int(text) > 1:
        raise Invalid(f"{len(called)} names need no count", hint="Set it to 1.")
    return called, max(int(text), len(called))


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    called, count = names(values)
    line, boot = command("server", "create"), values["boot"]
    if boot in (LOCAL, KEPT, GONE):
        line.option("--image", loaded.facts["images"][values["image"]])
    else:
        line.option("--volume", loaded.facts["volumes"][boot])
    if boot in (KEPT, GONE):
        line.option("--boot-from-volume", str(volume_new.number(values["size"], "size")))
    line.flag("--delete-on-termination", boot == GONE)
    line.option("--flavor", values["flavor"])
    line.each("--network", (loaded.facts["networks"].get(network, network) for network in _networks(values)))
    chosen = words(values["groups"])
    if chosen != (loaded.facts["default"],):
        line.each("--security-group", (loaded.facts["groups"][group] for group in chosen))
    line.option("--key-name", values["key"]).option("--user-data", values["user_data"].strip())
    line.option("--availability-zone", values["zone"].strip())
    if len(called) == 1 and count > 1:
        line.option("--min", str(count)).option("--max", str(count))
    return [line.end(*called)]


def _load_image(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """The same, with the image under the cursor."""
    assert row is not None
    loaded = load(session, ctx, None)
    if loaded.problem is None:
        loaded.values["image"] = row["id"]
        loaded.values["size"] = str(max(1, needed_gb(row)))
    return loaded


def _load_flavor(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """The same, with the flavor under the cursor."""
    assert row is not None
    loaded = load(session, ctx, None)
    if loaded.problem is None:
        loaded.values["flavor"] = row["name"]
    return loaded


def _load_like(session: Any, ctx: Any, row: Row) -> Loaded:
    """Another one like this: its flavor, image, networks, groups, key and zone; a name of its own."""
    loaded = load(session, ctx, None)
    if loaded.problem is not None:
        return loaded
    own = dataclasses.replace(ctx, all_projects=False)
    networks = [each for each in listed(session, own, "network", where={"external": "false"}) if each["subnets"]]
    groups = listed(session, own, "security_group")
    image = next((each["id"] for each in listed(session, own, "image") if each["name"] == row["image"]), "")
    like = {
        "name": fresh(session, own, "instance", str(row["name"])),
        "image": image,
        "flavor": row["flavor"],
        "network": last_networks(own, row, networks),
        "groups": last_groups(session, own, row, groups),
        "key": row["key_name"] or "",
        "zone": row["availability_zone"] or "",
    }
    chosen = {name: {key for key, _ in loaded.choices.get(name, [])} for name in like}
    # What it was made of may be gone since: then the form's own choice stands.
    loaded.values.update(
        {name: value for name, value in like.items() if not chosen[name] or set(value.split(",")) <= chosen[name]}
    )
    return loaded


FORM = Form(
    title="Launch",
    fields=FIELDS,
    load=load,
    submit=submit,
    command=_command,
    like=_load_like,
    then=Locator(kind="instance"),
)

OF_IMAGE = dataclasses.replace(FORM, load=_load_image)
"""Opened about an image."""

OF_FLAVOR = dataclasses.replace(FORM, load=_load_flavor)
"""Opened about a flavor."""
