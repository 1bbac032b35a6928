"""The launch form: one page, filled in from the last launch and the project's own things, so that two keys suffice."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from tui.locator import Locator
from tui.verbs import Row
from tui.view import Cell, Field, Form, Lines, Loaded
from tui.views.cells import compact

FIELDS = (
    Field(name="name", label="name", hint="several become NAME-1, NAME-2, …"),
    Field(name="image", label="image", choices=True),
    Field(name="flavor", label="flavor", choices=True),
    Field(name="network", label="network", choices=True),
    Field(name="key", label="key", choices=True),
    Field(name="count", label="count", hint="how many at once"),
    Field(name="user_data", label="user data", hint="a file, e.g. cloud-init.yaml"),
    Field(name="zone", label="zone", hint="ZONE or ZONE:HOST"),
)

NO_IMAGE = ("There is no image to boot.", "Bring one: skydeck image create --file FILE --disk-format qcow2 NAME")

DEFAULT_NETWORK = "the project's own"


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
    from core import listing as lists
    from core.identity import quotas
    from core.lists import LISTINGS

    if absent := missing(session, ctx):
        return Loaded(values={}, problem=absent)
    own = dataclasses.replace(ctx, all_projects=False)

    def listed(kind: str, **options: Any) -> list[Row]:
        return lists.page(session, own, LISTINGS[kind], **options)

    images = [row for row in listed("image", where={"status": "active"}) if row["disk_format"] not in ("aki", "ari")]
    if not images:
        return Loaded(values={}, problem=NO_IMAGE)
    flavors = listed("flavor")
    networks = listed("network")
    keys = listed("keypair")
    last = next(iter(listed("instance", sort="-created_at", limit=1)), None)
    choices: dict[str, list[tuple[str, str]]] = {
        "image": [(row["id"], _image(row)) for row in images],
        "flavor": [(row["name"], _flavor(row)) for row in flavors],
        "network": [
            *([] if networks else [("", DEFAULT_NETWORK)]),
            *((row["id"], f"{row['name']}  {row['cidr']}") for row in networks),
            ("none", "none"),
        ],
        "key": [*((row["name"], row["name"]) for row in keys), ("", "none")],
    }
    image = next((row for row in images if last and row["name"] == last["image"]), images[0])
    values = {
        "name": _fresh_name(session, own, last["name"] if last else "web-0"),
        "image": image["id"],
        "flavor": _first_flavor(flavors, image, last),
        "network": _last_network(session, own, last, networks),
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
    }
    return Loaded(values=values, choices=choices, facts=facts)


def _first_flavor(flavors: list[Row], image: Row, last: Row | None) -> str:
    """The last launch's, else the smallest that the image fits into."""
    needed = max(image["min_disk_gb"], -(-(image["virtual_size"] or 0) // (1 << 30)))
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


def _last_network(session: Any, ctx: Any, last: Row | None, networks: list[Row]) -> str:
    names = [network for network, _ in last["addresses"]] if last else []
    found = next((row["id"] for row in networks if row["name"] in names), None)
    return found or (networks[0]["id"] if networks else "")


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
            image=values["image"],
            networks=(values["network"],) if values["network"] else (),
            key_name=values["key"] or None,
            user_data=user_data,
            availability_zone=values["zone"].strip() or None,
            min_count=count,
            max_count=count,
        ),
    )
    names = [instance.name for instance in made.instances]
    return f"creating {names[0]}" if len(names) == 1 else f"creating {len(names)}: {names[0]} to {names[-1]}"


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
        lines.append(cells)
    return [*lines, [("same as      ", "dim"), (command(loaded, values), "")]]


def command(loaded: Loaded, values: dict[str, str]) -> str:
    """The equivalent command line."""
    words = ["skydeck", "server", "create", "--image", loaded.facts["images"].get(values["image"], values["image"])]
    words += ["--flavor", values["flavor"]]
    if values["network"]:
        words += ["--network", loaded.facts["networks"].get(values["network"], values["network"])]
    for option, field in (("--key-name", "key"), ("--user-data", "user_data"), ("--availability-zone", "zone")):
        if values[field]:
            words += [option, values[field]]
    if (count := _count(values) or 1) > 1:
        words += ["--min", str(count), "--max", str(count)]
    return shlex.join([*words, values["name"]])


FORM = Form(
    title="Launch",
    fields=FIELDS,
    load=load,
    submit=submit,
    preview=preview,
    then=Locator(kind="instance"),
)
