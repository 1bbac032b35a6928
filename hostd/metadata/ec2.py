"""Amazon EC2's metadata, as nova gives it (nova/api/metadata/base.py, `_get_ec2_metadata`): a tree of short texts.

Old images and many tools ask for nothing else. EC2's identifiers are made of the first eight digits of
the uuids they stand for: the same on every host, with nothing to keep.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from hostd.metadata import openstack
from hostd.spec import Metadata

LATEST: Final = "latest"

VERSIONS: Final = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    LATEST,
)


@attrs.frozen(kw_only=True)
class Caller:
    """Who asks: the port that a request came from."""

    device: str
    """The instance."""
    mac: str
    ipv4: str = ""
    """The port's first IPv4 address."""
    public_ipv4: str = ""
    """Its floating IP."""


_Tree = dict[str, "str | _Tree"]
_LABEL: Final = "_name"
"""Of a folder: what its parent calls it in a listing, instead of its name with a slash."""


def answer(path: str, caller: Caller, told: Metadata) -> bytes | None:
    """What is under /; folders answer with what is in them, a line each. None: not there.

    Raises HostError(PROTOCOL) when user data is not base64.
    """
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "\n".join(VERSIONS).encode()
    if parts[0] not in VERSIONS:
        return None
    if parts[1:] == ["user-data"]:
        return openstack.user_data(told) if told.user_data else None
    # The value is never looked at in a listing, and it need not be text.
    found: str | _Tree = {"meta-data": _meta_data(caller, told)} | ({"user-data": ""} if told.user_data else {})
    for part in parts[1:]:
        if not isinstance(found, dict) or part == _LABEL or part not in found:
            return None
        found = found[part]
    return _shown(found).encode()


def instance_id(uuid: str) -> str:
    """`i-1a2b3c4d`."""
    return f"i-{uuid.replace('-', '')[:8]}"


def _meta_data(caller: Caller, told: Metadata) -> _Tree:
    tree: _Tree = {
        "ami-id": f"ami-{told.image_id.replace('-', '')[:8]}" if told.image_id else "",
        "ami-launch-index": str(told.launch_index),
        "ami-manifest-path": "FIXME",  # nova's own word: there never was a manifest
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
        "hostname": told.hostname,
        "instance-action": "none",
        "instance-id": instance_id(caller.device),
        "instance-type": told.instance_type,
        "local-hostname": told.hostname,
        "local-ipv4": caller.ipv4,
        "mac": caller.mac,
        "placement": {"availability-zone": told.availability_zone},
        "public-hostname": told.hostname,
        "public-ipv4": caller.public_ipv4,
        "reservation-id": told.reservation_id,
        "security-groups": "\n".join(told.security_groups),
    }
    if told.public_keys:
        tree["public-keys"] = {
            str(number): {_LABEL: f"{number}={name}", "openssh-key": key}
            for number, (name, key) in enumerate(sorted(told.public_keys.items()))
        }
    return tree


def _shown(found: Any) -> str:
    if not isinstance(found, dict):
        return str(found)
    return "\n".join(_listed(name, value) for name, value in sorted(found.items()) if name != _LABEL)


def _listed(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        return name
    return str(value.get(_LABEL, f"{name}/"))
