"""The plan step: follow topics, bring ledger and warehouse into line, share out the partitions."""

from __future__ import annotations

import logging
import time
from typing import Any

import pyarrow as pa

from millrace.ingest import ledger, planning, reconcile, register, topics
from millrace.ingest.ledger import Ledger, Position
from millrace.ingest.model import PlanOutdatedError, Range, Source
from millrace.ingest.reader import OffsetGoneError, Reader
from millrace.ingest.topics import Topic
from millrace.ingest.warehouse import Warehouse
from millrace.ingest.worker import Share
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, profiles

log = logging.getLogger(__name__)


def plan(settings: Settings, run_id: str, attempt: int = 1) -> list[dict[str, Any]]:
    """Return the shares of every active source, one per task, as plain values.

    Owns every partition when it returns, so that no worker of an earlier run can claim any more.
    Waits for a source to be active and its topic to exist, at most a run's length.
    """
    until = time.monotonic() + settings.ingest_run_seconds
    while not (shares := _plan_once(settings, f"{run_id}/plan/{attempt}")):
        if time.monotonic() > until:
            log.warning("no active source has a topic: activate one in data_sources")
            break
        time.sleep(2)  # neither server tells when that changes
    return shares


def _plan_once(settings: Settings, owner: str) -> list[dict[str, Any]]:
    profiles.ensure(settings)
    with postgres.connect(settings) as connection:
        sources = ledger.sources(connection)
    shares: list[Share] = []
    lagging: dict[str, list[int]] = {}
    keeper = None
    for source in sources:
        topic = topics.describe(settings, source.topic)
        if topic is None:
            log.warning("source %s: Kafka has no topic %s", source.source_id, source.topic)
            continue
        keeper = Ledger(settings, source, owner)
        parts, behind = _plan_source(settings, keeper, topic)
        lagging[source.source_id] = behind
        shares += [Share(source, part, len(shares) + i) for i, part in enumerate(parts)]
    if keeper is not None:
        register.ensure(settings, keeper)
        register.expire(settings, keeper, register.horizon(settings, keeper, lagging))
        keeper.run("prune", days=settings.raw_retention_days)
        keeper.close()
    return [share.as_dict() for share in shares]


