"""The plan step: follow topics, bring ledger and warehouse into line, share out the partitions."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from datetime import datetime
from typing import Any

from confluent_kafka import KafkaException
from psycopg.rows import DictRow

from millrace import waiting
from millrace.contract import sources
from millrace.contract.sources import Source
from millrace.ingest import continuity, planning, reconcile, register, topics
from millrace.ingest import ledger as ledgers
from millrace.ingest.ledger import Ledger, Position, is_worker, position_of
from millrace.ingest.model import IncarnationsSpentError, LeaseLostError, PlanOutdatedError, Range
from millrace.ingest.topics import Topic
from millrace.ingest.warehouse import Warehouse
from millrace.ingest.worker import PASSING_ERRORS, Share, Worker
from millrace.settings import Settings
from millrace.stores import clickhouse, dictionaries, postgres
from millrace.stores.errors import first_line

log = logging.getLogger(__name__)

IN_THE_WAY = (
    IncarnationsSpentError,
    KafkaException,
    LeaseLostError,
    LookupError,
    PlanOutdatedError,
    TimeoutError,
)
"""What may be wrong with one source and no other."""
SETTLING_SECONDS = 60.0
"""How long a plan, for which others wait, tries to complete what a deactivated source left."""


def plan(settings: Settings, run_id: str, attempt: int = 1) -> list[dict[str, Any]]:
    """Return the shares of every active source, one per task, as plain values.

    While workers of an earlier run load a source and nothing about it has changed, they go on until
    this plan's workers ask for the partitions. Otherwise the plan takes the partitions, so that no
    earlier worker can claim any more, and brings ledger and warehouse into line. Waits for a source
    to be active and its topic to exist, at most a run's length.

    A source that can't be planned is left out, so that others are loaded: it has no gate, or
    something of its topic or its open micro-batches is in the way. Raises what is in its way when
    there is no other, ``LookupError`` where that is the gate.
    """
    until = time.monotonic() + settings.ingest_run_seconds
    while not (shares := _plan_once(settings, f"{run_id}/plan/{attempt}")):
        if time.monotonic() > until:
            log.warning("no active source has a topic: activate one in data_sources")
            break
        time.sleep(2)  # neither server tells when that changes
    return shares


def _plan_once(settings: Settings, owner: str) -> list[dict[str, Any]]:
    dictionaries.ensure(settings)
    with postgres.connect(settings) as connection:
        registered = sources.every(connection)
        left_open = ledgers.left_open(connection)
        planned_at = ledgers.plan_time(connection)
    for source in registered:
        if not source.is_active and source.source_id in left_open:
            _settle_deactivated(settings, source, owner, planned_at)
    shares: list[Share] = []
    lagging: dict[str, list[int]] = {}
    left_out: list[Exception] = []
    for source in [source for source in registered if source.is_active]:
        with closing(Ledger(settings, source, owner)) as ledger:
            try:
                parts, behind = _plan_source(settings, ledger, planned_at)
            except IN_THE_WAY as error:
                left_out.append(error)
                log.exception("source %s is left out", source.source_id)
                parts, behind = [], [row["partition"] for row in ledger.positions()]
        lagging[source.source_id] = behind
        shares += [Share(source, part, len(shares) + i, planned_at) for i, part in enumerate(parts)]
    if left_out and not shares:
        raise left_out[0]
    if shares:
        # These are about all sources; a ledger of any of them asks.
        with closing(Ledger(settings, shares[-1].source, owner)) as ledger:
            register.ensure(settings, ledger)
            register.expire(settings, ledger, register.horizon(settings, ledger, lagging))
            # Rows of raw_events go by the day, and verify asks the ledger of the last one there is.
            ledger.run("prune", days=settings.raw_retention_days + 2)
    return [share.as_dict() for share in shares]


def _settle(settings: Settings, source: Source, owner: str, planned_at: datetime) -> None:
    """Close what is open of a topic that is gone: it would hold back what all sources publish."""
    with closing(Ledger(settings, source, owner)) as ledger:
        partitions = tuple(row["partition"] for row in ledger.positions())
        if not partitions or not ledger.open_batches():
            return
    if _await_topic(settings, source) is None:
        worker = _settler(settings, source, partitions, owner, planned_at)
        worker.settle(SETTLING_SECONDS, is_deleted=True)


def _settle_deactivated(
    settings: Settings, source: Source, owner: str, planned_at: datetime
) -> None:
    """Complete what is open of a source that is active no more, for the same reason.

    What keeps it from that is no reason to load nothing else; the next plan tries again.
    """
    try:
        with closing(Ledger(settings, source, owner)) as ledger:
            known = {row["partition"]: row["topic_id"] for row in ledger.positions()}
        if not known:
            return
        topic = _await_topic(settings, source)
        is_deleted = topic is None or topic.topic_id not in known.values()
        worker = _settler(settings, source, tuple(known), owner, planned_at)
        worker.settle(SETTLING_SECONDS, is_deleted=is_deleted)
    except PASSING_ERRORS as error:
        log.warning(
            "source %s is not active, and its open micro-batches can't be completed now: %s",
            source.source_id,
            first_line(error),
        )


def _await_topic(settings: Settings, source: Source) -> Topic | None:
    """Return the topic; one that is being recreated is waited for as long as a lease lasts."""
    return waiting.poll(
        lambda: topics.describe(settings, source.topic),
        seconds=settings.ingest_lease_seconds,
        every=1,
    )


def _settler(
    settings: Settings,
    source: Source,
    partitions: tuple[int, ...],
    owner: str,
    planned_at: datetime,
) -> Worker:
    """Return a worker that has every partition of a source."""
    run_id = owner.rsplit("/", 2)[0]
    return Worker(settings, Share(source, partitions, 0, planned_at), run_id)


def _plan_source(
    settings: Settings, ledger: Ledger, planned_at: datetime
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Plan one source; return its shares, and the partitions that lag."""
    source = ledger.source
    topic = topics.describe(settings, source.topic)
    if topic is None:
        log.warning("source %s: Kafka has no topic %s", source.source_id, source.topic)
        _settle(settings, source, ledger.owner, planned_at)
        return [], []
    if not ledger.has_gate():
        raise LookupError(ledgers.no_gate(source))
    _ensure_target(settings, source)
    rows = ledger.positions()
    watermarks = topics.offsets(settings, source.topic, topic.partitions)
    together: list[frozenset[int]] = []
    if not _is_in_line(settings, ledger, topic, rows, watermarks):
        _reconcile(settings, ledger, topic, watermarks, planned_at)
        together = [batch.partitions for batch in ledger.open_batches()]
    parts = planning.share_out(topic.partitions, settings.ingest_tasks, together)
    next_offsets = {row["partition"]: row["next_offset"] for row in ledger.positions()}
    behind = [p for p, (_, high) in watermarks.items() if next_offsets[p] < high]
    return parts, behind


