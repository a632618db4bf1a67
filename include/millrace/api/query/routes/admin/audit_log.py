"""The audit log: who changed what, when, from what to what."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from millrace.api.query.identity import Admin
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import Moment
from millrace.api.query.service import ServiceOf
from millrace.stores import sql

router = APIRouter(prefix="/v1/audit-log", tags=["audit log"])

HIDDEN = "(not shown)"
_SECRET = re.compile(r"digest|hash$|password|secret|private", re.IGNORECASE)
_LAST = 2**63 - 1

Filter = Annotated[str | None, Query(max_length=300)]


class Entry(BaseModel):
    """A change of one row; what tells or would help to guess a secret is not shown."""

    audit_id: int
    table_name: str
    row_key: str | None
    action: Literal["INSERT", "UPDATE", "DELETE"]
    old_value: dict[str, Any] | None
    new_value: dict[str, Any] | None
    changed: list[str] = Field(description="The columns whose values differ.")
    changed_by: str
    changed_at: datetime


@router.get("", responses=declared(401, 403, 422))
def list_changes(
    _who: Admin,
    service: ServiceOf,
    asked: PageOf,
    table_name: Filter = None,
    row_key: Annotated[
        str | None, Query(max_length=300, description="What names the row: a rule's name.")
    ] = None,
    action: Literal["INSERT", "UPDATE", "DELETE"] | None = None,
    changed_by: Filter = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Page[Entry]:
    """List changes, the newest first."""
    wanted = {
        "table_name": table_name,
        "row_key": row_key,
        "action": action,
        "changed_by": changed_by,
        "since": since,
        "until": until,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    after = asked.number
    place = {"after": _LAST if after is None else after, "limit": asked.limit + 1}
    with service.connection() as connection:
        rows = connection.execute(
            sql.render("postgres/query/audit_log.sql", given=sorted(given)), given | place
        ).fetchall()
    items, cursor = asked.cut(rows, lambda row: str(row["audit_id"]))
    return Page(items=[_entry(row) for row in items], next=cursor)


def _entry(row: dict[str, Any]) -> Entry:
    old, new = row["old_value"] or {}, row["new_value"] or {}
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    shown = {name: _shown(row[name]) for name in ("old_value", "new_value")}
    return Entry(**row | shown, changed=sorted(changed))


def _shown(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        name: HIDDEN if _SECRET.search(name) and item is not None else item
        for name, item in value.items()
    }
