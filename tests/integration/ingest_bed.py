"""A test bed for ingest: a topic and source of its own on the session's stack."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from millrace.ingest import topics
from millrace.ingest.ledger import Ledger
from millrace.ingest.plan import plan
from millrace.ingest.worker import Share, Worker
from millrace.lab import topics as lab_topics
from millrace.rules import gate, store
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka, postgres


class Killed(BaseException):
    """Stands for kill -9: no handler in the loader catches it."""


@contextmanager
def killed_at(owner: type, step: str, *, after: bool) -> Iterator[None]:
    """Kill the worker that the block runs, before or after a step; it hands nothing over either."""
    original = getattr(owner, step)

    def die(self: Any, *args: Any, **options: Any) -> Any:
        if after:
            original(self, *args, **options)
        raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, step, die)
        patched.setattr(Ledger, "release", lambda self: None)
        with pytest.raises(Killed):
            yield


class Bed:
    """One source with its own topic; sends, loads and counts."""

    def __init__(self, settings: Settings, partitions: int = 4) -> None:
        self.name = f"bed_{uuid.uuid4().hex[:8]}"
        self.settings = settings
        self._sender = self.producer()  # gets its id while the rest is made
        kafka.ensure_topic(settings, self.name, partitions=partitions)
        with postgres.connect(settings) as connection:
            store.seed(connection, settings)
            # Sources of other tests are not this one's business.
            connection.execute("UPDATE data_sources SET is_active = false")
            connection.execute(
                "INSERT INTO data_sources (source_id, description, topic, dead_letter_topic) "
                "VALUES (%s, 'a test''s own', %s, 'events.dead_letter')",
                [self.name, self.name],
            )
            gate.compile_all(connection, settings)
        self.runs = 0

    def shares(self) -> list[Share]:
        """Plan a new run."""
        self.runs += 1
        return [Share.from_dict(values) for values in plan(self.settings, self.run_id)]

    @property
    def run_id(self) -> str:
        """Names the current run in the ledger."""
        return f"{self.name}-{self.runs}"

    def load(self) -> int:
        """Plan and load one run, share after share, until nothing is left; return messages."""
        return sum(self.drain(share) for share in self.shares())

    def drain(self, share: Share, attempt: int = 1) -> int:
        """Load a share until the end that its partitions have now."""
        worker = DrainingWorker(self.settings, share, self.run_id, attempt)
        return worker.run(60).messages

    def kill_at(self, owner: type, step: str, *, after: bool) -> list[Share]:
        """Plan a run whose workers are killed before or after a step; return its shares."""
        shares = self.shares()
        for share in shares:
            with killed_at(owner, step, after=after):
                self.drain(share)
        return shares

    def send(self, values: Iterable[bytes | dict[str, Any] | None], **options: Any) -> None:
        """Send messages, whose key is the event's user; a dictionary is sent as JSON."""
        producer = options.pop("producer", self._sender)
        for value in values:
            key = str(value.get("user_id")) if isinstance(value, dict) else "none"
            body = json.dumps(value).encode() if isinstance(value, dict) else value
            producer.produce(self.name, body, key=key.encode(), **options)
        producer.flush()

    def producer(self, **overrides: object) -> Producer:
        """A producer of the project's own making, soon and silently there again after its broker.

        Each waits for half a second, librdkafka's pause, before it has its id and can send.
        """
        quiet = {"reconnect.backoff.max.ms": 200, "log_level": 2}
        return kafka.producer(self.settings, **quiet, **overrides)

    def delete_topic(self) -> None:
        """Delete the topic with all that is in it."""
        lab_topics.delete(self.settings, self.name)
        self._sender = self.producer()  # the other counts on from what the topic had

    def recreate_topic(self, partitions: int) -> None:
        """Delete the topic with all that is in it, and make it again."""
        self.delete_topic()
        assert kafka.ensure_topic(self.settings, self.name, partitions=partitions)
        made = topics.describe(self.settings, self.name)
        assert made is not None
        assert len(made.partitions) == partitions

    def ends(self) -> dict[int, int]:
        """Return where each partition ends now."""
        made = topics.describe(self.settings, self.name)
        assert made is not None
        found = topics.offsets(self.settings, self.name, made.partitions)
        return {partition: end for partition, (_, end) in found.items()}

    def set_topic(self, **config: str) -> None:
        """Change settings of the topic; their names' dots are written as underscores."""
        entries = [ConfigEntry(name.replace("_", "."), value) for name, value in config.items()]
        for entry in entries:
            entry.incremental_operation = AlterConfigOpType.SET
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.name, incremental_configs=entries)
        admin = kafka.admin(self.settings)  # lives until the answer is there
        admin.incremental_alter_configs([resource])[resource].result(30)

    def delete_before(self, offsets: Mapping[int, int]) -> None:
        """Have Kafka delete what lies before an offset of each partition, as retention does."""
        places = [TopicPartition(self.name, p, offset) for p, offset in offsets.items() if offset]
        admin = kafka.admin(self.settings)  # lives until the answer is there
        for future in admin.delete_records(places).values():
            future.result(30)

    @contextmanager
    def rollup(self) -> Iterator[None]:
        """Have a view count the source's events by user, so that it can be told from its table."""
        self.query(
            f"CREATE TABLE rollup_{self.name} (user_id UInt64, events UInt64) "
            "ENGINE = SummingMergeTree ORDER BY user_id "
            "SETTINGS non_replicated_deduplication_window = 1000"
        )
        self.query(
            f"CREATE MATERIALIZED VIEW view_{self.name} TO rollup_{self.name} AS SELECT user_id, "
            "count() AS events FROM events WHERE source_id = {source} GROUP BY user_id"
        )
        yield
        self.query(f"DROP TABLE view_{self.name}")

    def assert_rolled_up(self, events: int) -> None:
        """The view of ``rollup`` has counted so many events."""
        assert self.query(f"SELECT sum(events) FROM rollup_{self.name}") == [(events,)]

    def count(self, table: str) -> int:
        """Rows of this source."""
        ((rows,),) = self.query(f"SELECT count() FROM {table} WHERE source_id = {{source}}")
        return int(rows)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask ClickHouse; ``{source}`` in the statement is this bed's source."""
        client = clickhouse.connect(self.settings)
        try:
            rows = client.query(statement.replace("{source}", f"'{self.name}'")).result_rows
            return [tuple(row) for row in rows]
        finally:
            client.close()

    def delete(self, table: str, condition: str) -> None:
        """Delete rows; only partitions that have some are touched, the others belong to others."""
        rows = f"WHERE {condition}"
        for (partition,) in self.query(f"SELECT DISTINCT _partition_id FROM {table} {rows}"):
            self.query(
                f"ALTER TABLE {table} DELETE IN PARTITION ID '{partition}' {rows} "
                "SETTINGS mutations_sync = 1"
            )

    def ask(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Ask PostgreSQL."""
        with postgres.connect(self.settings) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def reasons(self) -> Counter[str]:
        """Rejected messages by reason."""
        rows = self.query(
            "SELECT reason, count() FROM rejected_events WHERE source_id = {source} GROUP BY reason"
        )
        return Counter({reason: int(n) for reason, n in rows})

    def incidents(self, kind: str) -> list[dict[str, Any]]:
        """What the ledger says a person must know."""
        return self.ask(
            "SELECT * FROM ingest_incidents WHERE source_id = %s AND kind = %s "
            "ORDER BY partition, first_offset",
            self.name,
            kind,
        )

    def assert_conserved_verdicts(self, messages: int, events: int) -> None:
        """Every message has exactly one verdict."""
        where = "WHERE source_id = {source}"
        place = "topic_incarnation, partition, offset"
        ((good, ids),) = self.query(f"SELECT count(), uniqExact(event_id) FROM events {where}")
        ((verdicts, verdict_places),) = self.query(
            f"SELECT count(), uniqExact({place}) FROM (SELECT {place} FROM events {where} "
            f"UNION ALL SELECT {place} FROM rejected_events {where})"
        )
        assert (good, ids) == (events, events)
        assert (verdicts, verdict_places) == (messages, messages)

    def assert_conserved(self, messages: int, events: int) -> None:
        """Every message is kept once, and has exactly one verdict; the ledger agrees."""
        self.assert_conserved_verdicts(messages, events)
        where = "WHERE source_id = {source}"
        place = "topic_incarnation, partition, offset"
        ((raw, raw_places),) = self.query(
            f"SELECT count(), uniqExact({place}) FROM raw_events {where}"
        )
        ((strays,),) = self.query(
            "SELECT count() FROM events e LEFT ANTI JOIN raw_events r USING "
            f"(source_id, {place}) WHERE source_id = {{source}}"
        )
        assert (raw, raw_places) == (messages, messages)
        assert strays == 0
        rows = self.ask(
            "SELECT count(*) FILTER (WHERE state = 'claimed') AS open, "
            "coalesce(sum(message_count), 0)::bigint AS messages, "
            "coalesce(sum(event_count), 0)::bigint AS events "
            "FROM ingest_batches WHERE source_id = %s",
            self.name,
        )
        assert rows == [{"open": 0, "messages": messages, "events": events}]


class DrainingWorker(Worker):
    """A worker whose run is over once its partitions are read to the end."""

    is_drained = False

    def __init__(self, settings: Settings, share: Share, run_id: str, attempt: int = 1) -> None:
        super().__init__(settings, share, run_id, attempt, on_step=self.look)

    def is_over(self) -> bool:
        """Tell whether the partitions are read to the end that they have now."""
        self.lease.check()
        return self.is_drained

    def look(self) -> None:
        """See whether they are."""
        ends = topics.offsets(self.settings, self.source.topic, self.partitions)
        self.is_drained = all(self.positions[p].next_offset >= end for p, (_, end) in ends.items())


def event(user_id: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a valid event with a new id."""
    return {
        "event_id": str(uuid.uuid4()),
        "event": "page_view",
        "timestamp": datetime.now(UTC).isoformat(),
        "user_id": user_id,
        "page": "/home",
        "country": "US",
        "device": "mobile",
        **fields,
    }


def messages(users: range) -> list[Any]:
    """Valid events of two days, copies of a quarter of them, and garbage."""
    days = [(datetime.now(UTC) - timedelta(days=n)).isoformat() for n in (0, 1)]
    good = [event(u, timestamp=days[u % 2]) for u in users]
    return [*good, *good[: len(good) // 4], *[b"garbage"] * (len(good) // 10)]
