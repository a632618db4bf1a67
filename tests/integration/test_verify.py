"""The oracle sees what was planted: a gap, a repetition, a message in the wrong place."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from confluent_kafka import KafkaException, TopicPartition

from millrace.lab.simulate import faults, send
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.verify import conservation, simulation
from millrace.lab.verify.log import Log
from millrace.lab.verify.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka, postgres

EVENT_COLUMNS = [
    "event_id", "event_time", "event_type", "user_id", "page", "country", "device", "received_at",
    "ingested_at", "source_id", "topic", "partition", "offset",
]  # fmt: skip
RAW_COLUMNS = [
    "source_id", "topic", "partition", "offset", "kafka_timestamp", "key", "value", "ingested_at",
]  # fmt: skip


class Scene:
    """A topic of its own with loaded events, put there by hand rather than by ingest."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topic = self.target = f"oracle_{uuid.uuid4().hex}"
        self.client = clickhouse.connect(settings)
        self.client.command(f"CREATE TABLE {self.target} AS events")
        plan = send.Plan(
            seed=1, rates=faults.rates({}, with_defaults=False), rate=0, duration=1, total=400
        )
        self.manifest = send.run(plan, settings, topic=self.topic)
        with postgres.connect(settings) as connection:
            connection.execute(
                "INSERT INTO data_sources (source_id, description, topic, dead_letter_topic, "
                "target_table, is_active) VALUES (%s, 'made by a test', %s, 'none', %s, false)",
                [self.topic, self.topic, self.target],
            )
            for partition, ranges in self.manifest.positions.items():
                connection.execute(
                    "INSERT INTO ingest_positions (source_id, topic, partition, topic_id, "
                    "next_offset) VALUES (%s, %s, %s, %s, %s)",
                    [self.topic, self.topic, partition, self.manifest.topic_id, ranges[-1][1]],
                )
        self.load(self.messages())

    def messages(self) -> list[tuple[int, int, bytes]]:
        """Everything in the topic, as (partition, offset, value)."""
        consumer = kafka.consumer(self.settings, "test", **{"enable.partition.eof": True})
        partitions = range(self.settings.topic_partitions)
        consumer.assign([TopicPartition(self.topic, partition, 0) for partition in partitions])
        found, ended = [], 0
        while ended < len(partitions):
            message = consumer.poll(30)
            assert message is not None
            if message.error() is not None:
                ended += 1
                continue
            found.append((message.partition() or 0, message.offset() or 0, message.value() or b""))
        consumer.close()
        return found

    def load(self, messages: list[tuple[int, int, bytes]]) -> None:
        """Put sound events where ingest would."""
        now = datetime.now(UTC)
        raw, events = [], []
        for partition, offset, value in messages:
            event = orjson.loads(value)
            at = datetime.fromisoformat(event["timestamp"])
            raw.append([self.topic, self.topic, partition, offset, now, "", value, now])
            events.append([
                event["event_id"], at, event["event"], event["user_id"], event["page"],
                event["country"], event["device"], now, now, self.topic, self.topic, partition,
                offset,
            ])  # fmt: skip
        self.client.insert("raw_events", raw, column_names=RAW_COLUMNS)
        self.client.insert(self.target, events, column_names=EVENT_COLUMNS)

    def delete(self, table: str, condition: str) -> None:
        """Take rows of this topic out of a table."""
        self.client.command(
            f"ALTER TABLE {table} DELETE WHERE topic = '{self.topic}' AND {condition} "
            "SETTINGS mutations_sync = 2"
        )

    def differences(self) -> dict[str, int]:
        """Both proofs' differences by check, without those that found none."""
        reports = [
            simulation.verify(self.manifest, self.settings, wait_seconds=1),
            conservation.verify(self.settings, topics=[self.topic], wait_seconds=1),
        ]
        return {
            check.name.replace(self.topic, "topic"): len(check.differences)
            for report in reports
            for check in report.checks
            if check.differences
        }

    def close(self) -> None:
        """Leave nothing behind."""
        with postgres.connect(self.settings) as connection:
            connection.execute("DELETE FROM ingest_positions WHERE topic = %s", [self.topic])
            connection.execute("DELETE FROM data_sources WHERE topic = %s", [self.topic])
        self.delete("raw_events", "1")
        self.client.command(f"DROP TABLE {self.target}")
        self.drop_topic()

    def drop_topic(self) -> None:
        """Delete the topic."""
        client = kafka.admin(self.settings)
        client.delete_topics([self.topic])[self.topic].result()


