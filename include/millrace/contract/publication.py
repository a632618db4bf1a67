"""The publication lock, which keeps apart those who fill tables and those who replace them.

Loaders share it while they register and publish a micro-batch. Whoever clones, swaps, erases from
or restores tables holds it alone: no micro-batch is then between two of its tables. It is an
advisory lock of PostgreSQL, so it goes with the connection of a process that dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client

from millrace import waiting
from millrace.contract import locks
from millrace.stores import sql

OPEN_BATCH_DEADLINE_SECONDS = 300


@contextmanager
def shared(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Publish beside others; the lock goes with the commit of what is done inside."""
    with connection.transaction():
        locks.shared_until_commit(connection, locks.PUBLICATION)
        yield


@contextmanager
def alone(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Have nobody register or publish meanwhile."""
    with locks.alone(connection, locks.PUBLICATION):
        yield


@contextmanager
def settled(
    connection: psycopg.Connection[Any],
    client: Client,
    table: str,
    *,
    error: type[Exception],
    seconds: float = OPEN_BATCH_DEADLINE_SECONDS,
) -> Iterator[None]:
    """Have nobody publish meanwhile, with no micro-batch half published in ``table``.

    A batch whose rows are in the table while the ledger has it open will be repeated, and a rollup
    that was made in between would not know its token; so such batches end first. Raises ``error``
    when one has not ended after so many seconds.
    """
    half: list[int] = []

    def locked() -> ExitStack | None:
        nonlocal half
        with ExitStack() as lock:
            lock.enter_context(alone(connection))
            half = half_published(connection, client, table)
            return None if half else lock.pop_all()

    with waiting.until(
        locked,
        "half published micro-batches to end",
        seconds=seconds,
        every=0.5,
        hint=lambda: f"{half} have not; see that ingest_events runs, then try again",
        error=error,
    ):
        yield


def half_published(connection: psycopg.Connection[Any], client: Client, table: str) -> list[int]:
    """Return the micro-batches that the ledger has open while ``table`` has rows of theirs."""
    rows = connection.execute(sql.render("postgres/publication/claimed_batches.sql")).fetchall()
    if not rows:
        return []
    found = client.query(
        sql.render("clickhouse/publication/half_published.sql", table=table),
        parameters={"batch_ids": [row["batch_id"] for row in rows]},
    )
    return [row[0] for row in found.result_rows]
