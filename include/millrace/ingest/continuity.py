"""A topic that is not the one it was: recreated, or cut short, as after an unclean election.

What tells is the messages themselves: where Kafka has the one that ``raw_events`` kept at an
offset, its log is the one that was read up to there. It is another one where it has another message
there, or has lost it (unless the topic is compacted), or has one where there was none to be read.
The order of times tells nothing: a producer's retry, or a history that is mirrored, is older than
what came before it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.query import QueryResult

from millrace.ingest import reconcile, topics
from millrace.ingest.arrow import MESSAGES
from millrace.ingest.ledger import Ledger, Position, position_of
from millrace.ingest.model import IncarnationsSpentError, Range
from millrace.ingest.planning import RowCounts
from millrace.ingest.reader import OffsetGoneError, Reader, UnreadableError
from millrace.ingest.topics import Topic
from millrace.ingest.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import sql

log = logging.getLogger(__name__)

LAST = 10
"""Offsets before a position that are compared at every plan."""
STEP = 1_000
"""So many are where those hold nothing, such as after markers and aborted transactions; and at a
time, to find where a log was cut."""
ENOUGH = 10_000
"""So many messages that are the same prove that all before them are: a few may be by chance, where
producers send again what was lost, at the offsets that it had."""

MOST_INCARNATIONS = 255
"""The greatest that the tables hold; it is in their sorting keys, which nothing can widen."""

Comparison = Mapping[int, bool | None]
"""Of each offset at which ``raw_events`` kept a message, whether Kafka has the same there; ``None``
where Kafka has none."""

_Messages = dict[int, tuple[object, ...]]
_COMPARED = ("kafka_timestamp", "key", "value")


def follow_topic(
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    watermarks: dict[int, tuple[int, int]],
    positions: dict[int, Position],
) -> dict[int, Position]:
    """Begin a new incarnation if the topic was recreated, or lost its end, since the last plan.

    Raises ``IncarnationsSpentError`` when there can be no other.
    """
    old_id = next(iter(positions.values())).topic_id
    is_new = old_id != topic.topic_id
    starts: dict[int, int] = {}
    if not is_new:
        starts = _starts_after_cut(settings, ledger, watermarks, positions)
        if not starts:
            return positions
    incarnation = max(known.incarnation for known in positions.values()) + 1
    if incarnation > MOST_INCARNATIONS:
        raise IncarnationsSpentError(topic.name, ledger.source.source_id, MOST_INCARNATIONS)
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

    Kafka's log is then another one before the position than the one that was read.
    """
    with closing(_Logs(settings, ledger, is_brief=True)) as logs:
        return [
            p
            for p, known in positions.items()
            if p in watermarks
            and watermarks[p][0] < known.next_offset <= watermarks[p][1]
            and logs.is_another(p, watermarks[p][0], known.next_offset)
        ]


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


def end_of_same(partition: int, low: int, end: int, compare: Callable[[Range], Comparison]) -> int:
    """Return the offset behind the last message that is the same, before the first that is not.

    Looked for from ``end`` back to ``low``. Where nothing tells, ``low``: a message that is read
    twice is found out by its event_id while that is held, one that is not read by nobody.
    """
    same = 0
    found = low
    while end > low and same < ENOUGH:
        span = Range(partition, max(low, end - STEP), end)
        compared = compare(span)
        differing = _differing(compared, is_end=not same)
        if differing:
            same, found = 0, low
        equal = [
            o for o, is_same in compared.items() if is_same and o < min(differing, default=end)
        ]
        if equal and not same:
            found = max(equal) + 1
        same += len(equal)
        end = span.first_offset
    return found


def _differing(compared: Comparison, *, is_end: bool) -> list[int]:
    """Return the offsets that are not as they were.

    A log is cut at its end. So what is lacking before a message that is the same was compacted, by
    a topic that is compacted no more.
    """
    end_of_equal = _end_of_equal(compared)
    return [
        offset
        for offset, is_same in compared.items()
        if is_same is False or (is_same is None and is_end and offset >= end_of_equal)
    ]


def _end_of_equal(compared: Comparison) -> int:
    return max((offset for offset, is_same in compared.items() if is_same), default=-1) + 1


