"""Kafka's side of a worker: messages of its partitions, in batches or by exact ranges."""

from __future__ import annotations

import gc
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from millrace.contract.sources import Source
from millrace.ingest.arrow import MESSAGES
from millrace.ingest.model import PlanOutdatedError, Range
from millrace.settings import Settings
from millrace.stores import headers, kafka
from millrace.stores.librdkafka import HeaderReader

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 0.05
PAUSE_SECONDS = 0.02
CHUNK_ROWS = 50_000
"""Messages taken from the client at a time."""
READ_ROWS = 10_000
READ_WAIT_SECONDS = 0.2
"""The same for exact ranges, and how long to wait where offsets in them have no message."""
SILENT_SECONDS = 5.0
"""When to give up exact ranges of which nothing comes. What comes is read, so runs can end it."""
LATEST_MS = int(datetime(2299, 12, 31, 23, 59, 59, 999_000, UTC).timestamp() * 1000)
"""The last moment that ClickHouse's ``DateTime64`` holds; Kafka holds any 64 bits."""

CONSUMER: dict[str, Any] = {
    "enable.partition.eof": True,  # tells when a range ends in control records, aborted messages…
    "queued.min.messages": 200_000,
    "queued.max.messages.kbytes": 131_072,
    "max.partition.fetch.bytes": 8 << 20,
    "fetch.max.bytes": 50 << 20,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 10,  # the default second would idle a worker whose queue was full
    "fetch.error.backoff.ms": 100,
    "reconnect.backoff.max.ms": 2_000,
    "topic.metadata.refresh.interval.ms": 30_000,
}
BRIEF: dict[str, Any] = {
    # A fetch of one partition is waited for before the next one's is sent.
    "fetch.wait.max.ms": 5,
    "queued.min.messages": 1,
    "max.partition.fetch.bytes": 1 << 20,
}
"""The same for a reader of single messages here and there."""
PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
"""Errors that the client recovers from by itself."""
UNREADABLE = frozenset(
    {KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._NOT_IMPLEMENTED}
)
"""Errors of a record batch that the client can't decode: damaged, or of an unknown codec."""

pa.array([], pa.binary())  # imports pandas: seconds that a worker's first messages would wait for


