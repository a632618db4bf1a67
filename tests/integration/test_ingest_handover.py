"""Runs that hand over: the next one takes the partitions while the last one loads."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event

from millrace.backups.fence import standing_still
from millrace.ingest.ledger import Ledger
from millrace.ingest.model import PlanOutdatedError, SupersededError
from millrace.ingest.planning import ended_as_planned
from millrace.ingest.worker import Share, Worker
from millrace.settings import Settings
from millrace.stores import postgres


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings.model_copy(update={"ingest_tasks": 2, "ingest_lease_seconds": 5}))


class Run:
    """The workers of a run, each in a thread as it is in a task of its own."""

    def __init__(self, bed: Bed) -> None:
        self.shares = bed.shares()
        self.workers = [Worker(bed.settings, share, bed.run_id) for share in self.shares]
        self._threads = [
            threading.Thread(target=worker.run, args=(90,), daemon=True) for worker in self.workers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def messages(self) -> int:
        """What its workers loaded."""
        return sum(worker.progress.messages for worker in self.workers)

    @property
    def is_at_work(self) -> bool:
        """Whether each of its workers holds its partitions."""
        return all(worker.positions for worker in self.workers)

    def end(self) -> None:
        """Let the time of its workers be up."""
        for worker in self.workers:
            worker.stop()
        self.join()

    def join(self) -> None:
        """Wait for the workers to end."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def start(bed: Bed) -> Iterator[Callable[[], Run]]:
    """Starts a run; what still runs is ended after the test."""
    runs: list[Run] = []

    def begin() -> Run:
        runs.append(Run(bed))
        return runs[-1]

    yield begin
    for run in runs:
        run.end()


@contextmanager
def traffic(bed: Bed) -> Iterator[list[int]]:
    """Send events all the while; yields a list whose last item is how many were sent."""
    sent, ended = [0], threading.Event()

    def send() -> None:
        for number in itertools.count(1):
            bed.send([event(user) for user in range(number, number + 20)])
            sent.append(sent[-1] + 20)
            if ended.wait(0.02):
                return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()


def let_go(bed: Bed) -> None:
    """Have nobody own the partitions, as if a plan's lease were over."""
    bed.ask("UPDATE ingest_positions SET owner = '' WHERE source_id = %s", bed.name)


def loaded(bed: Bed) -> int:
    """Messages of the micro-batches that are loaded."""
    (row,) = bed.ask(
        "SELECT coalesce(sum(message_count), 0)::int8 AS messages FROM ingest_batches "
        "WHERE source_id = %s AND state = 'loaded'",
        bed.name,
    )
    return int(row["messages"])


def owners(bed: Bed) -> set[str]:
    rows = bed.ask("SELECT owner FROM ingest_positions WHERE source_id = %s", bed.name)
    return {row["owner"] for row in rows}


def test_each_run_takes_over_from_the_last_under_traffic(
    bed: Bed, start: Callable[[], Run]
) -> None:
    with traffic(bed) as sent:
        runs = [start()]
        wait.until(lambda: runs[0].messages > 100, 60)
        for _ in range(2):
            runs.append(start())
            runs[-2].join()
            wait.until(lambda: runs[-1].is_at_work and runs[-1].messages > 100, 60)
            assert {worker.progress.note for worker in runs[-2].workers} == {""}
    wait.until(lambda: sum(run.messages for run in runs) == sent[-1], 60)
    shares = bed.shares()
    assert owners(bed) == {f"{bed.name}-3/0/1", f"{bed.name}-3/1/1"}  # the plan took nothing
    assert [share.partitions for share in shares] == [s.partitions for s in runs[-1].shares]
    assert not any(worker.progress.is_outdated for run in runs for worker in run.workers)
    bed.assert_conserved(messages=sent[-1], events=sent[-1])


def test_an_attempt_of_an_earlier_run_leaves_the_partitions_to_the_later_one(
    bed: Bed, start: Callable[[], Run]
) -> None:
    earlier = bed.shares()
    let_go(bed)
    later = start()
    wait.until(lambda: later.is_at_work, 60)

    late = Worker(bed.settings, earlier[0], "earlier", 2)
    done = late.run(60)

    assert "took over" in done.note
    assert not done.is_outdated
    assert owners(bed) == {f"{bed.name}-2/0/1", f"{bed.name}-2/1/1"}


def test_what_a_plan_finds_amiss_it_takes_from_the_workers(
    bed: Bed, start: Callable[[], Run]
) -> None:
    with traffic(bed) as sent:
        first = start()
        wait.until(lambda: first.messages > 100, 60)
        bed.delete("events", f"source_id = '{bed.name}' AND user_id <= 10")
        start()
        first.join()
        wait.until(lambda: bool(bed.incidents("warehouse_behind")), 60)
    wait.until(lambda: loaded(bed) == sent[-1], 60)
    assert bed.incidents("topic_truncated") == []
    bed.assert_conserved(messages=sent[-1], events=sent[-1])


def test_a_run_that_is_told_to_leave_lets_go_and_asks_for_another(
    start: Callable[[], Run], bed: Bed
) -> None:
    """As `down` tells it: what is at hand is loaded, and nobody has to wait for a lease to end."""
    run = start()
    wait.until(lambda: run.is_at_work, 60)
    for worker in run.workers:
        worker.leave()
    run.join()
    assert all(worker.progress.is_outdated for worker in run.workers)
    assert not ended_as_planned(run.workers, [w.progress.as_dict() for w in run.workers])


def test_a_worker_that_is_told_to_leave_before_it_began_loads_nothing(bed: Bed) -> None:
    bed.send([event(user) for user in range(10)])
    worker = Worker(bed.settings, bed.shares()[0], bed.run_id)
    worker.leave()
    assert worker.run(600).messages == 0


def test_the_others_end_when_one_ends_early(start: Callable[[], Run]) -> None:
    run = start()
    wait.until(lambda: run.is_at_work, 60)
    run.workers[0].stop()

    run.join()

    assert run.workers[1].progress.is_outdated


def test_a_plan_of_before_a_restore_is_outdated(bed: Bed) -> None:
    share = bed.shares()[0]
    with postgres.connect(bed.settings) as connection, standing_still(bed.settings, connection):
        pass

    done = Worker(bed.settings, share, bed.run_id).run(60)

    assert done.is_outdated
    assert "let go" in done.note
    bed.send([event()])
    assert bed.load() == 1


def test_who_was_planned_later_is_told_from_who_waits_longer(bed: Bed) -> None:
    planned = []
    for _ in range(3):
        planned.append(bed.shares()[0])
        let_go(bed)
    first, second, third = planned
    assert first.planned_at < second.planned_at < third.planned_at
    ledger = Ledger(bed.settings, first.source, "any/0/1")

    def request(share: Share) -> None:
        ledger.request_handover(share.partitions, share.planned_at)

    request(third)
    with pytest.raises(PlanOutdatedError):
        request(first)
    bed.ask(
        "UPDATE ingest_positions SET planned_at = %s, successor_planned_at = %s "
        "WHERE source_id = %s",
        *(first.planned_at, third.planned_at, bed.name),
    )
    with pytest.raises(SupersededError):
        request(second)
    request(third)
    ledger.close()
