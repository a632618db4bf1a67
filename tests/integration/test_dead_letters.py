"""The dead-letter relay on real servers: exactly once across crashes, bytes as they came."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import pytest
from confluent_kafka import Message, TopicPartition
from tests.helpers import wait
from tests.helpers.dying_producer import CrashError, dying

from millrace.rules import dead_letters, gate, store
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka, postgres, transactions
from millrace.stores import headers as kept


@dataclass
class Source:
    """A source of its own, with judged messages that no loader had to write."""

    settings: Settings
    connection: psycopg.Connection
    source_id: str
    topic: str

    def judge(
        self,
        first: int,
        following: int,
        values: dict[int, bytes],
        headers: str = '[["h", "AAE="]]',
    ) -> None:
        """Record offsets as judged, those in ``values`` as rejected."""
        client = clickhouse.connect(self.settings)
        said = ["malformed_json", ["malformed_json||contract"], 1, datetime.now(UTC)]
        origin = [self.source_id, self.topic, 0]
        names = (
            "source_id topic partition offset key value headers "
            "reason failures batch_id rejected_at"
        )
        client.insert(
            "rejected_events",
            [[*origin, offset, b"k", value, headers, *said] for offset, value in values.items()],
            column_names=names.split(),
        )
        client.close()
        self.connection.execute(
            "INSERT INTO ingest_positions (source_id, topic, partition, topic_id, next_offset) "
            "VALUES (%s, %s, 0, 'x', %s) ON CONFLICT (source_id, topic, partition) "
            "DO UPDATE SET next_offset = excluded.next_offset",
            [self.source_id, self.topic, following],
        )

    def dead_letters(self) -> list[Message]:
        """Return every committed message of the source's dead-letter topic."""
        reader = kafka.consumer(self.settings, "test", **{"enable.partition.eof": True})
        topic = f"{self.topic}.dead"
        place = TopicPartition(topic, 0)
        wait.until(lambda: reader.get_watermark_offsets(place, timeout=30)[1] > 0)
        low, high = reader.get_watermark_offsets(place, timeout=30)
        reader.assign([TopicPartition(topic, 0, low)])
        found: list[Message] = []
        while high > low:
            message = reader.poll(30)
            assert message is not None
            if not message.error():
                found.append(message)
            # A commit returns before its marker is in the log: until then the log seems to end
            # where the transaction began.
            elif message.offset() >= high:
                break
        reader.close()
        return found


@pytest.fixture
def source(settings: Settings) -> Iterator[Source]:
    name = f"relay_{uuid.uuid4().hex[:8]}"
    kafka.ensure_topic(settings, name, partitions=1)
    with postgres.connect(settings) as connection:
        store.seed(connection, settings)
        connection.execute(
            "INSERT INTO data_sources (source_id, description, topic, dead_letter_topic) "
            "VALUES (%s, 'test', %s, %s)",
            [name, name, f"{name}.dead"],
        )
        gate.compile_gate(connection, settings, name)
        yield Source(settings, connection, name, name)
        connection.execute("UPDATE data_sources SET is_active = false WHERE source_id = %s", [name])


def test_each_rejected_message_once_and_whole(source):
    values = {3: b"\xff\x00 broken", 5: b"", 6: b"x" * 300_000}
    source.judge(0, 7, values)
    assert dead_letters.relay(source.settings)[source.source_id] == 3
    assert dead_letters.relay(source.settings)[source.source_id] == 0
    source.judge(7, 9, {8: b"late"})
    assert dead_letters.relay(source.settings)[source.source_id] == 1
    messages = source.dead_letters()
    assert [m.value() or b"" for m in messages] == [*values.values(), b"late"]
    assert {m.key() for m in messages} == {b"k"}
    headers = dict(messages[0].headers())
    assert headers["h"] == b"\x00\x01"
    assert headers["x-millrace-reason"] == b"malformed_json"
    assert headers["x-millrace-failures"] == b'["malformed_json||contract"]'
    assert headers["x-millrace-topic"] == source.topic.encode()
    assert headers["x-millrace-offset"] == b"3"


def test_what_is_still_claimed_waits(source):
    source.judge(0, 10, {2: b"a", 7: b"b"})
    gate_id = gate.current_gate(source.connection, source.source_id).gate_id
    row = source.connection.execute(
        "INSERT INTO ingest_batches (source_id, gate_id, owner) VALUES (%s, %s, 't') "
        "RETURNING batch_id",
        [source.source_id, gate_id],
    ).fetchone()
    source.connection.execute(
        "INSERT INTO ingest_ranges (batch_id, source_id, topic, topic_incarnation, partition, "
        "first_offset, next_offset) VALUES (%s, %s, %s, 0, 0, 5, 10)",
        [row["batch_id"], source.source_id, source.topic],
    )
    assert dead_letters.relay(source.settings)[source.source_id] == 1
    source.connection.execute(
        "UPDATE ingest_batches SET state = 'loaded', loaded_at = now() WHERE batch_id = %s",
        [row["batch_id"]],
    )
    assert dead_letters.relay(source.settings)[source.source_id] == 1
    assert [m.value() for m in source.dead_letters()] == [b"a", b"b"]


def test_headers_of_any_bytes_or_none_go_along(source):
    odd = [(b"trace\xff", b"1"), (b"gone", None), (b"", b"")]
    source.judge(0, 1, {0: b"x"}, kept.encode(odd).decode())
    assert dead_letters.relay(source.settings)[source.source_id] == 1
    (message,) = source.dead_letters()
    headers = message.headers()
    assert headers[:3] == [("trace\ufffd", b"1"), ("gone", None), ("", b"")]
    assert dict(headers[3:])[kept.NAMES] == b'[["trace\\ufffd", "dHJhY2X/"]]'


def test_a_message_that_the_topic_refuses_holds_up_no_other(source):
    kafka.ensure_topic(
        source.settings, f"{source.topic}.dead", partitions=1, **{"max.message.bytes": "20000"}
    )
    # What zstd can't shrink, among others of the same transaction.
    large = random.Random(1).randbytes(200_000)
    source.judge(0, 9, {n: large if n in (0, 4, 5) else f"m{n}".encode() for n in range(9)})
    assert dead_letters.relay(source.settings)[source.source_id] == 6
    assert [m.value() for m in source.dead_letters()] == [b"m%d" % n for n in (1, 2, 3, 6, 7, 8)]
    told = source.connection.execute(
        "SELECT first_offset, detail FROM ingest_incidents "
        "WHERE source_id = %s AND kind = 'undeliverable' ORDER BY first_offset",
        [source.source_id],
    ).fetchall()
    assert [row["first_offset"] for row in told] == [0, 4, 5]
    assert all("too large" in row["detail"] for row in told)
    assert dead_letters.relay(source.settings)[source.source_id] == 0


def test_a_crash_before_the_commit_repeats_nothing(source, monkeypatch):
    monkeypatch.setattr(transactions, "TRANSACTION_MESSAGES", 4)
    source.judge(0, 10, {n: f"m{n}".encode() for n in range(10)})

    with dying(monkeypatch, last=7, is_sent=True), pytest.raises(CrashError):
        dead_letters.relay(source.settings)
    assert dead_letters.relay(source.settings)[source.source_id] == 6
    assert [m.value() for m in source.dead_letters()] == [f"m{n}".encode() for n in range(10)]
