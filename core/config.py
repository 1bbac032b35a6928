"""Where things are and how the cloud behaves: environment first, then the configuration file, then defaults.

The file is TOML at `$SKYDECK_HOME/config.toml`, or `$XDG_CONFIG_HOME/skydeck/config.toml`. Unknown keys are
refused, so that a typing mistake does not silently mean the default.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from core.errors import Invalid

Tables = dict[str, dict[str, str]]
"""Tables of a kind, by name: [KIND.NAME] in the file. Numbers and truth values are read as words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All settings. Units stand in each field's docstring."""

    home: Path
    """Data directory: the database, images, keys. Mode 0700."""
    database_url: str
    """SQLAlchemy URL; SQLite in `home` unless set. PostgreSQL: `postgresql+psycopg://…`."""
    project: str = "admin"
    """The project commands and the app work in."""
    user: str = "admin"
    """The user they work as, when nothing authenticates them otherwise."""
    scheduler: str = "filter"
    """filter, simple (most free) or chance (random)."""
    schedule_attempts: int = 3
    """Hosts a create is tried on before it fails."""
    cpu_allocation_ratio: float = 4.0
    ram_allocation_ratio: float = 1.0
    disk_allocation_ratio: float = 1.0
    reserved_host_memory_mb: int = 512
    reserved_host_disk_gb: int = 0
    host_builds: int = 10
    """Operations that run on one host at once (nova's max_concurrent_builds)."""
    image_size_cap: int = 1 << 40
    """Bytes of the largest image taken in (glance's image_size_cap)."""
    image_cache_bytes: int = 10 << 30
    """Bytes of unused images a host keeps (glance's image_cache_max_size)."""
    image_store: str = "file"
    """Where new images are kept: `file`, in `home`, or a name of image_stores."""
    image_stores: Tables = dataclasses.field(default_factory=dict, hash=False)
    """Object stores by name, each a table as [image_stores.NAME]: see core/images/stores/."""
    image_store_cache_bytes: int = 20 << 30
    """Bytes of images in object stores that the controller keeps at hand, to carry them to hosts."""
    image_import_allow: str = ""
    """By comma, networks and hosts (.DOMAIN: all of a domain) that images are fetched from though their addresses are
    loopback, link-local, or private where image_import_private is off."""
    image_import_private: bool = True
    """Whether images are fetched from private addresses."""
    image_import_seconds: int = 6 * 3600
    """The longest that one attempt to fetch an image may take; the next one continues."""
    backups: Tables = dataclasses.field(default_factory=dict, hash=False)
    """Repositories of backups (containers) by name, each a table as [backups.NAME]: see core/objects/. The first is
    used when none is named; without any there is `default`, in `home`."""
    drill_flavor: str = ""
    """Of the server that a restore drill boots; empty: the smallest that its image's properties allow."""
    drill_pattern: str = r"login: *$|[#$] *$|SKYDECK ready"
    """What its console shows at the end of a line when it has booted: a regular expression."""
    drill_timeout: int = 900
    """Seconds it may take."""
    shutdown_timeout: int = 60
    """Seconds a guest gets to shut down before its power is cut."""
    drift_interval: int = 60
    """Seconds between two looks at a host that gives no sign by itself."""
    serve_idle: int = 120
    """Seconds after which a background engine with nothing to do and nobody watching ends."""
    default_ephemeral_format: str = ""
    """ext4, vfat or ntfs; empty: by the image's os_type."""
    dns_resolvers: str = ""
    """By comma: DNS servers that networks without any of their own ask; empty: what each host itself uses."""
    underlay_mtu: int = 1500
    """Bytes that a packet between hosts, or out of a provider's interface, may have."""
    vni_ranges: str = "1001:16777215"
    """By comma, first:last: segments that VXLAN networks get (neutron's setting of that name)."""
    network_vlan_ranges: str = ""
    """By comma, physical_network:first:last: VLAN ids that VLAN networks get when none is asked for."""
    network_cidr: str = "10.0.0.0/24"
    """The subnet of the network a project gets when it launches without one."""

    @property
    def run_dir(self) -> Path:
        """Sockets and lock files."""
        return self.home / "run"

    @property
    def images_dir(self) -> Path:
        return self.home / "images"

    @property
    def backups_dir(self) -> Path:
        """Of the repository `default`."""
        return self.home / "backups"

    @property
    def keys_dir(self) -> Path:
        """Private keys of the controller, one pair for its hosts."""
        return self.home / "keys"

    @property
    def log_file(self) -> Path:
        return self.home / "serve.log"

    @property
    def policy_file(self) -> Path:
        return self.home / "policy.toml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Where this user's files are."""

    home: Path
    """Data: the database, images, keys."""
    file: Path
    """The configuration."""
    state: Path
    """What a program remembers of its use and can do without: histories."""


def places(environ: Mapping[str, str] = os.environ) -> Places:
    """`$SKYDECK_HOME` holds all of it when set, else the XDG directories do."""
    if home_set := environ.get("SKYDECK_HOME"):
        home = Path(home_set).absolute()
        return Places(home=home, file=home / "config.toml", state=home / "state")
    user_home = Path(environ.get("HOME", "/"))
    return Places(
        home=Path(environ.get("XDG_DATA_HOME") or user_home / ".local/share") / "skydeck",
        file=Path(environ.get("XDG_CONFIG_HOME") or user_home / ".config") / "skydeck" / "config.toml",
        state=Path(environ.get("XDG_STATE_HOME") or user_home / ".local/state") / "skydeck",
    )


def load(environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in force. Raises Invalid naming the file and the key that cannot be used."""
    at = places(environ)
    home, settings = at.home, _read(at.file)
    for key, variable in (("database_url", "SKYDECK_DATABASE_URL"), ("project", "SKYDECK_PROJECT")):
        if value := environ.get(variable):
            settings[key] = value
    settings.setdefault("database_url", f"sqlite:///{home / 'skydeck.db'}")
    return Config(home=home, **settings)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as bad:
        raise Invalid(f"{path} is not TOML: {bad}", hint="Correct the file, or move it away.") from bad
    settings.pop("app", None)  # the app's own table: tui.settings reads it
    types = get_type_hints(Config)
    for key, value in settings.items():
        if key not in types or key == "home":
            raise Invalid(f"{path}: unknown setting {key!r}", hint=f"Known: {', '.join(sorted(types))}.")
        if types[key] == Tables:
            settings[key] = _tables(path, key, value)
            continue
        if types[key] is float and type(value) is int:
            settings[key] = value = float(value)
        if type(value) is not types[key]:
            raise Invalid(f"{path}: {key} must be {types[key].__name__}", hint=f"It is {value!r}.")
    return settings


def _tables(path: Path, key: str, value: Any) -> Tables:
    if not isinstance(value, dict) or not all(isinstance(table, dict) for table in value.values()):
        raise Invalid(f"{path}: {key} must be tables", hint=f"[{key}.NAME]")
    for name, table in value.items():
        for option, given in table.items():
            if not isinstance(given, str | int | bool):
                raise Invalid(f"{path}: {key}.{name}.{option} must be a word or a number", hint=f"It is {given!r}.")
    return {
        name: {option: str(given).lower() if isinstance(given, bool) else str(given) for option, given in table.items()}
        for name, table in value.items()
    }
