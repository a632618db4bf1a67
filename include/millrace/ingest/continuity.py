"""A topic that is not the one it was: recreated, or cut short, as after an unclean election.

What tells is the messages themselves: where Kafka has the one that ``raw_events`` kept at an
offset, its log is the one that was read up to there. Times tell nothing: a producer's retry, or a
history that is mirrored, is older than what came before it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing

import pyarrow as pa

from millrace.ingest.arrow import MESSAGES
from millrace.ingest.ledger import Ledger, Position, position_of
from millrace.ingest.model import Range
from millrace.ingest.reader import OffsetGoneError, Reader, UnreadableError
from millrace.ingest.topics import Topic
from millrace.ingest.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import sql

log = logging.getLogger(__name__)

LAST = 10
"""Offsets before a position that are compared at every plan: the last ones may be markers."""
STEP = 1_000
"""Offsets that are compared at a time, to find where a log was cut."""
ENOUGH = 10_000
"""So many messages that are the same prove that all before them are: a few may be by chance, where
producers send again what was lost, at the offsets that it had."""

_COMPARED = ("kafka_timestamp", "key", "value")


def follow_topic(
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    watermarks: dict[int, tuple[int, int]],
    positions: dict[int, Position],
) -> dict[int, Position]:
    """Begin a new incarnation if the topic was recreated, or lost its end, since the last plan."""
    old_id = next(iter(positions.values())).topic_id
    is_new = old_id != topic.topic_id
    starts: dict[int, int] = {}
    if not is_new:
        starts = _starts_after_cut(settings, ledger, watermarks, positions)
        if not starts:
            return positions
    incarnation = max(known.incarnation for known in positions.values()) + 1
    with ledger.connection.transaction():
        for p, known in positions.items():
            if p not in watermarks:
                start, kind = 0, "topic_recreated"
                ledger.run("forget_position", partition=p)
                detail = (
                    f"topic id {old_id} became {topic.topic_id}, which has no such partition; "
                    f"what it held from offset {known.next_offset} on is lost"
                )
            elif is_new:
                start, kind = watermarks[p][0], "topic_recreated"
                detail = (
                    f"topic id {old_id} became {topic.topic_id}; what the old one held from offset "
                    f"{known.next_offset} on is lost, the new one is read from offset {start} on"
                )
            elif p in starts:
                start, kind = starts[p], "topic_truncated"
                detail = f"Kafka lost the end of the partition; read again from offset {start} on"
            else:
                start, kind, detail = known.next_offset, "", ""
            span = Range(p, known.next_offset, start)
            ledger.skip(span, incarnation=incarnation, topic_id=topic.topic_id)
            if kind:
                ledger.incident(kind, span, incarnation, detail)
                log.error("%s: %s partition %d: %s", kind, topic.name, p, detail)
    return {row["partition"]: position_of(row) for row in ledger.positions()}


def overwritten(
    settings: Settings,
    ledger: Ledger,
    watermarks: dict[int, tuple[int, int]],
    positions: dict[int, Position],
) -> list[int]:
    """Return the partitions that lost their end and grew beyond the position again.

    Kafka then has other messages where the last ones were that ``raw_events`` kept.
    """
    found = []
    with closing(_Logs(settings, ledger, is_brief=True)) as logs:
        for p, known in positions.items():
            low, high = watermarks.get(p, (0, 0))
            last = Range(p, max(low, known.next_offset - LAST), known.next_offset)
            if (
                last.first_offset < last.next_offset <= high
                and False in logs.compare(last).values()
            ):
                found.append(p)
    return found


def _starts_after_cut(
    settings: Settings,
    ledger: Ledger,
    watermarks: dict[int, tuple[int, int]],
    positions: dict[int, Position],
) -> dict[int, int]:
    """Return the partitions that lost their end, each with the first offset to be read again."""
    cut = [
        p
        for p, known in positions.items()
        if p in watermarks and known.next_offset > watermarks[p][1]
    ]
    cut += overwritten(settings, ledger, watermarks, positions)
    if not cut:
        return {}
    with closing(_Logs(settings, ledger)) as logs:
        return {
            p: end_of_same(
                p, watermarks[p][0], min(watermarks[p][1], positions[p].next_offset), logs.compare
            )
            for p in cut
        }


def end_of_same(
    partition: int, low: int, end: int, compare: Callable[[Range], dict[int, bool]]
) -> int:
    """Return the offset behind the last message that is the same, before the first that is not.

    Looked for from ``end`` back to ``low``. ``compare`` says of the offsets of a range of which
    both sides have a message whether it is the same. Where none is, ``low``: a message that is read
    twice is found out by its event_id, one that is not read by nobody.
    """
    same = 0
    found = low
    while end > low and same < ENOUGH:
        span = Range(partition, max(low, end - STEP), end)
        compared = compare(span)
        differing = [offset for offset, is_same in compared.items() if not is_same]
        if differing:
            same, found = 0, low
            compared = {o: True for o in compared if o < min(differing)}
        if compared and not same:
            found = max(compared) + 1
        same += len(compared)
        end = span.first_offset
    return found


class _Logs:
    """The log of each partition as Kafka has it now, and as ``raw_events`` kept it."""

    def __init__(self, settings: Settings, ledger: Ledger, *, is_brief: bool = False) -> None:
        self._warehouse = Warehouse(settings, ledger.source, 0)
        self._reader = Reader(settings, ledger.source, is_brief=is_brief)
        rows = ledger.run("incarnations_of_topic")
        self._since = {row["partition"]: row["topic_incarnation"] for row in rows}
        self._patience = 10 * settings.ingest_lease_seconds

    def compare(self, span: Range) -> dict[int, bool]:
        """Say of each offset of which both have a message whether it is the same.

        Of what Kafka has lost meanwhile, or can't read, nobody can tell.
        """
        kept = _rows(self._kept(span))
        if not kept:
            return {}
        until = time.monotonic() + self._patience
        try:
            found = _rows(self._reader.read([span], lambda: time.monotonic() > until))
        except (OffsetGoneError, UnreadableError):
            return {}
        return {offset: row == kept[offset] for offset, row in found.items() if offset in kept}

    def _kept(self, span: Range) -> pa.Table:
        source = self._warehouse.source
        table = self._warehouse.client().query_arrow(
            sql.render("clickhouse/ingest/log_as_read.sql"),
            parameters={
                "source_id": source.source_id,
                "topic": source.topic,
                "partition": span.partition,
                "since": self._since.get(span.partition, 0),
                "first": span.first_offset,
                "next": span.next_offset,
            },
            settings={"output_format_arrow_string_as_string": 0},
        )
        return table.cast(pa.schema([MESSAGES.field(name) for name in table.column_names]))

    def close(self) -> None:
        """Leave Kafka and ClickHouse."""
        self._warehouse.close()
        self._reader.close()


def _rows(messages: pa.Table) -> dict[int, tuple[object, ...]]:
    # What Kafka has as no key or no value was kept as an empty one.
    columns = [messages[name].to_pylist() for name in _COMPARED]
    rows = zip(*columns, strict=True)
    return {
        offset: (moment, key or b"", value or b"")
        for offset, (moment, key, value) in zip(messages["offset"].to_pylist(), rows, strict=True)
    }
