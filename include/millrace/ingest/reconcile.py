"""Ledger and warehouse, brought into line: whichever was restored learns from the other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from millrace.ingest import planning
from millrace.ingest.ledger import Ledger, Position
from millrace.ingest.planning import RowCounts
from millrace.ingest.warehouse import Warehouse, moment
from millrace.settings import Settings
from millrace.stores import sql

log = logging.getLogger(__name__)

PAGE = 1_000


def adopt_unknown(ledger: Ledger, warehouse: Warehouse, positions: dict[int, Position]) -> int:
    """Enter into the ledger what only the warehouse remembers (PostgreSQL was restored).

    Returns how many micro-batches were entered.
    """
    found = warehouse.stored_beyond(positions.values())
    if not found:
        return 0
    ranges = planning.adopt(found, {p: known.next_offset for p, known in positions.items()})
    ids = sorted({r.batch_id for r in ranges})
    counts = count_batches(warehouse, ids, min(f.claimed_at for f in found))
    # A worker completes one before it claims the next, so only the last of a partition may have
    # been cut between a table and its rollups.
    last = {r.partition: r.batch_id for r in sorted(ranges, key=lambda r: r.next_offset)}
    checked = set(ids) - set(last.values())
    held = {i: counts.get(i, RowCounts(0, 0, 0)) for i in ids}
    with ledger.connection.transaction():
        ledger.run(
            "adopt",
            incarnation=warehouse.incarnation,
            batch_ids=[r.batch_id for r in ranges],
            claimed=[r.claimed_at for r in ranges],
            partitions=[r.partition for r in ranges],
            firsts=[r.first_offset for r in ranges],
            nexts=[r.next_offset for r in ranges],
            messages=[held[r.batch_id].raw for r in ranges],
            events=[held[r.batch_id].events for r in ranges],
            rejected=[held[r.batch_id].rejected for r in ranges],
            complete=[
                r.batch_id in checked and planning.is_complete(held[r.batch_id]) for r in ranges
            ],
        )
    log.warning("the ledger was behind: entered %d micro-batches from raw_events", len(ids))
    return len(ids)


def reopen_missing(settings: Settings, ledger: Ledger, warehouse: Warehouse) -> int:
    """Open loaded micro-batches of which the warehouse lacks rows (ClickHouse was restored).

    Returns how many were opened.
    """
    missing = find_missing(settings, ledger, warehouse)
    if missing:
        ledger.run("reopen", batch_ids=missing)
        log.warning("the warehouse was behind: %d micro-batches will be loaded again", len(missing))
    return len(missing)


def find_missing(settings: Settings, ledger: Ledger, warehouse: Warehouse) -> list[int]:
    """Return the loaded micro-batches of which the warehouse lacks rows that it should still have.

    Looks at the newest ones, and farther back only if any of those is short, since a restored
    warehouse lacks what came last. What has expired meanwhile is taken off what the ledger expects.
    """
    missing: list[int] = []
    before = 1 << 62
    days = min(settings.raw_retention_days, settings.events_retention_days)
    while rows := ledger.run("loaded_batches", before=before, days=days, limit=PAGE):
        before = rows[-1]["batch_id"]
        expected = {
            r["batch_id"]: RowCounts(r["message_count"], r["event_count"], r["rejected_count"])
            for r in rows
        }
        since = min(r["claimed_at"] for r in rows)
        found = count_batches(warehouse, list(expected), since)
        short = _without_expired(ledger, warehouse, expected, found)
        if not short:
            break
        missing += short
    return missing


def _without_expired(
    ledger: Ledger,
    warehouse: Warehouse,
    expected: dict[int, RowCounts],
    found: dict[int, RowCounts],
) -> list[int]:
    """Return the micro-batches that are short of more than what has expired.

    To tell, a batch is judged again by its gate, from ``raw_events``. Once one is really short, so
    are all that are left, unasked: loading one again leaves out what has expired.
    """
    short = planning.incomplete(expected, found)
    nothing = RowCounts(0, 0, 0)
    batches = {batch.batch_id: batch for batch in ledger.batches(short)}
    for place, batch_id in enumerate(short):
        wanted, has = expected[batch_id], found.get(batch_id, nothing)
        batch = batches.get(batch_id)
        if batch is None or has.raw < wanted.raw:
            return short[place:]
        if warehouse.lacks(batch, ledger.gate(batch.gate_id)):
            return short[place:]
        expired = wanted.events + wanted.rejected - has.events - has.rejected
        ledger.run("expect_fewer", batch_id=batch_id, expired=expired)
        log.info("micro-batch %d: %d of its events have expired", batch_id, expired)
    return []


def count_batches(
    warehouse: Warehouse, batch_ids: Sequence[int], since: datetime
) -> dict[int, RowCounts]:
    """Return what the warehouse holds of micro-batches claimed at or after ``since``."""
    if not batch_ids:
        return {}
    statement = sql.render(
        "clickhouse/ingest/batch_counts.sql", target=warehouse.source.target_table
    )
    rows: Iterable[Sequence[int]] = (
        warehouse.client()
        .query(
            statement,
            parameters={
                "source_id": warehouse.source.source_id,
                "first": min(batch_ids),
                "last": max(batch_ids),
                "since": moment(since.astimezone(UTC)),
            },
        )
        .result_rows
    )
    return {
        int(b): RowCounts(int(raw), int(events), int(rejected)) for b, raw, events, rejected in rows
    }
