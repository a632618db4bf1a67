"""Sessions: what a login begins. Each goes on with refresh tokens that are used once.

One that is used a second time was copied by somebody, and nobody can tell which of the two is
right: the session ends for both.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import psycopg
from psycopg.rows import DictRow

from millrace.access import keys
from millrace.stores import postgres, sql

Connection = psycopg.Connection[DictRow]

SECONDS = 30 * 86_400.0
"""How long a session lasts at most."""
IDLE_SECONDS = 7 * 86_400.0
"""How long it lasts without being used."""
PREFIX = "mrr"


class SessionError(Exception):
    """A session can't go on; the message says why."""


@dataclass(frozen=True)
class Session:
    """A session that may go on: of whom, and the refresh token to do so with."""

    session_id: str
    user: str
    refresh_token: str


def begin(
    connection: Connection, user: str, address: str, client: str, session_id: str | None = None
) -> Session:
    """Begin a session of a user who was recognised; ``client`` is what their program says it is.

    Raises ``psycopg.errors.UniqueViolation`` where there was one of the id.
    """
    session_id = session_id or secrets.token_urlsafe(12)
    with postgres.change(connection, user):
        connection.execute(
            sql.render("postgres/access/begin_session.sql"),
            {
                "session_id": session_id,
                "name": user,
                "address": address,
                "client": postgres.shortened(client, 200),
                "seconds": SECONDS,
            },
        )
        return _next(connection, session_id, user)


def go_on(connection: Connection, refresh_token: str) -> Session:
    """Use a refresh token and return the session with the next one. Raises ``SessionError``."""
    digest = keys.digest(refresh_token)
    with connection.transaction():
        row = connection.execute(
            sql.render("postgres/access/use_refresh_token.sql"),
            {"digest": digest, "idle_seconds": IDLE_SECONDS},
        ).fetchone()
        if row is not None and row["may_go_on"]:
            return _next(connection, row["session_id"], row["user_name"])
    if row is not None:
        raise SessionError("the session is over")
    _end_if_copied(connection, digest)
    raise SessionError("the refresh token is not known, or was used before")


def session_of(connection: Connection, refresh_token: str) -> str | None:
    """Return the session of a refresh token, used or not."""
    row = connection.execute(
        sql.render("postgres/access/session_of_refresh_token.sql"),
        {"digest": keys.digest(refresh_token)},
    ).fetchone()
    return None if row is None else str(row["session_id"])


def end(connection: Connection, session_id: str, actor: str, because: str = "logout") -> None:
    """End a session; its access tokens stop working within seconds."""
    with postgres.change(connection, actor):
        connection.execute(
            sql.render("postgres/access/end_session.sql"),
            {"session_id": session_id, "because": because},
        )


def end_all(connection: Connection, user: str, because: str) -> None:
    """End every session of a user, within the transaction of whoever does it."""
    connection.execute(
        sql.render("postgres/access/end_sessions.sql"), {"name": user, "because": because}
    )


def ended(connection: Connection, seconds: float) -> frozenset[str]:
    """Return the sessions that ended within the last seconds."""
    rows = connection.execute(
        sql.render("postgres/access/ended_sessions.sql"), {"seconds": seconds}
    )
    return frozenset(row["session_id"] for row in rows)


def _end_if_copied(connection: Connection, digest: bytes) -> None:
    row = connection.execute(
        sql.render("postgres/access/session_of_refresh_token.sql"), {"digest": digest}
    ).fetchone()
    if row is not None and row["is_used"] and row["is_open"]:
        end(connection, row["session_id"], row["user_name"], "refresh token used twice")


def _next(connection: Connection, session_id: str, user: str) -> Session:
    text = keys.new_text(PREFIX)
    connection.execute(
        sql.render("postgres/access/add_refresh_token.sql"),
        {"digest": keys.digest(text), "session_id": session_id},
    )
    return Session(session_id, user, text)
