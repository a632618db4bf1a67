"""Topics that are deleted and recreated under ingest, while it runs and while it is stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event, killed_at

from millrace.ingest import topics
from millrace.ingest.plan import plan
from millrace.ingest.prefetch import Prefetcher
from millrace.ingest.warehouse import Warehouse
from millrace.ingest.worker import Worker
from millrace.lab.verify import conservation
from millrace.rules import dead_letters as relaying
from millrace.settings import Settings
from millrace.stores import kafka
from millrace.transform import watermark


@pytest.fixture
def bed(settings: Settings) -> Bed:
    """A topic of three partitions, in two shares: 0 with 2, and 1."""
    return Bed(
        settings.model_copy(update={"ingest_tasks": 2, "ingest_lease_seconds": 2}), partitions=3
    )


def differences(bed: Bed) -> list[str]:
    report = conservation.verify(bed.settings, topics=[bed.name], wait_seconds=10)
    return [f"{c.name}: {d.what} {d.found}" for c in report.checks for d in c.differences]


def kept(bed: Bed) -> list[tuple[int, int]]:
    return bed.query(
        "SELECT topic_incarnation, count() FROM raw_events WHERE source_id = {source} "
        "GROUP BY 1 ORDER BY 1"
    )


@pytest.mark.parametrize("was_kept", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("partitions", [1, 3, 5])
def test_open_micro_batches_of_a_topic_recreated_are_settled(
    bed: Bed, partitions: int, was_kept: bool
) -> None:
    bed.send(event(user) for user in range(1, 101))
    old_ends = bed.ends()
    bed.kill_at(Warehouse, "keep", after=was_kept)
    bed.recreate_topic(partitions)
    bed.send([event(user) for user in range(101, 161)])

    assert bed.load() == 60 + (100 if was_kept else 0)

    count = 160 if was_kept else 60
    bed.assert_conserved(messages=count, events=count)
    assert kept(bed) == ([(0, 100), (1, 60)] if was_kept else [(1, 60)])
    lost = {
        r["partition"]: (r["first_offset"], r["next_offset"]) for r in bed.incidents("data_loss")
    }
    assert lost == ({} if was_kept else {p: (0, end) for p, end in old_ends.items() if end})
    told = {r["partition"]: r["first_offset"] for r in bed.incidents("topic_recreated")}
    assert {p: told[p] for p in old_ends} == old_ends
    assert differences(bed) == []
    bed.send([event(user) for user in range(161, 171)])
    assert bed.load() == 10


def test_a_deleted_topic_holds_nothing_back(bed: Bed) -> None:
    bed.send(event(user) for user in range(1, 101))
    ends = bed.ends()
    lost_of: set[int] = set()
    for share in bed.shares():
        with killed_at(Warehouse, "keep", after=bool(share.task)):
            bed.drain(share)
        if not share.task:
            lost_of = {p for p in share.partitions if ends[p]}
    ((kept_of,),) = bed.query("SELECT count() FROM raw_events WHERE source_id = {source}")
    bed.delete_topic()
    settings = bed.settings.model_copy(update={"ingest_run_seconds": 1})
    left = "SELECT batch_id FROM ingest_batches WHERE source_id = %s AND state = 'claimed'"

    def is_settled() -> bool:
        assert plan(settings, "settling") == []
        return bed.ask(left, bed.name) == []

    wait.until(is_settled, 30)
    bed.assert_conserved(messages=kept_of, events=kept_of)
    assert {row["partition"] for row in bed.incidents("data_loss")} == lost_of


@pytest.mark.parametrize("is_deleted", [False, True], ids=["topic there", "topic deleted"])
def test_what_a_deactivated_source_left_open_is_completed(bed: Bed, is_deleted: bool) -> None:
    """Nobody loads it any more; until it is complete, no other source's events are vouched for."""
    bed.send(event(user) for user in range(1, 101))
    bed.kill_at(Warehouse, "keep", after=False)
    bed.ask("UPDATE data_sources SET is_active = false WHERE source_id = %s", bed.name)
    other = Bed(bed.settings)
    opened = datetime.now(UTC)
    if is_deleted:
        bed.delete_topic()

    def is_vouched_for() -> bool:
        other.load()
        return watermark.record_published_through(bed.settings) > opened

    wait.until(is_vouched_for, 60)
    count = 0 if is_deleted else 100
    bed.assert_conserved(messages=count, events=count)
    lost = sum(r["next_offset"] - r["first_offset"] for r in bed.incidents("data_loss"))
    assert lost == 100 - count


@pytest.mark.parametrize("partitions", [1, 3, 5])
def test_a_topic_recreated_while_ingest_is_stopped_is_read_from_its_beginning(
    bed: Bed, partitions: int
) -> None:
    bed.send(event(user) for user in range(1, 101))
    bed.load()
    bed.send(event(user) for user in range(101, 111))  # nobody reads these
    bed.recreate_topic(partitions)
    bed.send([event(user) for user in range(201, 261)])

    assert bed.load() == 60

    bed.assert_conserved(messages=160, events=160)
    assert kept(bed) == [(0, 100), (1, 60)]
    assert all("is lost" in row["detail"] for row in bed.incidents("topic_recreated")[:3])
    assert differences(bed) == []


