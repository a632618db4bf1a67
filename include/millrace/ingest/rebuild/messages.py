"""Where the messages of a day come from: ``raw_events``, the raw archive, Kafka.

While ``raw_events`` holds all of a day it is read where it is. Otherwise the day is put together in
a table of its own: what ``raw_events`` still has, then what the archive's files of those hours add,
then what Kafka still has of the rest. What the ledger and the verdicts say was loaded must then be
there; if not, ``RebuildError`` names what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.rows import DictRow

from millrace.contract import sources
from millrace.contract.sources import Source
from millrace.ingest import topics
from millrace.ingest.arrow import arrow_stream
from millrace.ingest.model import Range
from millrace.ingest.reader import Reader
from millrace.ingest.rebuild.session import RebuildError, Session
from millrace.ingest.warehouse import moment
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

log = logging.getLogger(__name__)

CHUNK = 250_000
"""Offsets taken from Kafka at a time; bounds the memory."""

NEARBY = 10_000
"""Spans with no more offsets than that between them are read as one."""

SPANS_NAMED = 8


@dataclass(frozen=True, order=True)
class Span:
    """A run of offsets of a partition, of which some messages are missing."""

    source_id: str
    topic: str
    incarnation: int
    partition: int
    first_offset: int
    next_offset: int
    messages: int = 0

    def __str__(self) -> str:
        again = f", incarnation {self.incarnation}" if self.incarnation else ""
        count = f" ({self.messages:,} messages)" if self.messages else ""
        return (
            f"{self.topic} partition {self.partition}{again} offsets {self.first_offset} to "
            f"{self.next_offset - 1}{count}"
        )


class Messages:
    """Finds the messages of a day; ``find`` leaves the name of their table in the session."""

    def __init__(
        self,
        settings: Settings,
        connection: psycopg.Connection[DictRow],
        session: Session,
        day: date,
    ) -> None:
        self.settings, self.connection, self.session, self.day = settings, connection, session, day

    def find(self) -> dict[str, int]:
        """Settle the messages' table, and return how many messages came from which source.

        Returns nothing when all of them are in ``raw_events``.
        """
        lacking = self._lacking_days()
        if not lacking:
            return {}
        session = self.session
        session.command(f"CREATE TABLE {session.gathered} AS raw_events")
        # What the retention of raw_events has dropped must not be dropped here as well.
        if session.number(sql.render("clickhouse/rebuild/has_ttl.sql", table=session.gathered)):
            session.command(f"ALTER TABLE {session.gathered} REMOVE TTL")
        session.messages = session.gathered
        session.run("from_raw")
        found = {"raw_events": self._gathered()}
        self._read_archive(lacking)
        found["the raw archive"] = self._gathered() - sum(found.values())
        missing = self._missing()
        if missing or not self._arrived():  # the ledger may have forgotten the day
            self._read_kafka(missing)
            found["Kafka"] = self._gathered() - sum(found.values())
            missing = self._missing()
        if missing:
            raise RebuildError(self._complaint(missing))
        log.info("%s: gathered %s", self.day, found)
        return {source: count for source, count in found.items() if count}

    def _lacking_days(self) -> list[date]:
        """Return the days of arrival of which ``raw_events`` lacks messages."""
        rows = self.session.rows("expected")
        lacking = {day for day, verdicts, held in rows if held < verdicts}
        if self._arrived() > self.session.number(self.session.render("kept")[0]):
            lacking.add(self.day)
        if not any(held for _, _, held in rows):
            lacking.add(self.day)  # nothing is left to tell what there was
        return sorted(lacking)

    def _arrived(self) -> int:
        """Return how many messages of the day the ledger has as loaded."""
        return sum(row["messages"] for row in self._ledger("arrived"))

    def _gathered(self) -> int:
        return self.session.count(self.session.gathered)

    def _read_archive(self, days: Sequence[date]) -> None:
        windows = self._ledger("archived_windows", days=list(days))
        if not windows:
            return
        collection = clickhouse.object_collection(self.settings)
        for window in windows:
            self.session.run(
                "from_archive",
                collection=collection,
                prefix=window["prefix"],
                window_start=moment(window["window_start"]),
                window_end=moment(window["window_end"]),
            )

    def _missing(self) -> list[Span]:
        """Return what was loaded and is not gathered, as the ledger and the verdicts tell."""
        gathered = dict(self.session.rows("gathered_batches"))
        short = [
            row["batch_id"]
            for row in self._ledger("arrived_batches")
            if gathered.get(row["batch_id"], 0) < row["messages"]
        ]
        spans = [
            Span(row["source_id"], *(row[name] for name in _PLACE))
            for row in self._ledger("ranges", batches=short)
        ]
        for source_id, partition in self.session.rows("judged_partitions"):
            rows = self.session.rows("missing", source_id=source_id, partition=partition)
            spans += [Span(*row) for row in rows]
        return sorted(set(spans))

    def _read_kafka(self, missing: Sequence[Span]) -> None:
        """Take from Kafka what it got on the day, and whatever else is missing."""
        by_id = {source.source_id: source for source in sources.active(self.connection)}
        for source_id in self.session.bound["sources"]:
            source = by_id[source_id]
            topic = topics.describe(self.settings, source.topic)
            positions = [
                row
                for row in self._ledger("positions", source_id=source_id, topic=source.topic)
                if topic is not None and row["topic_id"] == topic.topic_id
            ]
            reader = Reader(self.settings, source)
            try:
                for row in positions:
                    self._read_partition(reader, row, missing)
            finally:
                reader.close()

    def _read_partition(self, reader: Reader, position: DictRow, missing: Sequence[Span]) -> None:
        partition, source = position["partition"], reader.source
        low, high = reader.watermarks(partition)
        wanted = [
            (span.first_offset, span.next_offset)
            for span in missing
            if (span.source_id, span.topic, span.incarnation, span.partition)
            == (source.source_id, source.topic, position["topic_incarnation"], partition)
        ]
        start = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        of_day = [
            reader.offset_since(partition, int(edge.timestamp() * 1000))
            for edge in (start, start + timedelta(days=1))
        ]
        end = min(high, position["next_offset"])
        for first, last in merged([*wanted, (of_day[0], of_day[1])]):
            for begin in range(max(first, low), min(last, end), CHUNK):
                span = Range(partition, begin, min(begin + CHUNK, last, end))
                self._take(reader, source, position["topic_incarnation"], span)

    def _take(self, reader: Reader, source: Source, incarnation: int, span: Range) -> None:
        """Read a range and add what is not there yet, under the micro-batches it came in."""
        session, client = self.session, self.session.client
        place = {
            "source_id": source.source_id,
            "topic": source.topic,
            "incarnation": incarnation,
            "partition": span.partition,
            "first": span.first_offset,
            "next": span.next_offset,
        }
        ((gathered,),) = session.rows("gathered_offsets", **place)
        if gathered == len(span):
            return
        fetched = reader.read([span], lambda: False)
        claims = pa.Table.from_pylist(self._ledger("claims", **place), schema=_CLAIMS)
        for table, rows in (("fetched", fetched), ("claims", claims)):
            session.command(f"TRUNCATE TABLE {table}")
            if rows.num_rows:
                client.raw_insert(table, rows.column_names, arrow_stream(rows), fmt="ArrowStream")
        session.run("claims_of_verdicts", **place)
        session.run("from_kafka", **place)

    def _complaint(self, missing: Sequence[Span]) -> str:
        named = "; ".join(map(str, missing[:SPANS_NAMED]))
        more = len(missing) - SPANS_NAMED
        return (
            f"{self.day} can't be rebuilt and stays as it is: neither raw_events nor the raw "
            f"archive nor Kafka has all messages of {named}"
            f"{f' and {more} more ranges' if more > 0 else ''}. Restore raw_events or the "
            "archive's files of that day from a backup (docs/backups.md), then clear this task"
        )

    def _ledger(self, name: str, **values: Any) -> list[DictRow]:
        return self.connection.execute(
            sql.render(f"postgres/rebuild/{name}.sql"), {**self.session.bound, **values}
        ).fetchall()


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, those near one another as one; empty ones are left out."""
    result: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[0] < span[1]):
        if result and first <= result[-1][1] + NEARBY:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


_PLACE = ("topic", "topic_incarnation", "partition", "first_offset", "next_offset")
_CLAIMS = pa.schema(
    [
        ("partition", pa.uint32()),
        ("first_offset", pa.uint64()),
        ("next_offset", pa.uint64()),
        ("batch_id", pa.uint64()),
        ("claimed_at", pa.timestamp("ms", tz="UTC")),
    ]
)
