"""What the ingest ledger says of the past; whoever reads tables that ingest fills asks here.

Writing it is ingest's alone (``millrace.ingest.ledger``).
"""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from psycopg.rows import DictRow

from millrace.stores import sql
from millrace.stores.postgres import one


def watermark(connection: psycopg.Connection[DictRow]) -> datetime:
    """Return the moment (UTC) before which everything that was claimed is published.

    A row of ``events`` or ``rejected_events`` that was ingested before it is visible, and none will
    be added.
    """
    row = one(connection.execute(sql.render("postgres/contract/watermark.sql")))
    moment: datetime = row["moment"].astimezone(UTC)
    return moment


def snapshot(connection: psycopg.Connection[DictRow]) -> datetime:
    """Return the latest watermark there can be now, in whole milliseconds (UTC).

    A query that is bounded by it gives the same rows each time. It waits for claims under way,
    which would otherwise commit with an earlier moment; and holds up new ones until then.
    """
    with connection.transaction():
        connection.execute("LOCK TABLE ingest_batches IN SHARE MODE")
        row = one(connection.execute(sql.render("postgres/contract/oldest_open_claim.sql")))
    moment: datetime = row["moment"].astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def judged_positions(
    connection: psycopg.Connection[DictRow], source_id: str | None = None
) -> list[DictRow]:
    """Return how far each partition is judged without a gap, of one source or of all.

    ``judged_offset`` is the first offset of its oldest open micro-batch, else ``claimed_offset``,
    the first that no micro-batch has claimed. A row also has ``source_id``, ``topic``,
    ``topic_id``, ``topic_incarnation``, ``partition``, and ``reached_at``: Kafka's timestamp of
    the last message claimed, if any was.
    """
    return connection.execute(
        sql.render("postgres/contract/judged_positions.sql"), {"source_id": source_id}
    ).fetchall()