@pytest.mark.parametrize("partitions", [1, 3, 5])
def test_a_topic_recreated_under_running_workers_is_read_from_its_beginning(
    bed: Bed, partitions: int
) -> None:
    bed.send(event(user) for user in range(1, 101))
    workers = [Worker(bed.settings, share, bed.run_id) for share in bed.shares()]
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(worker.run, 60) for worker in workers]
        wait.until(lambda: kept(bed) == [(0, 100)])
        bed.recreate_topic(partitions)
        bed.send([event(user) for user in range(201, 501)])
        assert all(run.result().is_outdated for run in runs)

    bed.load()

    bed.assert_conserved_verdicts(messages=400, events=400)
    assert kept(bed) == [(0, 100), (1, 300)]
    assert differences(bed) == []


def test_trouble_of_one_source_stops_no_other(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a partition without a leader, of which nobody can say where it ends."""
    other = Bed(bed.settings, partitions=1)
    bed.ask("UPDATE data_sources SET is_active = true WHERE source_id = %s", bed.name)
    offsets = topics.offsets

    def without_leader(settings: Settings, topic: str, *rest: Any, **options: Any) -> Any:
        if topic == bed.name:
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return offsets(settings, topic, *rest, **options)

    monkeypatch.setattr(topics, "offsets", without_leader)
    assert [share.source.source_id for share in other.shares()] == [other.name]
    bed.ask("UPDATE data_sources SET is_active = false WHERE source_id = %s", other.name)
    with pytest.raises(KafkaException):
        bed.shares()


def test_what_was_gathered_as_the_topic_was_recreated_is_not_claimed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a client makes of a topic that changes under it: its offsets are of neither."""
    bed.send([event(user) for user in range(1, 101)])
    finish = Prefetcher.finish

    def finish_late(prefetcher: Prefetcher) -> bool:
        is_any = finish(prefetcher)
        if is_any and kept(bed) == []:
            bed.recreate_topic(3)
        return is_any

    monkeypatch.setattr(Prefetcher, "finish", finish_late)
    (share, *_) = bed.shares()
    assert Worker(bed.settings, share, bed.run_id).run(30).is_outdated
    assert kept(bed) == []
    assert bed.ask("SELECT * FROM ingest_batches WHERE source_id = %s", bed.name) == []


def test_the_gaps_of_an_earlier_topic_are_none_of_the_new_ones(bed: Bed) -> None:
    producer = bed.producer(**{"transactional.id": bed.name})
    producer.init_transactions(30)
    for number in range(1, 9):
        producer.begin_transaction()
        for user in range(10):
            bed.send([event(100 * number + user)], producer=producer)
        if number % 3:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    assert bed.load() == 60
    assert differences(bed) == []
    bed.recreate_topic(2)
    bed.send([event(user) for user in range(1, 31)])

    assert bed.load() == 30

    bed.assert_conserved(messages=90, events=90)
    assert differences(bed) == []

    # And what is really lost of the earlier topic is still seen.
    ((partition, offset),) = bed.query(
        "SELECT partition, offset FROM raw_events WHERE source_id = {source} "
        "AND topic_incarnation = 0 AND offset > 3 ORDER BY partition, offset LIMIT 1"
    )
    position = f"topic_incarnation = 0 AND partition = {partition} AND offset = {offset}"
    for table in ("raw_events", "events"):
        bed.delete(table, f"source_id = {{source}} AND {position}")
    assert any(f"{bed.name}/{partition}@{offset} nowhere" in line for line in differences(bed))


def dead_letters(bed: Bed) -> list[bytes]:
    """Every committed message of the bed's own dead-letter topic."""
    topic = f"{bed.name}.dead"
    made = topics.describe(bed.settings, topic)
    assert made is not None
    reader = kafka.consumer(bed.settings, "test", **{"enable.partition.eof": True})
    reader.assign([TopicPartition(topic, p, 0) for p in made.partitions])
    found, ended = [], set()
    while len(ended) < len(made.partitions):
        message = reader.poll(30)
        assert message is not None
        if message.error() is not None:
            ended.add(message.partition())
        else:
            found.append(message.value() or b"")
    reader.close()
    return sorted(found)


@pytest.mark.parametrize("partitions", [1, 3, 5])
def test_what_was_rejected_of_an_earlier_topic_reaches_the_dead_letters_once(
    bed: Bed, partitions: int
) -> None:
    bed.ask(
        "UPDATE data_sources SET dead_letter_topic = %s WHERE source_id = %s",
        f"{bed.name}.dead",
        bed.name,
    )

    def reject(first: int, after: int) -> list[bytes]:
        sent = [f"bad {number:03}".encode() for number in range(first, after)]
        for number, value in enumerate(sent):
            bed.send([value, event()], partition=number % min(partitions, 3))
        bed.load()
        return sent

    relayed = reject(0, 20)
    assert relaying.relay(bed.settings)[bed.name] == 20
    unrelayed = reject(20, 30)
    bed.recreate_topic(partitions)
    fresh = reject(30, 36)

    assert relaying.relay(bed.settings)[bed.name] == 16
    assert relaying.relay(bed.settings)[bed.name] == 0
    assert len(reject(36, 39)) == relaying.relay(bed.settings)[bed.name]

    wait.until(lambda: len(dead_letters(bed)) == 39)
    assert dead_letters(bed)[:36] == [*relayed, *unrelayed, *fresh]
