"""Servers that go down, fill up or lose something under a running worker: it waits or says so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event

from millrace.ingest import warehouse as warehouses
from millrace.ingest.ledger import Ledger
from millrace.ingest.model import LeaseLostError, StalledError
from millrace.ingest.worker import Worker
from millrace.settings import Settings
from millrace.stack.stack import Stack


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings.model_copy(update={"ingest_tasks": 1, "ingest_lease_seconds": 3}))


class Steady(Worker):
    """Works in a thread until it has loaded ``expected`` messages, whatever is down meanwhile."""

    def __init__(self, bed: Bed) -> None:
        (share,) = bed.shares()
        super().__init__(bed.settings, share, bed.run_id)
        self.expected = 1 << 62
        self.error: BaseException | None = None
        self.ends_with: type = type(None)
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Steady:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(90)
        assert not self._thread.is_alive()
        if not isinstance(self.error, self.ends_with):
            raise AssertionError(f"ended with {self.error!r}") from self.error

    def _work(self) -> None:
        try:
            self.run(60)
        except BaseException as error:  # noqa: BLE001  looked at when the thread has ended
            self.error = error

    def is_over(self) -> bool:
        """Tell whether everything is loaded, or the time is up."""
        return super().is_over() or self.progress.messages >= self.expected


@contextmanager
def down(stack: Stack, name: str) -> Iterator[None]:
    """Have a server stopped for a while."""
    stack.stop(name)
    try:
        yield
    finally:
        stack.start(name)
        stack.wait_healthy(name)


def users(first: int) -> list[Any]:
    """Fifty valid events and one message that is none."""
    return [*(event(user) for user in range(first, first + 50)), b"garbage"]


@pytest.mark.parametrize("name", ["clickhouse", "postgres", "kafka"])
def test_a_server_that_is_down_is_waited_for(stack: Stack, bed: Bed, name: str) -> None:
    with Steady(bed) as worker:
        bed.send(users(1))
        wait.until(lambda: worker.progress.messages == 51)
        with down(stack, name):
            if name != "kafka":
                bed.send(users(101))
            wait.until(lambda: worker.trouble is not None)
        bed.send(users(201))
        worker.expected = 102 if name == "kafka" else 153
    bed.assert_conserved(messages=worker.expected, events=worker.expected // 51 * 50)


@pytest.mark.parametrize("name", ["clickhouse", "kafka"])
def test_a_run_that_ends_in_an_outage_fails_and_so_does_its_retry(
    stack: Stack, bed: Bed, name: str
) -> None:
    (share,) = bed.shares()
    with down(stack, name):
        if name != "kafka":
            bed.send(users(1))
        for attempt in (1, 2):
            with pytest.raises(StalledError, match="ended in trouble"):
                Worker(bed.settings, share, bed.run_id, attempt).run(0)
    if name == "kafka":
        bed.send(users(1))
    bed.load()
    bed.assert_conserved(messages=51, events=50)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        (f"min_free_disk_bytes_to_perform_insert = {1 << 60}", "enough free space"),
        ("table_readonly = 1", "readonly mode"),
    ],
    ids=["full", "read-only"],
)
def test_a_table_that_takes_no_rows_is_waited_for(bed: Bed, setting: str, complaint: str) -> None:
    with Steady(bed) as worker:
        bed.send(users(1))
        wait.until(lambda: worker.progress.messages == 51)
        bed.query(f"ALTER TABLE events MODIFY SETTING {setting}")
        try:
            bed.send(users(101))
            trouble = wait.until(lambda: worker.trouble)
        finally:
            bed.query(f"ALTER TABLE events RESET SETTING {setting.split(maxsplit=1)[0]}")
        worker.expected = 102
    assert complaint in str(trouble)
    bed.assert_conserved(messages=102, events=100)


def test_a_warehouse_that_stands_still_is_waited_for(stack: Stack, bed: Bed) -> None:
    with Steady(bed) as worker:
        bed.send(users(1))
        wait.until(lambda: worker.progress.messages == 51)
        one_lease_later = worker.lease.until + timedelta(seconds=bed.settings.ingest_lease_seconds)
        os.kill(stack.pid("clickhouse"), signal.SIGSTOP)
        try:
            bed.send(users(101))
            wait.until(lambda: worker.lease.until > one_lease_later)
        finally:
            os.kill(stack.pid("clickhouse"), signal.SIGCONT)
        worker.expected = 102
    bed.assert_conserved(messages=102, events=100)


def test_a_lease_that_a_jump_of_the_clock_ended_is_the_successors(bed: Bed) -> None:
    with Steady(bed) as worker:
        worker.ends_with = LeaseLostError
        bed.send(users(1))
        wait.until(lambda: worker.progress.messages == 51)
        successor = Ledger(bed.settings, worker.source, "successor/0/1")

        def has_taken_over() -> bool:
            bed.ask(
                "UPDATE ingest_positions SET lease_until = 'epoch' WHERE source_id = %s", bed.name
            )
            return successor.acquire(worker.partitions, [], worker.share.planned_at) is not None

        wait.until(has_taken_over)
        bed.send(users(101))
    assert worker.progress.messages == 51
    successor.release()
    successor.close()
    bed.load()
    bed.assert_conserved(messages=102, events=100)


def test_a_batch_whose_token_is_forgotten_is_not_written_twice(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.send(users(1))
    (share,) = bed.kill_at(Ledger, "complete", after=False)
    tables = ("raw_events", "events", "rejected_events")
    setting = "non_replicated_deduplication_window"
    for table in tables:
        bed.query(f"ALTER TABLE {table} MODIFY SETTING {setting} = 1")
        for other in ("one", "two"):
            bed.query(
                f"INSERT INTO {table} SELECT * REPLACE ('{other}' AS source_id) FROM {table} "
                "WHERE source_id = {source}"
            )
    monkeypatch.setattr(warehouses, "TOKENS_REMEMBERED", 1)
    try:
        bed.drain(share, attempt=2)
    finally:
        for table in tables:
            bed.query(f"ALTER TABLE {table} MODIFY SETTING {setting} = 10000")
            bed.delete(table, "source_id IN ('one', 'two')")
    bed.assert_conserved(messages=51, events=50)
    assert bed.incidents("rollups_unproven") == []  # they were made good from events