class OffsetGoneError(RuntimeError):
    """Kafka does not have the offset at which a partition should be read on."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition}: Kafka no longer has the offset to go on from")
        self.partition = partition


class UnreadableError(RuntimeError):
    """The record batch at which a partition should be read on can't be decoded.

    ``offset`` is where it begins, be that before the position.
    """

    def __init__(self, partition: int, offset: int, reason: str) -> None:
        super().__init__(f"partition {partition}: the batch at offset {offset}: {reason}")
        self.partition = partition
        self.offset = offset
        self.reason = reason


class Reader:
    """A consumer that is told its partitions and offsets, and gathers messages as Arrow.

    One that ``is_brief`` reads a few messages of each partition, rather than as fast as it can.
    """

    def __init__(self, settings: Settings, source: Source, *, is_brief: bool = False) -> None:
        self.source = source
        self.trouble = ""  # what the client last complained of, for the log
        config = {**CONSUMER, **(BRIEF if is_brief else {}), **source.config.get("consumer", {})}
        self._config = kafka.consumer_config(settings, source.group, **config)
        self._consumer = Consumer({**self._config, "error_cb": self._complain})
        self._header_reader: HeaderReader | None = None
        self._next: dict[int, int] = {}
        self._reached: dict[int, datetime] = {}
        self._gathered: list[tuple[int, pa.Table]] = []
        self._unreadable: dict[int, UnreadableError] = {}
        self._message_bytes = 1_000
        self.rows = 0
        self.bytes = 0

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()
        if self._header_reader is not None:
            self._header_reader.close()

    def seek(self, positions: Mapping[int, int]) -> None:
        """Read on from these offsets; what was gathered and not taken is forgotten."""
        self._forget()
        self._next = dict(positions)
        self._reached = {}
        self._unreadable = {}
        topic = self.source.topic
        self._consumer.assign([TopicPartition(topic, p, o) for p, o in positions.items()])

    def gather(
        self, max_rows: int, max_bytes: int, deadline: float, is_wanted: Callable[[], bool]
    ) -> bool:
        """Gather messages until a limit, or past ``deadline`` (``time.monotonic``) when wanted.

        A backlog is gathered beyond that: while the client hands over at once as much as is asked
        for, larger micro-batches cost less. Returns whether anything was gathered, be it only
        offsets without messages. Raises ``OffsetGoneError``, ``PlanOutdatedError``,
        ``KafkaException``, or ``UnreadableError`` once what came before the batch was taken.
        """
        self._raise_unreadable()
        start = dict(self._next)
        while self.rows < max_rows and self.bytes < max_bytes:
            wait = min(LONGEST_WAIT_SECONDS, max(0.0, deadline - time.monotonic()))
            room = min(max_rows - self.rows, (max_bytes - self.bytes) // self._message_bytes)
            count = max(1, min(room, CHUNK_ROWS))
            is_closing = is_wanted() and time.monotonic() >= deadline
            came = self._consume(count, 0.0 if is_closing else wait or PAUSE_SECONDS)
            if is_closing and came < count:
                break
        return self.rows > 0 or self._next != start

    def take(self) -> tuple[pa.Table, dict[int, int], dict[int, datetime]]:
        """Return the messages gathered, and per partition where it stands, as offset and time."""
        table = self._table()
        self._forget()
        return table, dict(self._next), dict(self._reached)

    def read(self, ranges: Sequence[Range], is_over: Callable[[], bool]) -> pa.Table:
        """Return the messages of exactly ``ranges``.

        Raises ``OffsetGoneError`` when Kafka lost the beginning of one, ``UnreadableError`` when
        one can't be decoded, ``TimeoutError`` once ``is_over`` says so and Kafka sends nothing.
        """
        ends = {r.partition: r.next_offset for r in ranges}
        self.seek({})
        for one in ranges:
            # One partition at a time: pausing those that are done throws away what the client has
            # fetched of the others, and a long backlog behind the ranges then starves them.
            self._next[one.partition] = one.first_offset
            place = TopicPartition(self.source.topic, one.partition, one.first_offset)
            self._consumer.assign([place])
            came_at = time.monotonic()
            while self._next[one.partition] < one.next_offset:
                if is_over() and time.monotonic() - came_at > SILENT_SECONDS:
                    trouble = self.trouble or "no error"
                    raise TimeoutError(f"Kafka did not deliver in time; {trouble}")
                # The client waits for as many as are asked for, so for no more than there can be.
                rest = one.next_offset - self._next[one.partition]
                if self._consume(min(rest, READ_ROWS), READ_WAIT_SECONDS):
                    came_at = time.monotonic()
                if found := self._unreadable.get(one.partition):
                    if found.offset < one.next_offset:
                        raise found
                    break  # the whole range came before it
        table = self._table()
        self._forget()
        end_of = np.zeros(max(ends) + 1, np.int64)
        for partition, end in ends.items():
            end_of[partition] = end
        inside = table["offset"].to_numpy() < end_of[table["partition"].to_numpy()]
        return table.filter(pa.array(inside))

    def probe(self, partition: int, offset: int, seconds: float) -> UnreadableError | None:
        """Return what keeps a partition from being read on at ``offset``; nothing if it can be.

        Raises ``TimeoutError`` when Kafka did not answer within ``seconds``.
        """
        self.seek({partition: offset})
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._consume(1, 0.1)
            if self._unreadable:
                return self._unreadable[partition]
            if self.rows or self._next[partition] > offset:  # the end is told, too
                return None
        raise TimeoutError(f"Kafka sent nothing of partition {partition} from offset {offset} on")

    def watermarks(self, partition: int) -> tuple[int, int]:
        """Ask Kafka for the first offset it has and the one after its last."""
        asked = TopicPartition(self.source.topic, partition)
        low, high = self._consumer.get_watermark_offsets(asked, timeout=TIMEOUT_SECONDS)
        return low, high

    def offset_since(self, partition: int, moment_ms: int) -> int:
        """Return the first offset whose timestamp is at or after ``moment_ms``, else the end."""
        asked = TopicPartition(self.source.topic, partition, moment_ms)
        found = self._consumer.offsets_for_times([asked], timeout=TIMEOUT_SECONDS)[0].offset
        return found if found >= 0 else self.watermarks(partition)[1]

    def ends(self) -> dict[int, int]:
        """Return where partitions end, as last heard; without those never heard of."""
        known = {}
        for partition in self._next:
            asked = TopicPartition(self.source.topic, partition)
            _, high = self._consumer.get_watermark_offsets(asked, cached=True)
            if high != OFFSET_INVALID:
                known[partition] = high
        return known

    def commit(self, positions: Mapping[int, int]) -> None:
        """Tell the consumer group where loading stands; lag tools read it, Millrace does not."""
        topic = self.source.topic
        self._consumer.commit(
            offsets=[TopicPartition(topic, p, o) for p, o in positions.items()], asynchronous=True
        )

    def _complain(self, error: KafkaError) -> None:
        self.trouble = error.str()

    def _forget(self) -> None:
        self._gathered = []
        self.rows = self.bytes = 0

    def _consume(self, count: int, wait: float) -> int:
        """Take up to ``count`` messages and events from the client; return how many came."""
        with collector_paused():
            messages = self._consumer.consume(count, timeout=wait)
            if messages:
                self._absorb(messages)
            return len(messages)

    def _absorb(self, messages: list[Message]) -> None:
        # One pass of C per column: five calls of Python a message would cost more than Kafka.
        if self._unreadable or any(map(Message.error, messages)):
            messages = self._without_errors(messages)
            if not messages:
                return
        count = len(messages)
        partitions = np.fromiter(map(Message.partition, messages), np.uint32, count)
        if np.any(partitions[1:] < partitions[:-1]):
            order = np.argsort(partitions, kind="stable")
            partitions = partitions[order]
            messages = list(map(messages.__getitem__, order.tolist()))
        offsets = np.fromiter(map(Message.offset, messages), np.uint64, count)
        times = np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, count)
        np.clip(times, 0, LATEST_MS, out=times)  # a producer may write any number
        table = pa.Table.from_arrays(
            [
                pa.array(partitions),
                pa.array(offsets),
                pa.array(times).cast(MESSAGES.field("kafka_timestamp").type),
                pa.array(list(map(Message.key, messages)), pa.binary()),
                pa.array(list(map(Message.value, messages)), pa.binary()),
                self._headers(messages, partitions, offsets),
            ],
            schema=MESSAGES,
        )
        first = 0
        for last in np.flatnonzero(np.append(partitions[1:] != partitions[:-1], True)).tolist():
            partition = int(partitions[last])
            self._gathered.append((partition, table.slice(first, last + 1 - first)))
            self._next[partition] = max(self._next[partition], int(offsets[last]) + 1)
            if times[last] > 0:  # nobody has read beyond now, whatever a producer's clock says
                moment = datetime.fromtimestamp(int(times[last]) / 1000, UTC)
                self._reached[partition] = min(moment, datetime.now(UTC))
            first = last + 1
        size = table["value"].nbytes
        self._message_bytes = max(1, size // count)
        self.rows += count
        self.bytes += size

    def _headers(
        self, messages: list[Message], partitions: np.ndarray, offsets: np.ndarray
    ) -> pa.Array:
        """Return each message's headers in the form that is kept."""
        found: list[Any] = []
        unread: defaultdict[int, dict[int, int]] = defaultdict(dict)
        answers = map(Message.headers, messages)
        while len(found) < len(messages):
            try:
                found.extend(answers)
            # The client raises SystemError where a name is not UTF-8. Whatever it raises is that
            # message's, and the iterator goes on behind it.
            except Exception:  # noqa: BLE001
                row = len(found)
                unread[int(partitions[row])][int(offsets[row])] = row
                found.append(None)
        if not any(found) and not unread:
            return pa.repeat(pa.scalar(b"", pa.binary()), len(messages))
        kept = [
            headers.encode([(name.encode(), value) for name, value in pairs]) if pairs else b""
            for pairs in found
        ]
        for partition, rows in unread.items():
            again = self._read_headers(partition, list(rows))
            for offset, row in rows.items():
                kept[row] = again[offset]
        return pa.array(kept, pa.binary())

    def _read_headers(self, partition: int, offsets: Sequence[int]) -> dict[int, bytes]:
        """Return the headers that the client can't read, by offset; a mark for those now gone."""
        log.warning(
            "partition %d: %d messages from offset %d on have headers whose names are not UTF-8",
            partition,
            len(offsets),
            offsets[0],
        )
        if self._header_reader is None:
            self._header_reader = HeaderReader(self._config)
        found = self._header_reader.read(self.source.topic, partition, offsets, TIMEOUT_SECONDS)
        mark = [(headers.UNREADABLE.encode(), b"Kafka removed the message before they were read")]
        return {offset: headers.encode(found.get(offset, mark)) for offset in offsets}

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        good = []
        for message in messages:
            error, partition = message.error(), message.partition()
            if partition in self._unreadable:
                continue  # the client goes on behind some of them
            if error is None:
                good.append(message)
                continue
            code = error.code()
            if code == KafkaError._PARTITION_EOF:
                # Reached past control records, aborted messages and whatever compaction took.
                self._next[partition] = max(self._next[partition], message.offset())
            elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                raise OffsetGoneError(partition)
            elif code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
                raise PlanOutdatedError(f"topic {self.source.topic}: {error.str()}")
            elif code in UNREADABLE:
                self._unreadable[partition] = UnreadableError(
                    partition, message.offset(), error.str()
                )
            elif code in PASSING or error.retriable():
                self.trouble = error.str()
            else:
                raise KafkaException(error)
        return good

    def _raise_unreadable(self) -> None:
        for unreadable in self._unreadable.values():
            raise unreadable

    def _table(self) -> pa.Table:
        """Return what was gathered in the order of partition and offset, as ``raw_events`` is."""
        if not self._gathered:
            return MESSAGES.empty_table()
        return pa.concat_tables([piece for _, piece in sorted(self._gathered, key=itemgetter(0))])


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python's cyclic garbage collector from walking through messages, which hold no cycles.

    Their number would start it again and again, at half the cost of reading them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
