"""Volume types: what an operator offers. Extra specs choose the backend and ask for what it must be able to do."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import delete as sql_delete
from sqlalchemy import exists
from sqlalchemy import update as sql_update
from sqlmodel import Session, col

from core import audit, names
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity import projects, quotas
from core.identity.policy import authorize
from core.sql import select
from core.store import clock_of, now
from core.volumes import properties
from core.volumes.tables import Volume, VolumeType, VolumeTypeAccess
from core.volumes.usage import PER_TYPE

DEFAULT: Final = "__DEFAULT__"
"""The type every cloud begins with, as cinder calls it."""

_IS: Final = re.compile(r"<is> (true|false)", re.IGNORECASE)


def wants(extra_specs: dict[str, str], capability: str) -> bool:
    """Whether they say `capability="<is> True"`."""
    found = _IS.fullmatch(extra_specs.get(capability, ""))
    return found is not None and found[1].lower() == "true"


def create(
    session: Session,
    ctx: Context,
    *,
    name: str,
    description: str = "",
    public: bool = True,
    extra_specs: dict[str, str] | None = None,
    default: bool = False,
) -> VolumeType:
    """Raises Invalid, Conflict for a name taken."""
    authorize(ctx, "volume_type:manage")
    _name(session, name)
    type = VolumeType(
        id=clock_of(session).uuid(),
        name=name,
        description=description,
        is_public=public,
        extra_specs=_specs({}, extra_specs),
        created_at=now(session),
    )
    if default:
        _make_default(session, type)
    session.add(type)
    session.flush()
    quotas.refresh(session)
    after = {"is_public": public, "extra_specs": type.extra_specs, "is_default": default}
    audit.record(session, ctx, type, kind="volume_type", action="create", after=after)
    return type


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    description: str | None = None,
    public: bool | None = None,
    default: bool | None = None,
    extra_specs: dict[str, str] | None = None,
) -> VolumeType:
    """Change what is not None; `extra_specs` are merged. Volumes stay what they are: a retype makes them anew.

    Raises Invalid, NotFound; Conflict for a name taken, for the default type made private or none, and for multiattach
    of a type that is in use.
    """
    authorize(ctx, "volume_type:manage")
    type = find(session, ctx, id_or_name)
    values: dict[str, Any] = {"description": description, "is_public": public, "is_default": default}
    if name is not None and name != type.name:
        _name(session, name)
        for what in PER_TYPE:
            quotas.rename(session, f"{what}_{type.name}", f"{what}_{name}")
        values["name"] = name
    if extra_specs is not None:
        values["extra_specs"] = _same_sharing(session, type, _specs(type.extra_specs, extra_specs))
    if default is False and type.is_default:
        raise Conflict(f"type {type.name} is the default", hint="Make another the default instead.")
    if (type.is_default if default is None else default) and not (type.is_public if public is None else public):
        raise Conflict(f"type {type.name} is the default, which every project uses", hint="Make it public.")
    if default and not type.is_default:
        _make_default(session, type)
        type.is_default = False  # as it was before: the change below is what is told
    given = {field: value for field, value in values.items() if value is not None}
    audit.change(session, ctx, type, kind="volume_type", values=given)
    quotas.refresh(session)
    return type


def unset(session: Session, ctx: Context, id_or_name: str, *, extra_specs: tuple[str, ...]) -> VolumeType:
    authorize(ctx, "volume_type:manage")
    type = find(session, ctx, id_or_name)
    specs = _same_sharing(session, type, _specs(type.extra_specs, {}, unset=extra_specs))
    audit.change(session, ctx, type, kind="volume_type", values={"extra_specs": specs})
    return type


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """Raises Conflict for the default type, and while volumes are of it."""
    authorize(ctx, "volume_type:manage")
    type = find(session, ctx, id_or_name)
    if type.is_default:
        raise Conflict(f"type {type.name} is the default", hint="Make another the default first.")
    if _in_use(session, type):
        raise Conflict(f"there are volumes of type {type.name}", hint="Retype or delete them first.")
    # Rows of deleted volumes stay, and need no type any more.
    gone = sql_update(Volume).where(col(Volume.type_id) == type.id).values(type_id=None)
    session.execute(gone.execution_options(synchronize_session=False))
    session.execute(sql_delete(VolumeTypeAccess).where(col(VolumeTypeAccess.type_id) == type.id))
    for what in PER_TYPE:
        quotas.rename(session, f"{what}_{type.name}", None)
    session.delete(type)
    session.flush()
    audit.record(session, ctx, type, kind="volume_type", action="delete")


def visible(ctx: Context) -> Any:
    """The WHERE that hides other projects' private types."""
    if ctx.is_admin:
        return True
    granted = exists().where(
        col(VolumeTypeAccess.type_id) == col(VolumeType.id), col(VolumeTypeAccess.project_id) == ctx.project_id
    )
    return col(VolumeType.is_public) | granted