def _is_in_line(
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    rows: list[DictRow],
    watermarks: dict[int, tuple[int, int]],
) -> bool:
    """Tell whether workers hold every partition and there is nothing to bring into line.

    They load meanwhile, so what is read first must not be ahead of what is read later: ``rows``,
    the ledger's positions, are older than ``watermarks``, Kafka's.
    """
    positions = {row["partition"]: position_of(row) for row in rows}
    if not (
        positions.keys() == set(topic.partitions)
        and all(row["is_held"] and is_worker(row["owner"]) for row in rows)
        and {position.topic_id for position in positions.values()} == {topic.topic_id}
        and all(position.next_offset <= watermarks[p][1] for p, position in positions.items())
    ):
        return False
    warehouse = Warehouse(settings, ledger.source, next(iter(positions.values())).incarnation)
    try:
        ahead = warehouse.stored_beyond(positions.values())
        claimed = {row["partition"]: row["next_offset"] for row in ledger.positions()}
        return (
            all(found.next_offset <= claimed[found.partition] for found in ahead)
            and not reconcile.find_missing(settings, ledger, warehouse)
            and not continuity.overwritten(settings, ledger, watermarks, positions)
        )
    finally:
        warehouse.close()


def _reconcile(
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    watermarks: dict[int, tuple[int, int]],
    planned_at: datetime,
) -> None:
    """Take every partition, follow the topic, and bring ledger and warehouse into line."""
    _add_partitions(ledger, topic, watermarks)
    positions = _adopt(settings, ledger, _take_all(ledger, planned_at))
    # Workers may have gone beyond the ends that were read before they let go.
    watermarks = topics.offsets(settings, ledger.source.topic, topic.partitions)
    positions = continuity.follow_topic(settings, ledger, topic, watermarks, positions)
    warehouse = Warehouse(settings, ledger.source, next(iter(positions.values())).incarnation)
    try:
        reconcile.reopen_missing(settings, ledger, warehouse)
    finally:
        warehouse.close()


def _adopt(
    settings: Settings, ledger: Ledger, positions: dict[int, Position]
) -> dict[int, Position]:
    """Enter into the ledger what only the warehouse remembers; return the positions after that.

    It comes before a new incarnation of the topic begins, since nobody asks about an old one later,
    and Kafka can't give its messages again.
    """
    if not positions:
        return positions
    incarnation = next(iter(positions.values())).incarnation
    warehouse = Warehouse(settings, ledger.source, incarnation)
    try:
        if not reconcile.adopt_unknown(ledger, warehouse, positions):
            return positions
    finally:
        warehouse.close()
    return {row["partition"]: position_of(row) for row in ledger.positions()}


def _ensure_target(settings: Settings, source: Source) -> None:
    with clickhouse.connect(settings, "loader") as client:
        client.command(f"CREATE TABLE IF NOT EXISTS {source.target_table} AS events")


def _add_partitions(ledger: Ledger, topic: Topic, watermarks: dict[int, tuple[int, int]]) -> None:
    rows = ledger.positions()
    fresh = planning.start_offsets([row["partition"] for row in rows], watermarks)
    if not fresh:
        return
    incarnation = max((row["topic_incarnation"] for row in rows), default=0)
    topic_id = rows[0]["topic_id"] if rows else topic.topic_id
    with ledger.connection.transaction():
        ledger.run(
            "add_partitions",
            topic_id=topic_id,
            incarnation=incarnation,
            partitions=list(fresh),
            nexts=list(fresh.values()),
        )
        for partition, offset in fresh.items() if rows else ():
            span = Range(partition, offset, offset)
            ledger.incident("partitions_added", span, incarnation, f"read from offset {offset} on")


def _take_all(ledger: Ledger, planned_at: datetime) -> dict[int, Position]:
    """Own every partition of the source; an earlier worker that is still alive is asked to end.

    Raises ``SupersededError`` when a later plan did so already.
    """
    partitions = [row["partition"] for row in ledger.positions()]
    predecessor = ledger.owner.rsplit("/", 1)[0]

    def taken() -> tuple[dict[int, Position], datetime] | None:
        found = ledger.acquire(partitions, [predecessor], planned_at)
        if found is None:
            ledger.request_handover(partitions, planned_at)
        return found

    positions, _ = waiting.until(
        taken,
        f"the partitions of source {ledger.source.source_id}",
        seconds=10 * ledger.settings.ingest_lease_seconds,
        every=0.2,
        hint="another ingest keeps its lease; stop it, or see ./millrace ingest status",
        error=PlanOutdatedError,
    )
    return positions
