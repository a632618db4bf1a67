"""Advisory locks of PostgreSQL: what only one process may do at a time, by name.

They go with the connection of a process that dies, so nobody has to clean up after a crash. A lock
is known by a name; PostgreSQL knows it by a number of 64 bits, which ``key`` makes of the name: the
first eight bytes of its SHA-256, as a signed big-endian integer. Processes of one deployment must
run the same version of this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import psycopg

from millrace.stores.postgres import one

PUBLICATION = "millrace.publication"
"""Shared by loaders that publish; alone for who clones, swaps, erases or restores tables."""

BACKUP = "millrace.backup"
"""Backups, restores, and the expiry of backups."""

LOG_SLOT = "millrace.log_slot"
"""The replication slot for which PostgreSQL keeps its log, while it is made."""

DEPLOYMENT = "millrace.deployment"
"""Deployments of the dbt project, and whoever must not come between what one reads and its swap:
erasures, restores, and rebuilds from their rollups on. It is taken before ``PUBLICATION``."""

GATES = "millrace.gates"
"""The compilation of a source's gate."""

REPLAYS = "millrace.replays"
"""The claim of rejected messages by a replay."""

DRILL = "millrace.drill"
"""The restore drill, whose servers lie in one folder."""

REBUILD = "millrace.rebuild"
"""The rebuild of one table, and within it of one day."""

ALERTS = "millrace.alerts"
"""Judging the minutes that are due."""

EXPORT = "millrace.export"
"""The export of one window; shared, by exports on demand, which an erasure waits for."""

IMPORT = "millrace.import"
"""The import of one file into one topic."""

IDEMPOTENCY = "millrace.idempotency"
"""A request that may be sent again, while it is being answered."""

EDIT = "millrace.edit"
"""Making or changing one thing by HTTP."""


def key(name: str, *parts: object) -> int:
    """Return the number of a lock: of ``name``, or of the one of its kind that ``parts`` tell."""
    whole = ":".join([name, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(whole.encode()).digest()[:8], "big", signed=True)


@contextmanager
def alone(connection: psycopg.Connection[Any], name: str, *parts: object) -> Iterator[None]:
    """Wait for the lock and hold it for the length of a ``with``."""
    number = key(name, *parts)
    connection.execute("SELECT pg_advisory_lock(%s)", [number])
    with _given_back(connection, number, "SELECT pg_advisory_unlock(%s)"):
        yield


@contextmanager
def at_once(
    connection: psycopg.Connection[Any], name: str, *parts: object, error: Exception
) -> Iterator[None]:
    """Hold the lock for the length of a ``with``; raise ``error`` if another process has it."""
    number = key(name, *parts)
    if not _try(connection, number):
        raise error
    with _given_back(connection, number, "SELECT pg_advisory_unlock(%s)"):
        yield


@contextmanager
def shared(connection: psycopg.Connection[Any], name: str, *parts: object) -> Iterator[None]:
    """Wait until nobody has the lock alone, and share it for the length of a ``with``."""
    number = key(name, *parts)
    connection.execute("SELECT pg_advisory_lock_shared(%s)", [number])
    with _given_back(connection, number, "SELECT pg_advisory_unlock_shared(%s)"):
        yield


def until_commit(connection: psycopg.Connection[Any], name: str, *parts: object) -> None:
    """Wait for the lock; the end of the transaction that this is called in gives it back."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [key(name, *parts)])


def at_once_until_commit(connection: psycopg.Connection[Any], name: str, *parts: object) -> bool:
    """Take the lock until the transaction ends; return whether nobody else had it."""
    number = key(name, *parts)
    row = one(connection.execute("SELECT pg_try_advisory_xact_lock(%s) AS is_mine", [number]))
    return bool(row["is_mine"])


def shared_until_commit(connection: psycopg.Connection[Any], name: str) -> None:
    """Wait until nobody has the lock alone, and share it until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [key(name)])


def is_free(connection: psycopg.Connection[Any], name: str) -> bool:
    """Tell whether nobody has the lock."""
    if not _try(connection, key(name)):
        return False
    connection.execute("SELECT pg_advisory_unlock(%s)", [key(name)])
    return True


@contextmanager
def _given_back(
    connection: psycopg.Connection[Any], number: int, unlock: LiteralString
) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # A lock ends with its connection: that it can't be given back must not hide what happened.
        with suppress(psycopg.OperationalError):
            connection.execute(unlock, [number])
        raise
    connection.execute(unlock, [number])


def _try(connection: psycopg.Connection[Any], number: int) -> bool:
    row = one(connection.execute("SELECT pg_try_advisory_lock(%s) AS is_mine", [number]))
    return bool(row["is_mine"])
