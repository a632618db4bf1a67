"""Loading: what goes in comes out once, with a verdict, whatever it looks like."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import TopicPartition
from tests.integration.ingest_bed import Bed, event

from millrace.contract import sources
from millrace.ingest import topics, warehouse
from millrace.ingest.arrow import MESSAGES, arrow_stream
from millrace.ingest.model import Batch, Range
from millrace.settings import Settings
from millrace.stores import kafka, postgres


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


def test_good_bad_and_repeated_messages_each_get_one_verdict(bed: Bed) -> None:
    good = [event(user) for user in range(1, 301)]
    bad = [b"", None, b"not json", b"[1]", b"\xff\xfe", {"event": "page_view"}]
    bed.send([*good[:200], *bad, *good[:50], *good[200:]])

    assert bed.load() == 356

    bed.assert_conserved(messages=356, events=300)
    reasons = bed.reasons()
    assert reasons["duplicate_event_id"] == 50
    assert reasons["empty_message"] == 2
    assert sum(reasons.values()) == 56


def test_a_copy_is_caught_in_a_later_batch_and_another_partition(bed: Bed) -> None:
    first = event(1)
    bed.send([first])
    bed.load()
    bed.send([first | {"user_id": user} for user in range(1, 41)])
    bed.load()

    bed.assert_conserved(messages=41, events=1)
    ((detail,),) = bed.query(
        "SELECT DISTINCT detail FROM rejected_events WHERE source_id = {source}"
    )
    ((partition,),) = bed.query("SELECT partition FROM events WHERE source_id = {source}")
    assert detail == f"the first copy is at partition {partition} offset 0"


def test_the_same_id_may_be_used_after_a_rejection(bed: Bed) -> None:
    wanted = event(7)
    bed.send([wanted | {"event": ""}, wanted])
    bed.load()
    bed.assert_conserved(messages=2, events=1)


def test_headers_are_kept(bed: Bed) -> None:
    bed.send([b"bad"], headers=[("trace", b"\x00\x01"), ("none", None)])
    bed.send([b"bad"])
    bed.load()
    rows = bed.query("SELECT headers FROM rejected_events WHERE source_id = {source} ORDER BY 1")
    assert rows == [("",), ('[["trace","AAE="],["none",null]]',)]


def test_a_history_of_many_days_arrives_at_once(bed: Bed) -> None:
    now = datetime.now(UTC)
    bed.send(event(1, timestamp=(now - timedelta(hours=8 * n)).isoformat()) for n in range(240))
    bed.load()
    bed.assert_conserved(messages=240, events=240)


def test_a_missing_country_comes_from_the_profile(bed: Bed) -> None:
    user = uuid.uuid4().int % 10**9 + 10**9
    with postgres.connect(bed.settings) as connection:
        connection.execute("INSERT INTO user_profiles (user_id, country) VALUES (%s, 'FR')", [user])
    shares = bed.shares()  # which makes the dictionary
    bed.query("SYSTEM RELOAD DICTIONARY user_profiles")
    known, unknown = event(user), event(user + 1)
    del known["country"], unknown["country"]
    bed.send([known, unknown, event(user, country="DE")])
    for share in shares:  # another plan would wait until this one's lease has ended
        bed.drain(share)
    rows = bed.query("SELECT country FROM events WHERE source_id = {source} ORDER BY country")
    assert rows == [("",), ("DE",), ("FR",)]


def test_transactions_leave_only_what_was_committed(bed: Bed) -> None:
    producer = bed.producer(**{"transactional.id": bed.name})
    producer.init_transactions()
    producer.begin_transaction()
    bed.send([event(u) for u in range(1, 21)], producer=producer)
    producer.commit_transaction()
    producer.begin_transaction()
    bed.send([event(u) for u in range(1, 31)], producer=producer)
    producer.abort_transaction()

    bed.load()

    bed.assert_conserved(messages=20, events=20)
    ends = topics.offsets(bed.settings, bed.name, range(4))
    stands = bed.ask(
        "SELECT partition, next_offset FROM ingest_positions WHERE source_id = %s", bed.name
    )
    assert {r["partition"]: r["next_offset"] for r in stands} == {
        p: high for p, (_, high) in ends.items()
    }


def test_messages_at_which_the_gate_fails_are_rejected_alone(bed: Bed) -> None:
    good = [event(user) for user in range(1, 101)]
    poison = [event(user, page="/poison") for user in (3, 50)]
    with postgres.connect(bed.settings) as connection:
        connection.execute(
            "UPDATE gates SET statement = statement || %s WHERE source_id = %s",
            ["\nWHERE NOT throwIf(page = '/poison', 'can''t be computed')", bed.name],
        )
    bed.send([*good[:60], *poison, *good[60:]])

    assert bed.load() == 102

    bed.assert_conserved(messages=102, events=100)
    rows = bed.query(
        "SELECT reason, rule, count(), countIf(detail LIKE '%can''t be computed%'), "
        "countIf(value LIKE '%/poison%') FROM rejected_events WHERE source_id = {source} "
        "GROUP BY ALL"
    )
    assert rows == [("unprocessable", "gate", 2, 2, 2)]


@pytest.mark.parametrize("arrived", [0, 1])
def test_messages_that_are_lost_on_the_wire_are_missed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, arrived: int
) -> None:
    """Also where none arrives, and the gate has no row of which it could be asked."""
    with postgres.connect(bed.settings) as connection:
        source = sources.find(connection, bed.name)
    assert source is not None
    ((gate,),) = [
        row.values()
        for row in bed.ask("SELECT statement FROM gates WHERE source_id = %s", bed.name)
    ]
    now = datetime.now(UTC)
    sent = pa.Table.from_pylist(
        [
            {"partition": 0, "offset": n, "kafka_timestamp": now, **dict.fromkeys(_TEXTS, b"")}
            for n in range(2)
        ],
        schema=MESSAGES,
    )
    batch = Batch(1, 1, 0, 1, now, 0, (Range(0, 0, 2),))
    session = warehouse.Warehouse(bed.settings, source, 0)
    monkeypatch.setattr(warehouse, "arrow_stream", lambda some: arrow_stream(some[:arrived]))
    with pytest.raises(ClickHouseError, match="incoming is not as sent"):
        session.stage(batch, gate, sent)
    session.close()


_TEXTS = ("key", "value", "headers")


def test_the_consumer_group_shows_the_lag(bed: Bed) -> None:
    bed.send(event(u) for u in range(1, 101))
    bed.load()
    asked = [TopicPartition(bed.name, p) for p in range(4)]
    consumer = kafka.consumer(bed.settings, f"millrace.{bed.name}")
    committed = {p.partition: p.offset for p in consumer.committed(asked, timeout=10)}
    consumer.close()
    ends = topics.offsets(bed.settings, bed.name, range(4))
    assert committed == {p: high for p, (_, high) in ends.items()}


def test_batches_close_by_rows_and_by_bytes(bed: Bed) -> None:
    small = bed.settings.model_copy(update={"ingest_batch_rows": 100, "ingest_tasks": 1})
    bed.settings = small
    bed.send(event(u) for u in range(1, 1001))
    bed.load()
    rows = bed.ask("SELECT message_count FROM ingest_batches WHERE source_id = %s", bed.name)
    assert len(rows) >= 10
    assert max(r["message_count"] for r in rows) <= 100
    bed.assert_conserved(messages=1000, events=1000)


def test_several_tasks_share_the_partitions(bed: Bed) -> None:
    bed.send(event(u) for u in range(1, 401))
    shares = bed.shares()
    assert sorted(p for share in shares for p in share.partitions) == [0, 1, 2, 3]
    assert len(shares) == bed.settings.ingest_tasks
    for share in shares:
        bed.drain(share)
    bed.assert_conserved(messages=400, events=400)