@pytest.fixture
def scene(settings: Settings):
    made = Scene(settings)
    yield made
    made.close()


BOTH = "every message once in raw_events, and once in events or rejected_events"
PLACED = "topic: each message once in events or rejected_events"
GROUPS = "events by minute, country, device and type"
PAGES = "events by page"


def test_a_complete_warehouse_has_no_difference(scene: Scene) -> None:
    assert scene.differences() == {}
    report = simulation.verify(scene.manifest, scene.settings, wait_seconds=1)
    assert report.check(BOTH).compared == "400 positions"


def lose_an_event(scene: Scene) -> None:
    scene.delete(scene.target, "partition = 0 AND offset = 3")


def repeat_an_event(scene: Scene) -> None:
    scene.client.command(
        f"INSERT INTO {scene.target} SELECT * FROM {scene.target} "
        "WHERE partition = 1 AND offset = 2"
    )


def lose_a_raw_message(scene: Scene) -> None:
    scene.delete("raw_events", "partition = 2 AND offset = 1")


def repeat_a_raw_message(scene: Scene) -> None:
    scene.client.command(
        f"INSERT INTO raw_events SELECT * FROM raw_events "
        f"WHERE topic = '{scene.topic}' AND partition = 0 AND offset = 0"
    )


def swap_an_event_for_another(scene: Scene) -> None:
    """Lose one and repeat its neighbour: every count stays as it was."""
    scene.delete(scene.target, "partition = 0 AND offset = 5")
    scene.client.command(
        f"INSERT INTO {scene.target} SELECT * FROM {scene.target} "
        "WHERE partition = 0 AND offset = 6"
    )


@pytest.mark.parametrize(
    ("plant", "seen"),
    [
        (lose_an_event, {BOTH: 1, GROUPS: 1, PAGES: 1, PLACED: 1}),
        (
            repeat_an_event,
            {BOTH: 1, GROUPS: 1, PAGES: 1, PLACED: 1, "no event_id twice": 1,
             "topic: no event_id twice": 1},
        ),
        (lose_a_raw_message, {BOTH: 1, "topic: raw_events has no gap": 1}),
        (repeat_a_raw_message, {BOTH: 1, PLACED: 1}),
    ],
)  # fmt: skip
def test_what_was_planted_is_found(
    scene: Scene, plant: Callable[[Scene], None], seen: dict[str, int]
) -> None:
    plant(scene)
    assert scene.differences() == seen


def test_a_loss_behind_an_equal_count_is_found(scene: Scene) -> None:
    swap_an_event_for_another(scene)
    found = scene.differences()
    assert found[BOTH] == found[PLACED] == 2
    report = simulation.verify(scene.manifest, scene.settings, wait_seconds=1)
    assert [(d.what, d.found) for d in report.check(BOTH).differences] == [
        (f"{scene.topic}/0@5", "raw_events 1, events 0, rejected_events 0"),
        (f"{scene.topic}/0@6", "raw_events 1, events 2, rejected_events 0"),
    ]


def test_messages_that_were_never_loaded_are_found(scene: Scene) -> None:
    scene.delete("raw_events", "partition = 4 AND offset >= 10")
    scene.delete(scene.target, "partition = 4 AND offset >= 10")
    last = scene.manifest.positions["4"][0][1]
    assert scene.differences()["topic: every message in Kafka is loaded"] == last - 10


def test_only_what_was_young_enough_when_received_may_have_expired(scene: Scene) -> None:
    """Three are in raw_events alone: one expired, one was too old at once, one is still kept."""
    kept = timedelta(days=scene.settings.events_retention_days)
    now = datetime.now(UTC)
    producer = kafka.producer(scene.settings)
    for age in (kept + timedelta(hours=1), kept + timedelta(days=2), kept - timedelta(minutes=5)):
        value = orjson.dumps({"timestamp": now - age})
        producer.produce(scene.topic, value, partition=3)
    producer.flush()
    first = scene.manifest.positions["3"][-1][1]
    rows = [
        [scene.topic, scene.topic, p, o, now, "", value, now - timedelta(hours=2)]
        for p, o, value in scene.messages()
        if p == 3 and o >= first
    ]
    scene.client.insert("raw_events", rows, column_names=RAW_COLUMNS)

    report = conservation.verify(scene.settings, topics=[scene.topic], wait_seconds=1)

    (check,) = [check for check in report.checks if check.differences]
    assert [d.what for d in check.differences] == [
        f"{scene.topic}/3@{first + 1}",
        f"{scene.topic}/3@{first + 2}",
    ]


