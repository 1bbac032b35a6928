"""Choosing the project to work in: typed to narrow, with what each uses of its quotas."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tui.locator import ALL
from tui.verbs import Option, Pick, Row
from tui.views.projects import used

if TYPE_CHECKING:
    from tui.screens.going import GoingScreen


def _load(session: Any, ctx: Any, row: Row) -> list[Option]:
    """The present one first, then all by name; for those who may, all together."""
    from core import listing as lists
    from core.identity.policy import allowed
    from core.lists import LISTINGS

    rows = lists.page(session, ctx, LISTINGS["project"])
    options = [_option(one, here=one["id"] == ctx.project_id) for one in rows]
    options.sort(key=lambda option: option.value != ctx.project_id)
    if allowed(ctx, "all_projects"):
        options.append(Option(value=ALL, label="all projects", note="0 does the same", tone="key"))
    return options


def _option(row: Row, *, here: bool) -> Option:
    tone = "key" if here else "" if row["enabled"] else "dim"
    note = "  ".join(f"{title} {used(row, what)[0]}" for title, what in (("inst", "instances"), ("cpu", "cores")))
    ram, tone_of_ram = used(row, "ram")
    return Option(value=row["id"], label=row["name"], note=f"{note}  ram {ram}", tone=tone_of_ram or tone)


PICK = Pick(title="Work in", load=_load, none=("there is no project you may see", "skydeck project list"))


def chosen(screen: GoingScreen, id: str | None) -> None:
    """Look at the same list there."""
    if id is not None:
        screen.go_to(dataclasses.replace(screen.locator, project=id))