class _Logs:
    """The log of each partition as Kafka has it now, and as ``raw_events`` kept it."""

    def __init__(self, settings: Settings, ledger: Ledger, *, is_brief: bool = False) -> None:
        self._settings = settings
        self._ledger = ledger
        self._warehouse = Warehouse(settings, ledger.source, 0)
        self._reader = Reader(settings, ledger.source, is_brief=is_brief)
        self._since: dict[int, int] = {}
        self._cuts: dict[int, list[tuple[int, int]]] = {}
        for row in ledger.run("incarnations_of_topic"):
            self._since[row["partition"]] = row["since"]
            self._cuts[row["partition"]] = list(zip(row["cuts"], row["starts"], strict=True))
        self._patience = 10 * settings.ingest_lease_seconds
        self._may_lack: bool | None = None

    def is_another(self, partition: int, low: int, end: int) -> bool:
        """Tell whether a partition's log before ``end`` is not the one that was read.

        A message that is the same proves all before it. Where there is none among the last offsets,
        the last one that was kept is looked for.
        """
        for length in (LAST, STEP):
            span = Range(partition, max(low, end - length), end)
            compared, unknown = self._look(span, self._kept(span))
            if _differing(compared, is_end=True) or self._was_read_without(span, unknown):
                return True
            if True in compared.values():
                return False
            if compared or unknown or span.first_offset == low:
                break
        last = self._last_kept(Range(partition, low, end))
        if last is None:
            return False
        return bool(_differing(self.compare(Range(partition, last, last + 1)), is_end=True))

    def compare(self, span: Range) -> Comparison:
        """Say of each offset that was kept whether Kafka has the same message there.

        Where ``raw_events`` has nothing left, verdicts tell the time that each message had. Of what
        Kafka has lost meanwhile, or can't read, nobody can tell.
        """
        kept = self._kept(span) or self._judged(span)
        return self._look(span, kept)[0] if kept else {}

    def _look(self, span: Range, kept: _Messages) -> tuple[Comparison, list[int]]:
        """Compare a range; list the offsets behind what is the same where Kafka alone has one."""
        until = time.monotonic() + self._patience
        try:
            found = _rows(self._reader.read([span], lambda: time.monotonic() > until))
        except (OffsetGoneError, UnreadableError):
            return {}, []
        compared: dict[int, bool | None] = {
            offset: row[: len(kept[offset])] == kept[offset]
            for offset, row in found.items()
            if offset in kept
        }
        lacking = kept.keys() - found.keys()
        if lacking and not self._is_compacted():
            compared |= dict.fromkeys(lacking)
        end_of_equal = _end_of_equal(compared)
        return compared, sorted(o for o in found.keys() - kept.keys() if o >= end_of_equal)

    def _was_read_without(self, span: Range, offsets: Collection[int]) -> bool:
        """Tell whether there was no message at one of ``offsets`` when it was read.

        So it was if its micro-batch is loaded, and ``raw_events`` holds as many messages as that
        had; but for what an erasure took, and what an incident says was lost. In this order: a
        micro-batch may be completed, and a message erased, meanwhile.
        """
        if not offsets:
            return False
        claims = self._ledger.run(
            "readings",
            partition=span.partition,
            offsets=list(offsets),
            since=self._since.get(span.partition, 0),
            days=min(self._settings.raw_retention_days, self._settings.events_retention_days),
        )
        if not claims:
            return False
        counts = reconcile.count_batches(
            self._warehouse,
            sorted({claim["batch_id"] for claim in claims}),
            min(claim["claimed_at"] for claim in claims),
        )
        kept = self._kept(span).keys()
        erased = {offset for (offset,) in self._query("erased_offsets", span).result_rows}
        nothing = RowCounts(0, 0, 0)
        return any(
            counts.get(claim["batch_id"], nothing).raw == claim["message_count"]
            for claim in claims
            if claim["offset"] not in kept and claim["offset"] not in erased
        )

    def _is_compacted(self) -> bool:
        if self._may_lack is None:
            self._may_lack = topics.is_compacted(self._settings, self._ledger.source.topic)
        return self._may_lack

    def _last_kept(self, span: Range) -> int | None:
        rows = self._query("last_kept", span).result_rows
        return int(rows[0][0]) if rows else None

    def _kept(self, span: Range) -> _Messages:
        return self._messages("log_as_read", span)

    def _judged(self, span: Range) -> _Messages:
        return self._messages("log_as_judged", span, target=self._warehouse.source.target_table)

    def _messages(self, name: str, span: Range, **names: str) -> _Messages:
        table = self._warehouse.client().query_arrow(
            sql.render(f"clickhouse/ingest/{name}.sql", **names),
            parameters=self._bound(span),
            settings={"output_format_arrow_string_as_string": 0},
        )
        return _rows(table.cast(pa.schema([MESSAGES.field(name) for name in table.column_names])))

    def _query(self, name: str, span: Range) -> QueryResult:
        return self._warehouse.client().query(
            sql.render(f"clickhouse/ingest/{name}.sql"), parameters=self._bound(span)
        )

    def _bound(self, span: Range) -> dict[str, Any]:
        source = self._warehouse.source
        cuts = self._cuts.get(span.partition, [])
        return {
            "source_id": source.source_id,
            "topic": source.topic,
            "partition": span.partition,
            "since": self._since.get(span.partition, 0),
            "cuts": [incarnation for incarnation, _ in cuts],
            "starts": [start for _, start in cuts],
            "first": span.first_offset,
            "next": span.next_offset,
        }

    def close(self) -> None:
        """Leave Kafka and ClickHouse."""
        self._warehouse.close()
        self._reader.close()


def _rows(messages: pa.Table) -> _Messages:
    # What Kafka has as no key or no value was kept as an empty one.
    columns = [messages[name].to_pylist() for name in messages.column_names if name in _COMPARED]
    return {
        offset: (moment, *(field or b"" for field in fields))
        for offset, moment, *fields in zip(messages["offset"].to_pylist(), *columns, strict=True)
    }