def find(session: Session, ctx: Context, id_or_name: str) -> VolumeType:
    """Raises NotFound, also for a private type of others."""
    authorize(ctx, "volume_type:list")
    wanted = (col(VolumeType.id) == id_or_name) | (col(VolumeType.name) == id_or_name)
    row = session.execute(select(VolumeType).where(wanted, visible(ctx))).scalars().first()
    if row is None:
        raise NotFound(f"no volume type {id_or_name!r}", hint="skydeck volume type list shows them.")
    return row


def chosen(session: Session, ctx: Context, id_or_name: str | None) -> VolumeType:
    """The type asked for, or the default one."""
    if id_or_name:
        return find(session, ctx, id_or_name)
    return session.execute(select(VolumeType).where(col(VolumeType.is_default))).scalar_one()


def add_access(session: Session, ctx: Context, id_or_name: str, project: str) -> VolumeType:
    """Let a project use a type that is not public. Raises Conflict for a public one, or one it may use already."""
    authorize(ctx, "volume_type:manage")
    type, project_id = _private(session, ctx, id_or_name, project)
    if session.get(VolumeTypeAccess, (type.id, project_id)) is not None:
        raise Conflict(f"project {project} may use type {type.name} already")
    session.add(VolumeTypeAccess(type_id=type.id, project_id=project_id))
    session.flush()
    audit.record(session, ctx, type, kind="volume_type", action="add_access", after={"project_id": project_id})
    return type


def remove_access(session: Session, ctx: Context, id_or_name: str, project: str) -> VolumeType:
    """The project makes no more volumes of it; those it has stay. Raises NotFound when it could not."""
    authorize(ctx, "volume_type:manage")
    type, project_id = _private(session, ctx, id_or_name, project)
    access = session.get(VolumeTypeAccess, (type.id, project_id))
    if access is None:
        raise NotFound(f"project {project} may not use type {type.name}")
    session.delete(access)
    session.flush()
    audit.record(session, ctx, type, kind="volume_type", action="remove_access", before={"project_id": project_id})
    return type


def _private(session: Session, ctx: Context, id_or_name: str, project: str) -> tuple[VolumeType, str]:
    type = find(session, ctx, id_or_name)
    if type.is_public:
        raise Conflict(f"type {type.name} is public", hint="Make it private first.")
    return type, projects.find(session, ctx, project).id


def _name(session: Session, name: str) -> None:
    names.check(name, "volume type")
    if session.execute(select(VolumeType.id).where(col(VolumeType.name) == name)).first():
        raise Conflict(f"a volume type named {name!r} exists", hint="Choose another name.")


def _make_default(session: Session, type: VolumeType) -> None:
    if not type.is_public:
        raise Conflict(f"type {type.name} is private, every project uses the default", hint="Make it public.")
    others = sql_update(VolumeType).where(col(VolumeType.is_default)).values(is_default=False)
    session.execute(others.execution_options(synchronize_session="fetch"))
    type.is_default = True


def _specs(had: dict[str, str], given: dict[str, str] | None, *, unset: tuple[str, ...] = ()) -> dict[str, str]:
    specs = properties.merged(had, given, unset=unset, what="extra spec")
    if "multiattach" in specs and not _IS.fullmatch(specs["multiattach"]):
        raise Invalid(f"multiattach cannot be {specs['multiattach'][:40]!r}", hint='It is "<is> True" or "<is> False".')
    return specs


def _same_sharing(session: Session, type: VolumeType, specs: dict[str, str]) -> dict[str, str]:
    """Raises Conflict where volumes that several guests share would say no more that they are."""
    if wants(specs, "multiattach") != wants(type.extra_specs, "multiattach") and _in_use(session, type):
        raise Conflict(f"there are volumes of type {type.name}", hint="Make another type for multiattach, and retype.")
    return specs


def _in_use(session: Session, type: VolumeType) -> bool:
    query = select(Volume.id).where(col(Volume.type_id) == type.id, col(Volume.deleted_at) == 0).limit(1)
    return session.execute(query).first() is not None
