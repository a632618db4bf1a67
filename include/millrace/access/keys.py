"""Keys that events are sent with: made, found by their digest, rotated and revoked.

A key's text is ``mr_``, eight characters that name it in logs, and 256 random bits. Only the
SHA-256 of it is kept: there is nothing to guess that a slow hash would protect, and it is looked up
with every request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.stores import postgres, sql

Connection = psycopg.Connection[DictRow]

INGEST = "ingest"
"""The scope of a key that events are sent with."""

READ_LIVE = "read:live"
"""The scope of a key that shows what is being received."""

SCOPES = (INGEST, READ_LIVE)
MOST_OVERLAP_HOURS = 8_784.0
"""A year: a secret that should last longer needs no other."""

OVERLAP_HOURS = 24.0
"""How long a key that was rotated goes on, in hours, unless told otherwise."""

ALPHABET = string.digits + string.ascii_letters
TEXT = re.compile(r"mr_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}")
"""What a key looks like, also for scanners of secrets."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ORIGIN = re.compile(r"https?://(\*\.)?[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")


class AccessError(ValueError):
    """A key can't be made or changed; the message says why."""


class ConflictError(AccessError):
    """It can't be done as things stand: a name is taken, somebody is the last of their kind."""


@dataclass(frozen=True)
class Key:
    """A key, as all but its owner know it.

    Args:
        key_id: The public part of its text.
        name: What people call it. Keys that replace one another share it, with rate and quota.
        digest: SHA-256 of its text.
        allowed_origins: Where browsers may send from; none: from anywhere.
        rate_per_second: Events a second that are taken; ``None``: any number.
        quota_per_day: Events that are taken on a day of UTC; ``None``: any number.
        rotated_at: When another took its place; it goes on until ``expires_at``.
    """

    key_id: str
    name: str
    source_id: str
    digest: bytes
    scopes: Sequence[str] = (INGEST,)
    allowed_origins: Sequence[str] = ()
    rate_per_second: int | None = None
    quota_per_day: int | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_usable(self, at: datetime) -> bool:
        """Tell whether the key opens anything at a time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    def state(self, at: datetime) -> str:
        """Say in a word what became of the key."""
        if self.revoked_at is not None:
            return "revoked"
        if not self.is_usable(at):
            return "expired"
        return "active" if self.rotated_at is None else "rotated"


@dataclass(frozen=True)
class NewKey:
    """What a key is made of; see ``Key``."""

    name: str
    source_id: str
    scopes: Sequence[str] = (INGEST,)
    allowed_origins: Sequence[str] = field(default_factory=tuple)
    rate_per_second: int | None = None
    quota_per_day: int | None = None
    expires_at: datetime | None = None


def new_text(prefix: str = "mr") -> str:
    """Return the text of a key that nobody has."""
    number = secrets.randbits(256)
    digits = []
    for _ in range(43):  # 62 ** 43 is above 2 ** 256
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(8))}_{''.join(digits)}"


def digest(text: str) -> bytes:
    """Return what is kept of a key's text."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def every(connection: Connection) -> list[Key]:
    """Return all keys, by their names and in the order in which they were made."""
    return [_key(row) for row in connection.execute(sql.render("postgres/access/keys.sql"))]


def usable(connection: Connection) -> list[Key]:
    """Return the keys that are neither revoked nor expired."""
    return [_key(row) for row in connection.execute(sql.render("postgres/access/usable_keys.sql"))]


def overview(connection: Connection) -> list[dict[str, Any]]:
    """Return what people want to know of every key."""
    now = datetime.now(UTC)
    usage = {
        row["name"]: row for row in connection.execute(sql.render("postgres/access/usage.sql"))
    }
    return [
        {
            "name": key.name,
            "key_id": key.key_id,
            "state": key.state(now),
            "source_id": key.source_id,
            "scopes": list(key.scopes),
            "allowed_origins": list(key.allowed_origins),
            "rate_per_second": key.rate_per_second,
            "quota_per_day": key.quota_per_day,
            "events_today": usage.get(key.name, {}).get("events_today", 0),
            "used_at": usage.get(key.name, {}).get("used_at"),
            "expires_at": key.expires_at,
            "created_at": key.created_at,
        }
        for key in every(connection)
    ]