def _plan_source(
    settings: Settings, mine: Ledger, topic: Topic
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Plan one source; return its shares, and the partitions that lag."""
    source = mine.source
    gate = mine.connection.execute(
        "SELECT FROM current_gates WHERE source_id = %s", [source.source_id]
    ).fetchone()
    if gate is None:
        raise LookupError(ledger.no_gate(source))
    _ensure_target(settings, source)
    edges = topics.offsets(settings, source.topic, topic.partitions)
    _add_partitions(mine, topic, edges)
    positions = _take_all(mine)
    positions = _follow_topic(settings, mine, topic, edges, positions)
    warehouse = Warehouse(settings, source, next(iter(positions.values())).incarnation)
    try:
        reconcile.adopt_unknown(mine, warehouse, positions)
        reconcile.reopen_missing(settings, mine, warehouse)
    finally:
        warehouse.close()
    open_batches = mine.open_batches()
    parts = planning.share_out(
        topic.partitions, settings.ingest_tasks, [b.partitions for b in open_batches]
    )
    stands = {row["partition"]: row["next_offset"] for row in mine.positions()}
    behind = [p for p, (_, high) in edges.items() if stands[p] < high]
    return parts, behind


def _ensure_target(settings: Settings, source: Source) -> None:
    client = clickhouse.connect(settings)
    client.command(f"CREATE TABLE IF NOT EXISTS {source.target_table} AS events")
    client.close()


def _add_partitions(mine: Ledger, topic: Topic, edges: dict[int, tuple[int, int]]) -> None:
    rows = mine.positions()
    fresh = planning.start_offsets([row["partition"] for row in rows], edges)
    if not fresh:
        return
    incarnation = max((row["topic_incarnation"] for row in rows), default=0)
    topic_id = rows[0]["topic_id"] if rows else topic.topic_id
    with mine.connection.transaction():
        mine.run(
            "add_partitions",
            topic_id=topic_id,
            incarnation=incarnation,
            partitions=list(fresh),
            nexts=list(fresh.values()),
        )
        for partition, offset in fresh.items() if rows else ():
            span = Range(partition, offset, offset)
            mine.incident("partitions_added", span, incarnation, f"read from offset {offset} on")


def _take_all(mine: Ledger) -> dict[int, Position]:
    """Own every partition of the source; an earlier worker that is still alive is waited for."""
    partitions = [row["partition"] for row in mine.positions()]
    predecessor = mine.owner.rsplit("/", 1)[0]
    waited_since = time.monotonic()
    while (taken := mine.acquire(partitions, [predecessor])) is None:
        if time.monotonic() - waited_since > 10 * mine.settings.ingest_lease_seconds:
            raise PlanOutdatedError(
                f"source {mine.source.source_id}: another ingest keeps its lease; stop it, or see "
                "./millrace ingest status"
            )
        time.sleep(0.2)  # a lease ends by time alone
    return taken[0]


def _follow_topic(
    settings: Settings,
    mine: Ledger,
    topic: Topic,
    edges: dict[int, tuple[int, int]],
    positions: dict[int, Position],
) -> dict[int, Position]:
    """Begin a new incarnation if the topic was made anew, or lost its end, since the last plan."""
    old_id = next(iter(positions.values())).topic_id
    is_new = old_id != topic.topic_id
    cut = [p for p, known in positions.items() if p in edges and known.next_offset > edges[p][1]]
    if not is_new:
        cut += _overwritten(settings, mine, edges, positions)
    if not is_new and not cut:
        return positions
    incarnation = max(known.incarnation for known in positions.values()) + 1
    with mine.connection.transaction():
        for p, known in positions.items():
            if p not in edges:
                start, kind = 0, "topic_recreated"
                mine.connection.execute(
                    "DELETE FROM ingest_positions WHERE source_id = %s AND topic = %s "
                    "AND partition = %s",
                    [mine.source.source_id, mine.source.topic, p],
                )
                detail = "the new topic has no such partition"
            elif is_new:
                start, kind = edges[p][0], "topic_recreated"
                detail = f"topic id {old_id} became {topic.topic_id}; read from offset {start} on"
            elif p in cut:
                start, kind = _resume_after_cut(settings, mine, p), "topic_truncated"
                detail = f"Kafka lost the end of the partition; read again from offset {start} on"
            else:
                start, kind, detail = known.next_offset, "", ""
            span = Range(p, known.next_offset, start)
            mine.skip(span, incarnation=incarnation, topic_id=topic.topic_id)
            if kind:
                mine.incident(kind, span, incarnation, detail)
                log.error("%s: %s partition %d: %s", kind, topic.name, p, detail)
    return {
        row["partition"]: Position(
            row["partition"],
            row["epoch"],
            row["next_offset"],
            row["topic_id"],
            row["topic_incarnation"],
        )
        for row in mine.positions()
    }


def _overwritten(
    settings: Settings,
    mine: Ledger,
    edges: dict[int, tuple[int, int]],
    positions: dict[int, Position],
) -> list[int]:
    """Return the partitions that lost their end and grew beyond the position again.

    Kafka then has another message where the last one was that ``raw_events`` kept.
    """
    warehouse = Warehouse(settings, mine.source, 0)
    reader = Reader(settings, mine.source)
    until = time.monotonic() + 10 * settings.ingest_lease_seconds
    found = []
    try:
        for p, known in positions.items():
            last = Range(p, known.next_offset - 1, known.next_offset)
            low, high = edges.get(p, (0, 0))
            if not low <= last.first_offset < high:
                continue
            kept = warehouse.kept_messages([last], known.incarnation)
            if kept.num_rows and _differs(reader, last, kept, until):
                found.append(p)
    finally:
        warehouse.close()
        reader.close()
    return found


def _differs(reader: Reader, last: Range, kept: pa.Table, until: float) -> bool:
    try:
        found = reader.read([last], lambda: time.monotonic() > until)
    except OffsetGoneError:
        return False  # retention was faster
    # Compaction may have taken it; and what Kafka has as no value was kept as an empty one.
    return found.num_rows > 0 and any(
        not found[name].fill_null(empty).equals(kept[name])
        for name, empty in (("kafka_timestamp", 0), ("value", b""))
    )


def _resume_after_cut(settings: Settings, mine: Ledger, partition: int) -> int:
    """Return the first offset written after what was read; copies are caught by their event_id."""
    reached = next(r["reached_at"] for r in mine.positions() if r["partition"] == partition)
    reader = Reader(settings, mine.source)
    try:
        if reached is None:
            return reader.watermarks(partition)[0]
        return reader.offset_since(partition, int(reached.timestamp() * 1000))
    finally:
        reader.close()
