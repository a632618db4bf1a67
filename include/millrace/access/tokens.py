"""API tokens, with which programs ask the query API: made, found by their digest, and revoked.

A token's text is ``mrq_``, eight characters that name it in logs, and 256 random bits; only its
SHA-256 is kept, as of ``keys``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.access import keys
from millrace.access.keys import AccessError as AccessError
from millrace.access.keys import ConflictError
from millrace.access.rights import Rights
from millrace.access.roles import Principal, Role
from millrace.stores import postgres, sql

Connection = psycopg.Connection[DictRow]

PREFIX = "mrq"
TEXT = re.compile(rf"{PREFIX}_[0-9A-Za-z]{{8}}_[0-9A-Za-z]{{43}}")
"""What a token looks like, also for scanners of secrets."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Token:
    """A token, as all but its owner know it; ``sources`` and ``datasets`` as ``Principal`` has."""

    token_id: str
    name: str
    digest: bytes
    role: Role
    sources: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None

    def is_usable(self, at: datetime) -> bool:
        """Tell whether the token opens anything at a time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    def state(self, at: datetime) -> str:
        """Say in a word what became of the token."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if self.is_usable(at) else "expired"

    @property
    def principal(self) -> Principal:
        """Who asks with it."""
        rights = Rights(self.role, self.sources, self.datasets)
        return rights.principal(f"token:{self.name}", "token")


@dataclass(frozen=True)
class NewToken:
    """What a token is made of; see ``Token``."""

    name: str
    role: Role
    sources: Sequence[str] | None = None
    datasets: Sequence[str] | None = None
    expires_at: datetime | None = None


def every(connection: Connection) -> list[Token]:
    """Return all tokens, by their names and in the order in which they were made."""
    return [_token(row) for row in connection.execute(sql.render("postgres/access/tokens.sql"))]


def usable(connection: Connection) -> list[Token]:
    """Return the tokens that are neither revoked nor expired; not when they were used."""
    rows = connection.execute(sql.render("postgres/access/usable_tokens.sql"))
    return [_token(row) for row in rows]


def overview(connection: Connection) -> list[dict[str, Any]]:
    """Return what people want to know of every token."""
    now = datetime.now(UTC)
    return [
        {
            "name": token.name,
            "token_id": token.token_id,
            "state": token.state(now),
            "role": token.role,
            "sources": token.sources,
            "datasets": token.datasets,
            "used_at": token.used_at,
            "expires_at": token.expires_at,
            "created_at": token.created_at,
        }
        for token in every(connection)
    ]


def add(connection: Connection, new: NewToken, actor: str | None = None) -> str:
    """Make a token and return its text, which nobody can tell afterwards.

    Raises ``AccessError``.
    """
    text = keys.new_text(PREFIX)
    if not _insert(connection, new, text, actor):
        raise ConflictError(
            f"there is a token {new.name} already; ./millrace tokens revoke {new.name} frees "
            "the name"
        )
    return text


def ensure(connection: Connection, new: NewToken, text: str) -> bool:
    """Let a token whose text is known be there; return whether it had to be made.

    One that was revoked stays so, and another one of its name stays in its place. Raises
    ``AccessError``.
    """
    if not TEXT.fullmatch(text):
        raise AccessError("MILLRACE_REPORT_TOKEN is no token: ./millrace tokens add prints one")
    return _insert(connection, new, text, "up")


def _insert(connection: Connection, new: NewToken, text: str, actor: str | None) -> bool:
    if not _NAME.fullmatch(new.name):
        raise AccessError(
            f"{new.name!r} can't name a token: lower-case letters, digits, '.', '_' and '-', "
            "63 at most, the first a letter or a digit"
        )
    values = {
        "token_id": text.split("_")[1],
        "name": new.name,
        "digest": keys.digest(text),
        "expires_at": new.expires_at,
        **Rights(new.role, new.sources, new.datasets).columns(),
    }
    with postgres.change(connection, actor):
        added = connection.execute(sql.render("postgres/access/add_token.sql"), values)
    return added.rowcount == 1


def standing(connection: Connection) -> list[Token]:
    """Return all tokens that are not revoked."""
    return [token for token in every(connection) if token.revoked_at is None]


def revoke(connection: Connection, name: str, actor: str | None = None) -> None:
    """Let nobody in with a token any more. Raises ``AccessError``."""
    with postgres.change(connection, actor):
        done = connection.execute(sql.render("postgres/access/revoke_token.sql"), {"name": name})
    if done.rowcount == 0:
        known = sorted(token.name for token in standing(connection))
        there = f"there are {', '.join(known)}" if known else "./millrace tokens add makes one"
        raise AccessError(f"there is no token {name!r}; {there}")


def note_usage(connection: Connection, token_ids: Collection[str]) -> None:
    """Note that tokens were used just now."""
    connection.execute(
        sql.render("postgres/access/note_token_usage.sql"), {"token_ids": sorted(token_ids)}
    )


def _token(row: dict[str, Any]) -> Token:
    return Token(**{**row, "digest": bytes(row["digest"])})
