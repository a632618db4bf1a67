"""Logs that lost their end and grew again, told from those that did not, whatever they end in."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass

import pytest
from confluent_kafka import KafkaException
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event

from millrace.ingest.model import IncarnationsSpentError
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import kafka

Sent = tuple[int, int, str]
"""Numbers of messages, from one up to but without another, and how they are sent: ``plain``, or in
a transaction that is ``committed`` or ``aborted``, which ends in a marker."""


@dataclass(frozen=True)
class Scenario:
    """A partition as it was read, as it is then, and from where on it has to be read again."""

    read: tuple[Sent, ...]
    then: tuple[Sent, ...]
    again_from: int | None

    def new(self) -> int:
        """Return how many messages are committed then that were not committed before."""
        before, after = (
            {n for first, end, how in log if how != "aborted" for n in range(first, end)}
            for log in (self.read, self.then)
        )
        return len(after - before)


BASE: Sent = (0, 20, "plain")
SCENARIOS = {
    "not cut, ends in what was aborted": Scenario(
        (BASE, (20, 32, "aborted")), (BASE, (20, 32, "aborted"), (40, 45, "plain")), None
    ),
    "not cut, ends in much that was aborted": Scenario(
        (BASE, (20, 1_220, "aborted")),
        (BASE, (20, 1_220, "aborted"), (1_300, 1_303, "plain")),
        None,
    ),
    "nothing was kept of it": Scenario(
        ((0, 12, "aborted"),), ((0, 12, "aborted"), (20, 23, "plain")), None
    ),
    "aborted where messages were kept": Scenario(
        (BASE, (20, 30, "plain")), (BASE, (40, 55, "aborted"), (60, 63, "plain")), 20
    ),
    "messages where all was aborted": Scenario(
        (BASE, (20, 31, "aborted")), (BASE, (40, 54, "plain")), 20
    ),
    "messages where some were aborted": Scenario(
        (BASE, (20, 22, "aborted")), (BASE, (40, 54, "plain")), 20
    ),
    "aborted at the end of both": Scenario(
        (BASE, (20, 25, "plain"), (30, 42, "aborted")),
        (BASE, (50, 75, "aborted"), (80, 82, "plain")),
        20,
    ),
    "much that was aborted at the end of both": Scenario(
        (BASE, (20, 25, "plain"), (30, 1_230, "aborted")),
        (BASE, (1_300, 2_600, "aborted"), (2_700, 2_702, "plain")),
        20,
    ),
    "a marker where the last message was": Scenario(
        (BASE, (20, 30, "committed")), (BASE, (20, 29, "committed"), (40, 42, "plain")), 29
    ),
}


@pytest.fixture
def bed(settings: Settings) -> Bed:
    """A topic with a partition for each scenario."""
    few = settings.model_copy(update={"ingest_tasks": 1, "ingest_lease_seconds": 2})
    return Bed(few, partitions=len(SCENARIOS))


class Logs:
    """Sends the same messages, times included, to partitions of a topic and of its stand-in."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.now = round(time.time() * 1000)
        self.values: dict[int, bytes] = {}
        self.other = f"{bed.name}.then"

    def send(self, topic: str, partition: int, log: tuple[Sent, ...]) -> None:
        """Write a partition's log."""
        for first, end, how in log:
            named = {"transactional.id": f"{topic}-{partition}"} if how != "plain" else {}
            producer = self.bed.producer(**named)
            if named:
                producer.init_transactions(30)
                producer.begin_transaction()
            for number in range(first, end):
                key = 10_000 * partition + number
                value = self.values.setdefault(key, json.dumps(event(number + 1)).encode())
                producer.produce(
                    topic, value, key=b"k", partition=partition, timestamp=self.now + number
                )
            producer.flush()
            if how == "committed":
                producer.commit_transaction(30)
            elif how == "aborted":
                producer.abort_transaction(30)

    def swap(self, stack: Stack, partitions: int) -> None:
        """Have the stand-in's log be the topic's, as after an unclean election."""
        data = self.bed.settings.home / "kafka" / "data"
        stack.stop("kafka")
        for partition in range(partitions):
            log, other = data / f"{self.bed.name}-{partition}", data / f"{self.other}-{partition}"
            identity = (log / "partition.metadata").read_bytes()
            shutil.rmtree(log)
            shutil.copytree(other, log)
            (log / "partition.metadata").write_bytes(identity)
        stack.start("kafka")
        stack.wait_healthy("kafka")
        wait.until(self.has_leaders)

    def has_leaders(self) -> bool:
        """Tell whether the broker leads every partition of the topic again."""
        try:
            return bool(self.bed.ends())
        except KafkaException:
            return False

    def truncated(self) -> dict[int, int]:
        """Return from where on partitions were read again, as the incidents tell."""
        return {
            row["partition"]: row["next_offset"] for row in self.bed.incidents("topic_truncated")
        }