def add(connection: Connection, new: NewKey) -> str:
    """Make a key and return its text, which nobody can tell afterwards. Raises ``AccessError``."""
    _check(new)
    text = new_text()
    with postgres.change(connection):
        if not _insert(connection, new, text):
            raise AccessError(
                f"there is a key {new.name} already. ./millrace keys rotate {new.name} gives it "
                "another secret; revoke it to use the name again."
            )
    return text


def ensure(connection: Connection, new: NewKey, text: str) -> bool:
    """Let a key whose text is known be there; return whether it had to be made.

    One that was rotated or revoked stays so, and another one of its name stays in its place.
    Raises ``AccessError``.
    """
    _check(new)
    if not TEXT.fullmatch(text):
        raise AccessError("MILLRACE_INGEST_KEY is no key: see ./millrace keys add")
    with postgres.change(connection, "up"):
        return _insert(connection, new, text)


def rotate(connection: Connection, name: str, overlap_hours: float = OVERLAP_HOURS) -> str:
    """Make a key in place of another, which goes on for a while; return the new one's text.

    Raises ``AccessError``.
    """
    if not 0 <= overlap_hours <= MOST_OVERLAP_HOURS:  # nor what is no number
        raise AccessError(f"an overlap is 0 to {MOST_OVERLAP_HOURS:,.0f} hours")
    text = new_text()
    with postgres.change(connection):
        old = _standing(connection, name)
        connection.execute(
            sql.render("postgres/access/supersede_key.sql"),
            {"name": name, "overlap": overlap_hours * 3600},
        )
        new = NewKey(
            name,
            old.source_id,
            old.scopes,
            old.allowed_origins,
            old.rate_per_second,
            old.quota_per_day,
            old.expires_at if old.is_usable(datetime.now(UTC)) else None,
        )
        if not _insert(connection, new, text):
            raise AccessError(f"key {name} is being changed by someone else; try again")
    return text


def revoke(connection: Connection, name: str) -> list[bytes]:
    """Let nothing more in with the keys of a name; return their digests. Raises ``AccessError``."""
    with postgres.change(connection):
        rows = connection.execute(
            sql.render("postgres/access/revoke_keys.sql"), {"name": name}
        ).fetchall()
        if not rows:
            raise _unknown(connection, name)
    return [bytes(row["digest"]) for row in rows]


def count(connection: Connection, name: str, taken: int) -> tuple[str, int]:
    """Add what was taken under a name; return the day of UTC, and all that was taken on it."""
    row = postgres.one(
        connection.execute(
            sql.render("postgres/access/count_events.sql"), {"name": name, "count": taken}
        )
    )
    return row["day"].isoformat(), row["event_count"]


def _insert(connection: Connection, new: NewKey, text: str) -> bool:
    values = vars(new) | {
        "key_id": text.split("_")[1],
        "digest": digest(text),
        "scopes": list(new.scopes),
        "allowed_origins": list(new.allowed_origins),
    }
    try:
        return connection.execute(sql.render("postgres/access/add_key.sql"), values).rowcount == 1
    except psycopg.errors.ForeignKeyViolation:
        raise AccessError(
            f"there is no source {new.source_id!r}; ./millrace sources list shows all"
        ) from None


def _check(new: NewKey) -> None:
    if not _NAME.fullmatch(new.name):
        raise AccessError(
            f"{new.name!r} can't name a key: lower-case letters, digits, '.', '_' and '-', "
            "63 at most, the first a letter or a digit"
        )
    if strange := [scope for scope in new.scopes if scope not in SCOPES]:
        raise AccessError(f"there is no scope {strange[0]!r}; there are {', '.join(SCOPES)}")
    for origin in new.allowed_origins:
        if not _ORIGIN.fullmatch(origin):
            raise AccessError(
                f"{origin!r} is no origin. One is a scheme and a host as the browser shows them, "
                "without a path: https://shop.example, or https://*.shop.example for all below it"
            )


def _standing(connection: Connection, name: str) -> Key:
    for key in every(connection):
        if key.name == name and key.rotated_at is None and key.revoked_at is None:
            return key
    raise _unknown(connection, name)


def _unknown(connection: Connection, name: str) -> AccessError:
    known = sorted({key.name for key in every(connection) if key.revoked_at is None})
    there = f"there are {', '.join(known)}" if known else "./millrace keys add makes one"
    return AccessError(f"there is no key {name!r}; {there}")


def _key(row: dict[str, Any]) -> Key:
    return Key(**{**row, "digest": bytes(row["digest"])})
