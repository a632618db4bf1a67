"""Crashes, zombies, restored backups, lost topics: each case of docs/exactly-once.md."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewPartitions
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, DrainingWorker, event, messages

from millrace.ingest import topics
from millrace.ingest.ledger import Ledger
from millrace.ingest.model import LeaseLostError
from millrace.ingest.warehouse import Warehouse
from millrace.ingest.worker import Share
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import kafka, postgres


@pytest.fixture
def bed(settings: Settings) -> Iterator[Bed]:
    """A bed with a rollup on its events, so that a table and its view can be told apart."""
    made = Bed(settings.model_copy(update={"ingest_tasks": 1, "ingest_lease_seconds": 2}))
    with made.rollup():
        yield made


STEPS = [
    (Ledger, "claim", True),
    (Warehouse, "stage", True),
    (Warehouse, "keep", True),
    (Warehouse, "judge", True),
    (Warehouse, "publish_events", True),
    (Warehouse, "publish", True),
    (Ledger, "complete", False),
    (Ledger, "complete", True),
]


@pytest.mark.parametrize(("owner", "step", "after"), STEPS, ids=[f"{s[1]}-{s[2]}" for s in STEPS])
def test_a_worker_killed_anywhere_is_completed_by_its_retry(
    bed: Bed, owner: type, step: str, after: bool
) -> None:
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(owner, step, after=after)

    bed.send(messages(range(101, 121)))
    bed.drain(share, attempt=2)

    bed.assert_conserved(messages=135 + 27, events=120)
    bed.assert_rolled_up(120)


def test_a_paused_worker_that_wakes_beside_its_successor_writes_nothing(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.send(messages(range(1, 101)))
    (share,) = bed.shares()
    zombie = DrainingWorker(bed.settings, share, "zombie")
    monkeypatch.setattr(zombie.lease, "start", lambda until: setattr(zombie.lease, "until", until))
    keep = Warehouse.keep

    def paused(self: Warehouse, *args: Any, **options: Any) -> None:
        if self is zombie.loader.warehouse:
            monkeypatch.setattr(Warehouse, "keep", keep)
            time.sleep(2.5)  # its lease ends, and with nobody to prolong it that takes real time
            bed.load()
        keep(self, *args, **options)

    bed.ask("UPDATE ingest_positions SET owner = '' WHERE source_id = %s", bed.name)
    monkeypatch.setattr(Warehouse, "keep", paused)
    with pytest.raises(LeaseLostError):
        zombie.run(60)

    bed.assert_conserved(messages=135, events=100)
    bed.assert_rolled_up(100)
    tokens = bed.ask("SELECT attempts FROM ingest_batches WHERE source_id = %s", bed.name)
    assert [row["attempts"] for row in tokens] == [2]


def test_two_workers_cannot_hold_a_partition(bed: Bed) -> None:
    (share,) = bed.shares()
    first = Ledger(bed.settings, share.source, "one/0/1")
    second = Ledger(bed.settings, share.source, "two/0/1")
    planned_at = share.planned_at
    assert first.acquire(share.partitions, [f"{bed.run_id}/plan"], planned_at) is not None
    assert second.acquire(share.partitions, ["two/0/"], planned_at) is None
    assert second.acquire(share.partitions, ["two/0/", "one/0/"], planned_at) is not None
    with pytest.raises(LeaseLostError):
        first.renew(len(share.partitions))
    second.release()
    assert first.acquire(share.partitions, [], planned_at) is not None
    first.close()
    second.close()


def test_copies_are_caught_after_the_register_was_lost(bed: Bed) -> None:
    first = messages(range(1, 101))
    bed.send(first)
    bed.load()
    bed.query("TRUNCATE TABLE event_id_register")
    bed.send(first)
    bed.load()
    bed.assert_conserved(messages=270, events=100)


def test_a_register_lost_between_two_steps_is_filled_and_the_batch_judged_again(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = messages(range(1, 101))
    bed.send(first)
    bed.load()
    bed.send(first)
    stage = Warehouse.stage

    def losing(self: Warehouse, *args: Any, **options: Any) -> None:
        stage(self, *args, **options)
        monkeypatch.setattr(Warehouse, "stage", stage)
        bed.query("TRUNCATE TABLE event_id_register")

    monkeypatch.setattr(Warehouse, "stage", losing)
    bed.load()
    bed.assert_conserved(messages=270, events=100)


def test_what_a_swap_of_partitions_took_is_written_again(bed: Bed) -> None:
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(Ledger, "complete", after=False)
    bed.delete("events", "source_id = {source} AND user_id % 2 = 0")
    bed.drain(share, attempt=2)
    bed.assert_conserved(messages=135, events=100)


def test_what_retention_took_is_reported_with_its_exact_offsets(bed: Bed) -> None:
    bed.send(messages(range(1, 101)))
    bed.load()
    loaded_to = bed.ends()
    bed.send(messages(range(101, 201)))
    middles = {p: (loaded_to[p] + end) // 2 for p, end in bed.ends().items()}
    lost = {p: offset for p, offset in middles.items() if offset > loaded_to[p]}
    bed.delete_before(lost)

    bed.load()

    gone = {
        r["partition"]: (r["first_offset"], r["next_offset"]) for r in bed.incidents("data_loss")
    }
    assert gone == {p: (loaded_to[p], offset) for p, offset in lost.items()}
    (loaded,) = bed.query("SELECT count() FROM raw_events WHERE source_id = {source}")
    assert loaded[0] == 270 - sum(lost[p] - loaded_to[p] for p in lost)


@pytest.mark.parametrize("was_kept", [True, False])
def test_a_claimed_batch_that_kafka_lost_is_taken_from_raw_events(bed: Bed, was_kept: bool) -> None:
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(Warehouse, "keep", after=was_kept)
    ends = bed.ends()
    bed.delete_before(ends)

    bed.drain(share, attempt=2)

    if was_kept:
        bed.assert_conserved(messages=135, events=100)
        assert bed.incidents("data_loss") == []
    else:
        gone = {r["partition"]: r["next_offset"] for r in bed.incidents("data_loss")}
        assert gone == {p: end for p, end in ends.items() if end}
        bed.assert_conserved(messages=0, events=0)


def test_a_topic_recreated_is_read_from_its_beginning(bed: Bed) -> None:
    bed.send(messages(range(1, 101)))
    bed.load()
    bed.recreate_topic(partitions=3)
    bed.send(messages(range(101, 151)))

    bed.load()

    bed.assert_conserved(messages=135 + 67, events=150)
    rows = bed.query(
        "SELECT topic_incarnation, count() FROM raw_events WHERE source_id = {source} "
        "GROUP BY 1 ORDER BY 1"
    )
    assert rows == [(0, 135), (1, 67)]
    assert len(bed.incidents("topic_recreated")) == 4


@pytest.mark.parametrize("age", [0, 7200, -1800], ids=["later", "older", "ahead"])
@pytest.mark.parametrize("regrown", [0, 100], ids=["shorter", "regrown"])
def test_a_partition_that_lost_its_end_is_read_again(
    stack: Stack, bed: Bed, tmp_path: Path, regrown: int, age: int
) -> None:
    """A broker comes back with an older log, as after an unclean election.

    What is sent then may be older than what was read before: a producer tries again what it could
    not send, or a history is mirrored. What was read before may be from a clock that is ahead.
    """
    now = round(time.time() * 1000)
    bed.send(messages(range(1, 101)), timestamp=now - min(age, 0) * 1000)
    bed.load()
    logs = sorted((bed.settings.home / "kafka" / "data").glob(f"{bed.name}-*"))

    def swap(copy: Callable[[Path, Path], object]) -> None:
        stack.stop("kafka")
        for log in logs:
            copy(log, tmp_path / log.name)
        stack.start("kafka")
        stack.wait_healthy("kafka")

    def put_back(log: Path, older: Path) -> None:
        shutil.rmtree(log)
        shutil.copytree(older, log)

    swap(shutil.copytree)
    bed.send(messages(range(101, 151)))
    bed.load()
    swap(put_back)
    again = range(201, 202 + 2 * regrown)
    fresh = bed.producer()  # the other counts on from what the log had
    bed.send([event(user) for user in again], timestamp=now - max(age, 0) * 1000, producer=fresh)

    bed.load()

    bed.assert_conserved(messages=135 + 67 + len(again), events=150 + len(again))
    assert bed.incidents("topic_truncated")


def test_partitions_that_were_added_are_loaded(bed: Bed) -> None:
    bed.send(messages(range(1, 101)))
    bed.load()
    admin = kafka.admin(bed.settings)
    admin.create_partitions([NewPartitions(bed.name, 6)])[bed.name].result()
    wait.until(lambda: len(topics.describe(bed.settings, bed.name).partitions) == 6)
    bed.send(messages(range(101, 201)), producer=bed.producer())
    bed.load()
    bed.assert_conserved(messages=270, events=200)
    assert [r["partition"] for r in bed.incidents("partitions_added")] == [4, 5]


def test_a_running_worker_ends_early_when_partitions_are_added(bed: Bed) -> None:
    (share,) = bed.shares()
    worker = NeverDrained(bed.settings, share, bed.run_id)
    admin = kafka.admin(bed.settings)
    admin.create_partitions([NewPartitions(bed.name, 5)])[bed.name].result()
    done = worker.run(60)
    assert "another number of partitions" in done.note


class NeverDrained(DrainingWorker):
    """Runs until something else ends it."""

    def is_over(self) -> bool:
        """Never."""
        self.lease.check()
        return False


def test_a_share_survives_the_way_through_airflow(bed: Bed) -> None:
    (share,) = bed.shares()
    assert Share.from_dict(share.as_dict()) == share


def test_a_source_without_a_gate_says_what_to_do(bed: Bed) -> None:
    with postgres.connect(bed.settings) as connection:
        connection.execute("DELETE FROM current_gates WHERE source_id = %s", [bed.name])
    with pytest.raises(LookupError, match="rules compile"):
        bed.shares()

    other = Bed(bed.settings)  # which compiles the gates of active sources: this one is none
    bed.ask("UPDATE data_sources SET is_active = true WHERE source_id = %s", bed.name)
    bed.send(messages(range(1, 11)))
    other.send(messages(range(1, 101)))
    assert other.load() == 135
    bed.assert_conserved(messages=0, events=0)