def test_a_cut_is_noticed_whatever_the_log_ends_in(stack: Stack, bed: Bed) -> None:
    logs = Logs(bed)
    kafka.ensure_topic(bed.settings, logs.other, partitions=len(SCENARIOS))
    for partition, scenario in enumerate(SCENARIOS.values()):
        logs.send(bed.name, partition, scenario.read)
        logs.send(logs.other, partition, scenario.then)
    before = bed.load()
    assert logs.truncated() == {}
    bed.load()
    assert logs.truncated() == {}
    logs.swap(stack, len(SCENARIOS))

    bed.load()

    expected = {
        name: scenario.again_from
        for name, scenario in SCENARIOS.items()
        if scenario.again_from is not None
    }
    assert {list(SCENARIOS)[p]: start for p, start in logs.truncated().items()} == expected
    new = sum(scenario.new() for scenario in SCENARIOS.values())
    ((ids,),) = bed.query("SELECT uniqExact(event_id) FROM events WHERE source_id = {source}")
    assert ids == before + new
    bed.assert_conserved_verdicts(messages=before + new, events=before + new)
    assert bed.load() == 0
    (stands,) = bed.ask(
        "SELECT DISTINCT topic_incarnation FROM ingest_positions WHERE source_id = %s", bed.name
    )
    assert stands == {"topic_incarnation": 1}


@pytest.fixture
def single(bed: Bed) -> Bed:
    """A topic of one partition."""
    return Bed(bed.settings, partitions=1)


@pytest.mark.parametrize("is_compacted", [True, False], ids=["compacted", "not compacted"])
def test_what_a_compacted_topic_lacks_tells_nothing(single: Bed, is_compacted: bool) -> None:
    """As if there had been another message at the end, which compaction may take."""
    logs = Logs(single)
    if is_compacted:
        single.set_topic(cleanup_policy="compact")
    logs.send(single.name, 0, (BASE, (20, 32, "aborted")))
    single.load()
    single.query(
        "INSERT INTO raw_events SELECT * REPLACE (offset + 11 AS offset, 0 AS batch_id) "
        "FROM (SELECT * FROM raw_events WHERE source_id = {source} AND offset = 19)"
    )

    single.load()

    assert logs.truncated() == ({} if is_compacted else {0: 20})


def test_what_was_erased_is_not_taken_for_new(single: Bed) -> None:
    logs = Logs(single)
    logs.send(single.name, 0, ((0, 40, "plain"),))
    single.load()
    for table in ("raw_events", "events"):
        single.delete(table, "source_id = {source} AND offset >= 25")
    single.ask(
        "UPDATE ingest_batches SET message_count = 25, event_count = 25 WHERE source_id = %s",
        single.name,
    )
    single.query(
        "INSERT INTO erased_positions (topic, topic_incarnation, partition, offset, erasure_id) "
        f"SELECT '{single.name}', 0, 0, number, 1 FROM numbers(25, 15)"
    )

    single.load()

    assert logs.truncated() == {}
    # But for the marks it would be: another log.
    single.query(
        f"ALTER TABLE erased_positions DELETE WHERE topic = '{single.name}' "
        "SETTINGS mutations_sync = 1"
    )
    single.load()
    assert logs.truncated() == {0: 25}


def test_messages_that_expired_are_told_by_their_verdicts(stack: Stack, single: Bed) -> None:
    logs = Logs(single)
    kafka.ensure_topic(single.settings, logs.other, partitions=1)
    logs.send(single.name, 0, (BASE, (20, 30, "plain")))
    logs.send(logs.other, 0, (BASE, (40, 43, "plain")))
    single.load()
    single.delete("raw_events", "source_id = {source}")
    single.ask(
        "UPDATE ingest_batches SET claimed_at = claimed_at - interval '30 days' "
        "WHERE source_id = %s",
        single.name,
    )
    logs.swap(stack, 1)

    assert single.load() == 3

    assert logs.truncated() == {0: 20}
    single.assert_conserved_verdicts(messages=33, events=33)


def test_a_topic_that_was_recreated_too_often_says_what_to_do(single: Bed) -> None:
    other = Bed(single.settings, partitions=1)
    single.ask("UPDATE data_sources SET is_active = true WHERE source_id = %s", single.name)
    single.send([event(1)])
    single.load()
    single.ask(
        "UPDATE ingest_positions SET topic_incarnation = 254 WHERE source_id = %s", single.name
    )
    single.recreate_topic(1)
    single.send([event(2)])
    assert single.load() == 1
    single.recreate_topic(1)
    other.send([event(3)])

    assert other.load() == 1  # it alone is left out

    single.ask("UPDATE data_sources SET is_active = false WHERE source_id = %s", other.name)
    with pytest.raises(IncarnationsSpentError, match=f"sources disable {single.name}"):
        single.load()
