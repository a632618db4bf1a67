"""Saved objects: found, made, changed and deleted by those who may.

Whoever made one owns it. Others see what is shared with them: ``read`` with everyone, ``write`` so
that analysts and above may change it, too; how it is shared, and whether it stays, is for its owner
and for admins to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.access.roles import Principal
from millrace.stores import sql

Connection = psycopg.Connection[DictRow]
Kind = Literal["dashboard", "view", "question"]
Sharing = Literal["private", "read", "write"]

LARGEST = 1 << 20
"""Bytes of an object's content as JSON."""


class SavedError(ValueError):
    """It can't be saved so; the message says why, beginning with the field."""


class NotYoursError(PermissionError):
    """It is somebody else's to change; the message says whose."""


@dataclass(frozen=True)
class NewObject:
    """What is to be saved."""

    kind: Kind
    name: str
    content: Mapping[str, Any]
    description: str = ""
    sharing: Sharing = "private"


def may_see(row: Mapping[str, Any], who: Principal) -> bool:
    """Tell whether somebody may see an object."""
    return row["owner"] == who.name or row["sharing"] != "private" or who.has("admin")


def is_theirs(row: Mapping[str, Any], who: Principal) -> bool:
    """Tell whether somebody may share and delete an object."""
    return row["owner"] == who.name or who.has("admin")


def may_change(row: Mapping[str, Any], who: Principal) -> bool:
    """Tell whether somebody may change what is in an object."""
    return is_theirs(row, who) or (row["sharing"] == "write" and who.has("analyst"))


def visible(
    connection: Connection,
    who: Principal,
    *,
    kind: Kind | None = None,
    owner: str | None = None,
    after: tuple[str, UUID] | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return what somebody may see, without its content: by name, behind a name and id."""
    after_name, after_id = after or (None, None)
    values = {
        "name": who.name,
        "is_admin": who.has("admin"),
        "kind": kind,
        "owner": owner,
        "after_name": after_name,
        "after_id": after_id,
        "limit": limit,
    }
    query = sql.render(
        "postgres/saved/list.sql", kind=kind, owner=owner is not None, after=after is not None
    )
    return connection.execute(query, values).fetchall()


def find(connection: Connection, object_id: UUID, who: Principal) -> dict[str, Any] | None:
    """Return an object, or ``None`` where there is none that somebody may see."""
    row = connection.execute(
        sql.render("postgres/saved/find.sql"), {"object_id": object_id}
    ).fetchone()
    return row if row is not None and may_see(row, who) else None


def add(connection: Connection, new: NewObject, who: Principal) -> UUID:
    """Save an object as somebody's; return its id. Raises ``SavedError``."""
    values = {
        "kind": new.kind,
        "name": new.name,
        "description": new.description,
        "sharing": new.sharing,
        "content": _fit(new.content),
        "owner": who.name,
    }
    row = connection.execute(sql.render("postgres/saved/add.sql"), values).fetchone()
    if row is None:
        raise SavedError(f"name: you have a {new.kind} called {new.name!r} already")
    found: UUID = row["object_id"]
    return found


def change(
    connection: Connection, row: Mapping[str, Any], wanted: Mapping[str, Any], who: Principal
) -> None:
    """Set ``name``, ``description``, ``sharing`` or ``content`` of an object that was found.

    Raises ``NotYoursError`` and ``SavedError``.
    """
    if not may_change(row, who) or ("sharing" in wanted and not is_theirs(row, who)):
        what = "share" if may_change(row, who) else "change"
        raise NotYoursError(f"this {row['kind']} is {row['owner']}'s to {what}; save a copy")
    values = {"name": None, "description": None, "sharing": None, "content": None, **wanted}
    if values["content"] is not None:
        values["content"] = _fit(values["content"])
    try:
        with connection.transaction():
            connection.execute(
                sql.render("postgres/saved/change.sql"),
                values | {"object_id": row["object_id"], "updated_by": who.name},
            )
    except psycopg.errors.UniqueViolation:
        raise SavedError(
            f"name: {row['owner']} has a {row['kind']} called {wanted['name']!r} already"
        ) from None


def remove(connection: Connection, row: Mapping[str, Any], who: Principal) -> None:
    """Delete an object that was found (audit_logs keeps it). Raises ``NotYoursError``."""
    if not is_theirs(row, who):
        raise NotYoursError(f"this {row['kind']} is {row['owner']}'s to delete")
    connection.execute("DELETE FROM saved_objects WHERE object_id = %s", [row["object_id"]])


def _fit(content: Mapping[str, Any]) -> Jsonb:
    made = Jsonb(dict(content))
    size = len(json.dumps(content, ensure_ascii=False).encode(errors="surrogatepass"))
    if size > LARGEST:
        raise SavedError(f"content: it has {size:,} bytes, and at most {LARGEST:,} are kept")
    return made
