"""OpenStack's metadata (nova/api/metadata/base.py): a folder for each dated version, with the same files in all.

A version is a promise of what is in it: a file is in the version that brought it and in all later ones.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from hostd.spec import ErrorCode, HostError, Metadata

LATEST: Final = "latest"

VERSIONS: Final = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    LATEST,
)

PASSWORD: Final = "password"

_SINCE: Final = {
    "meta_data.json": "2012-08-10",
    "user_data": "2012-08-10",
    PASSWORD: "2013-04-04",
    "vendor_data.json": "2013-10-17",
    "network_data.json": "2015-10-15",
    "vendor_data2.json": "2016-10-06",
}
"""Each file to the version that brought it. `latest` sorts behind every date."""


def files(version: str, told: Metadata) -> tuple[str, ...]:
    """The names in a version's folder, in nova's order. Raises KeyError for what is no version."""
    if version not in VERSIONS:
        raise KeyError(version)
    return tuple(name for name, since in _SINCE.items() if since <= version and (name != "user_data" or told.user_data))


def read(name: str, uuid: str, told: Metadata) -> bytes:
    """One file of a version's folder. Raises HostError(PROTOCOL) when user data is not base64, KeyError for no file."""
    match name:
        case "meta_data.json":
            return plain_json(meta_data(uuid, told))
        case "network_data.json":
            return plain_json(told.network_data)
        case "user_data":
            return user_data(told)
        case "vendor_data.json" | "vendor_data2.json":
            return b"{}"
        case "password":
            return b""
    raise KeyError(name)


def answer(path: str, uuid: str, told: Metadata) -> bytes | None:
    """What is under /openstack, by the path below it; folders answer with their names, a line each. None: not there.

    Raises HostError(PROTOCOL) when something is not base64.
    """
    parts = [part for part in path.split("/") if part]
    match parts:
        case []:
            return "\n".join(VERSIONS).encode()
        case ["content", number]:
            contents = {content_path(place): file for place, file in enumerate(sorted(told.files))}
            file = contents.get(f"content/{number}")
            return None if file is None else decoded(told.files[file], file)
        case [version] if version in VERSIONS:
            return "\n".join(files(version, told)).encode()
        case [version, name] if version in VERSIONS and name in files(version, told):
            return read(name, uuid, told)
    return None


def meta_data(uuid: str, told: Metadata) -> dict[str, Any]:
    """meta_data.json (`_metadata_as_json`)."""
    meta: dict[str, Any] = {
        "uuid": uuid,
        "name": told.name or told.hostname,
        "hostname": told.hostname,
        "availability_zone": told.availability_zone,
        "project_id": told.project_id,
        "launch_index": told.launch_index,
        "devices": [],
        "meta": told.meta,
    }
    if told.public_keys:
        meta["public_keys"] = told.public_keys
        meta["keys"] = [{"name": name, "type": "ssh", "data": key} for name, key in sorted(told.public_keys.items())]
    if told.files:
        meta["files"] = [
            {"path": path, "content_path": f"/{content_path(number)}"} for number, path in enumerate(sorted(told.files))
        ]
    return meta


def user_data(told: Metadata) -> bytes:
    """The user's bytes; empty when there are none. Raises HostError(PROTOCOL)."""
    return b"" if told.user_data is None else decoded(told.user_data, "user data")


def content_path(number: int) -> str:
    """Where an injected file is, below /openstack."""
    return f"content/{number:04}"


def decoded(text: str, what: str) -> bytes:
    """Bytes of base64. Raises HostError(PROTOCOL), naming `what`."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as bad:
        raise HostError(ErrorCode.PROTOCOL, f"{what} is not base64: {bad}") from bad


def plain_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