@pytest.mark.parametrize(
    ("claimed_hours", "received", "is_wrong"),
    [
        ((0, 23), (datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC)), True),
        ((0, 25), (datetime(1970, 1, 1, tzinfo=UTC),) * 2, False),
        ((0, 25, 26), (datetime.now(UTC),) * 3, True),
    ],
)
def test_copies_are_told_by_the_time_of_their_claims(
    scene: Scene, claimed_hours: list[int], received: list[datetime], is_wrong: bool
) -> None:
    """A producer's clock may say anything; an id is held from one claim of it on."""
    now = datetime.now(UTC)
    event_id = str(uuid.uuid4())
    rows = [
        [event_id, now, "click", 1, "/", "DE", "mobile", at, now - timedelta(hours=30 - hours),
         scene.topic, scene.topic, 9, offset]
        for offset, (hours, at) in enumerate(zip(claimed_hours, received, strict=True))
    ]  # fmt: skip
    scene.client.insert(scene.target, rows, column_names=EVENT_COLUMNS)

    _, found = Warehouse(scene.settings, scene.topic).repeated_event_ids(24)

    assert [one.what for one in found] == [f"event_id {event_id}"] * is_wrong


def test_two_simulations_share_a_topic(scene: Scene) -> None:
    first = scene.manifest
    plan = send.Plan(
        seed=2, rates=faults.rates({}, with_defaults=False), rate=0, duration=1, total=100
    )
    scene.manifest = send.run(plan, scene.settings, topic=scene.topic)
    before = {int(p): ranges[-1][1] for p, ranges in first.positions.items()}
    scene.load([m for m in scene.messages() if m[1] >= before.get(m[0], 0)])
    assert scene.differences() == {}
    scene.manifest = first
    assert scene.differences() == {}


def test_a_transactions_control_records_are_no_gap(scene: Scene) -> None:
    loaded = {(p, o) for p, o, _ in scene.messages()}
    producer = kafka.producer(scene.settings, **{"transactional.id": scene.topic})
    producer.init_transactions(30)
    for ends_well in (True, False, True):
        producer.begin_transaction()
        for partition in range(3):
            producer.produce(scene.topic, b"", partition=partition)
        producer.flush()
        if ends_well:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    log = Log(scene.settings, scene.topic)
    ends = log.extents()
    new = {
        (partition, offset)
        for partition in range(3)
        for offset in log.messages(partition, 0, ends[partition].next_offset)
    } - loaded
    assert len(new) == 6, "the aborted transaction's messages are none"
    now = datetime.now(UTC)
    rows = [[scene.topic, scene.topic, p, o, now, "", b"", now] for p, o in sorted(new)]
    scene.client.insert("raw_events", rows, column_names=RAW_COLUMNS)
    columns = ["source_id", "topic", "partition", "offset", "reason", "rejected_at"]
    rejected = [[scene.topic, scene.topic, p, o, "empty_message", now] for p, o in sorted(new)]
    scene.client.insert("rejected_events", rejected, column_names=columns)
    report = conservation.verify(scene.settings, topics=[scene.topic], wait_seconds=1)
    assert report.differences == 0
    assert "3 gaps" in report.check(f"{scene.topic}: raw_events has no gap").compared
    scene.delete("rejected_events", "1")


def test_a_topic_that_ingest_does_not_know_is_named(settings: Settings) -> None:
    stray = Manifest("r", 1, "nowhere", "id", "2026-01-01T00:00:00Z")
    stray.positions = {"0": [[0, 1]]}
    with pytest.raises(LookupError, match="data_sources has the topic 'nowhere'"):
        simulation.verify(stray, settings, wait_seconds=0)


def test_a_missing_topic_is_an_error_not_a_pass(scene: Scene) -> None:
    scene.drop_topic()
    try:
        with pytest.raises(KafkaException, match="UNKNOWN_TOPIC"):
            conservation.verify(scene.settings, topics=[scene.topic], wait_seconds=0)
    finally:
        kafka.ensure_topic(scene.settings, scene.topic)
