"""People: added, given rights, disabled; with a password, or known to an OpenID provider."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.access import passwords, sessions
from millrace.access.keys import AccessError as AccessError
from millrace.access.keys import ConflictError
from millrace.access.rights import Rights
from millrace.access.roles import Role
from millrace.stores import postgres, sql

Connection = psycopg.Connection[DictRow]

FIRST = "admin"
"""The name of the first admin, whom ``up`` makes."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,126}")


@dataclass(frozen=True)
class User:
    """A user, as everybody may know them."""

    name: str
    role: Role
    sources: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    issuer: str | None = None
    subject: str | None = None
    is_active: bool = True
    password_changed_at: datetime | None = None
    created_at: datetime | None = None
    signed_in_at: datetime | None = None

    @property
    def rights(self) -> Rights:
        """What they may."""
        return Rights(self.role, self.sources, self.datasets)


def every(connection: Connection) -> list[User]:
    """Return all users, by their names."""
    return [User(**row) for row in connection.execute(sql.render("postgres/access/users.sql"))]


def active(connection: Connection) -> list[User]:
    """Return the users who are not disabled; not when they signed in."""
    rows = connection.execute(sql.render("postgres/access/active_users.sql"))
    return [User(**row) for row in rows]


def find(connection: Connection, name: str) -> User:
    """Return a user. Raises ``AccessError`` where there is none of the name."""
    for user in every(connection):
        if user.name == name:
            return user
    raise AccessError(f"there is no user {name!r}; ./millrace users list shows all")


def add(
    connection: Connection,
    name: str,
    rights: Rights,
    password: str | None = None,
    actor: str | None = None,
) -> str:
    """Add a user and return their password, which is made where none is given.

    Raises ``AccessError``.
    """
    chosen = password or passwords.generate()
    kept = passwords.hashed(name, chosen)
    with postgres.change(connection, actor):
        _insert(connection, name, rights)
        _keep(connection, name, kept)
    return chosen


def change(
    connection: Connection,
    name: str,
    rights: Rights,
    *,
    is_active: bool = True,
    actor: str | None = None,
) -> User:
    """Give a user other rights; one who is disabled is signed out. Raises ``AccessError``."""
    with postgres.change(connection, actor):
        if rights.role != "admin" or not is_active:
            _leave_an_admin(connection, name)
        values = rights.columns() | {"name": name, "is_active": is_active}
        connection.execute(sql.render("postgres/access/put_user.sql"), values)
        changed = find(connection, name)
        if not is_active:
            sessions.end_all(connection, name, "disabled")
    return changed


def set_password(
    connection: Connection, name: str, password: str | None = None, actor: str | None = None
) -> str:
    """Give a user another password, made where none is given; they are signed out everywhere.

    Raises ``AccessError``, also for those who sign in by an OpenID provider.
    """
    user = find(connection, name)
    if user.issuer is not None:
        raise ConflictError(f"{name} signs in at {user.issuer}, which has the password")
    chosen = password or passwords.generate()
    kept = passwords.hashed(name, chosen)
    with postgres.change(connection, actor):
        _keep(connection, name, kept)
        sessions.end_all(connection, name, "password")
    return chosen


def password_hash(connection: Connection, name: str) -> str | None:
    """Return the hash of a user's password, for ``passwords.verify``; ``None``: none opens."""
    row = connection.execute(
        sql.render("postgres/access/password_of.sql"), {"name": name}
    ).fetchone()
    return None if row is None else str(row["hash"])


def ensure_admin(connection: Connection, password: str) -> bool:
    """Add the first admin where there is no user at all; return whether they had to be made.

    Raises ``AccessError``.
    """
    if every(connection):
        return False
    add(connection, FIRST, Rights("admin"), password, actor="up")
    return True


def of_provider(connection: Connection, name: str, issuer: str, subject: str, role: Role) -> User:
    """Return the user whom an OpenID provider vouches for, with the role that it says.

    Sources and datasets stay as an admin gave them. Raises ``AccessError`` where they are disabled,
    or another user has the name.
    """
    with postgres.change(connection, f"oidc:{name}"[:200]):
        row = connection.execute(
            sql.render("postgres/access/user_of_subject.sql"),
            {"issuer": issuer, "subject": subject},
        ).fetchone()
        if row is None:
            _insert(connection, name, Rights(role), issuer, subject)
            return find(connection, name)
        if not row["is_active"]:
            raise AccessError(f"{row['name']} is disabled")
        if row["role"] != role:
            if role != "admin":
                _leave_an_admin(connection, row["name"])
            rights = Rights(role, row["sources"], row["datasets"])
            connection.execute(
                sql.render("postgres/access/put_user.sql"),
                rights.columns() | {"name": row["name"], "is_active": True},
            )
        return find(connection, row["name"])


def _insert(
    connection: Connection,
    name: str,
    rights: Rights,
    issuer: str | None = None,
    subject: str | None = None,
) -> None:
    if not _NAME.fullmatch(name):
        raise AccessError(
            f"{name[:130]!r} can't name a user: lower-case letters, digits, '.', '_', '@', '+' "
            "and '-', 127 at most, the first a letter or a digit"
        )
    values: dict[str, Any] = {"name": name, "issuer": issuer, "subject": subject}
    added = connection.execute(
        sql.render("postgres/access/add_user.sql"), values | rights.columns()
    )
    if added.rowcount == 0:
        raise ConflictError(f"there is a user {name} already; ./millrace users list shows all")


def _keep(connection: Connection, name: str, kept: str) -> None:
    connection.execute(sql.render("postgres/access/put_password.sql"), {"name": name, "hash": kept})


def _leave_an_admin(connection: Connection, name: str) -> None:
    """Refuse to take the last admin's rights, which nobody could give back over HTTP."""
    if find(connection, name).role != "admin":
        return
    others = postgres.one(
        connection.execute(sql.render("postgres/access/other_admins.sql"), {"name": name})
    )
    if others["number"] == 0:
        raise ConflictError(f"{name} is the last admin; make another one first")
