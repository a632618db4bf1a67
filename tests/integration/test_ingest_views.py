"""Materialized views that change between an insert and its repeat, or that throw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.integration import rolled_bed
from tests.integration.ingest_bed import event, killed_at, messages
from tests.integration.rolled_bed import SELECT, Rolled

from millrace.contract import publication
from millrace.ingest import memory as server_memory
from millrace.ingest import model, warehouse, withdrawal, worker
from millrace.ingest.ledger import Ledger
from millrace.ingest.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres
from millrace.transform import leftovers


@pytest.fixture
def bed(settings: Settings) -> Iterator[Rolled]:
    with rolled_bed.made(settings) as bed:
        yield bed


def restart(stack: Stack) -> None:
    pid = stack.pid("clickhouse")
    stack.kill("clickhouse")
    stack.wait_gone(pid)
    stack.wait_healthy("clickhouse")


CHANGES: dict[str, Callable[[Rolled, Stack], None]] = {
    "nothing": lambda _bed, _stack: None,
    "altered": lambda bed, _stack: bed.alter(),
    "replaced": lambda bed, _stack: bed.replace(),
    "restarted": lambda _bed, stack: restart(stack),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("was_altered", [False, True], ids=["created", "altered"])
def test_a_repeat_under_another_identity_is_counted_once(
    stack: Stack, bed: Rolled, change: str, was_altered: bool
) -> None:
    bed.send(messages(range(1, 41)))
    bed.load()
    if was_altered:
        bed.alter()
    bed.send(messages(range(41, 101)))
    (share,) = bed.kill_at(Warehouse, "publish_events", after=True)
    CHANGES[change](bed, stack)

    bed.drain(share, attempt=2)

    bed.assert_counted_once(messages=54 + 81, events=100)
    assert bed.incidents("rollups_unproven") == []


def test_a_rollup_that_an_insert_did_not_reach_is_made_good(bed: Rolled) -> None:
    bed.send(messages(range(1, 101)))
    bed.drop("fine")  # as if the insert had been cut before its views
    bed.load()
    assert bed.rolled_up() == [0, 0]
    bed.hang("fine", SELECT)
    bed.send(messages(range(101, 141)))
    (share,) = bed.kill_at(Warehouse, "publish_events", after=True)
    bed.replace()

    bed.drain(share, attempt=2)

    assert bed.rolled_up() == [140, 140]


def test_a_repeat_that_is_killed_while_it_makes_good_is_made_good_again(bed: Rolled) -> None:
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(Warehouse, "publish_events", after=True)
    bed.alter()
    for attempt, (owner, step) in enumerate(
        [(Warehouse, "await_statements"), (Ledger, "retry"), (Warehouse, "publish_events")], 2
    ):
        with killed_at(owner, step, after=True):
            bed.drain(share, attempt=attempt)

    bed.drain(share, attempt=9)

    bed.assert_counted_once(messages=135, events=100)


def test_views_that_change_while_a_worker_loads_are_noted(
    bed: Rolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is claimed under one identity and published under another is no half published one."""
    bed.send(messages(range(1, 41)))
    (share,) = bed.shares()
    bed.drain(share)
    keep = Warehouse.keep

    def altering(self: Warehouse, *args: Any, **options: Any) -> None:
        keep(self, *args, **options)
        bed.replace()

    with monkeypatch.context() as patched:
        patched.setattr(Warehouse, "keep", altering)
        bed.send(messages(range(41, 101)))
        bed.load()

    assert bed.rolled_up() == [100, 100]
    generations = bed.ask(
        "SELECT generation, attempts FROM ingest_batches WHERE source_id = %s", bed.name
    )
    assert {(row["generation"], row["attempts"]) for row in generations} == {(0, 1)}


def test_a_rollup_that_cannot_be_made_by_the_day_is_told(bed: Rolled) -> None:
    bed.query(f"CREATE TABLE odd_{bed.name} (user_id UInt64) ENGINE = MergeTree ORDER BY user_id")
    bed.hang("odd", "SELECT user_id FROM events WHERE source_id = '{name}'")
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(Warehouse, "publish_events", after=True)
    bed.alter()

    bed.drain(share, attempt=2)
    bed.drop("odd")

    assert bed.rolled_up() == [100, 100]
    told = bed.incidents("rollups_unproven")
    assert told
    assert all(f"odd_{bed.name}" in row["detail"] for row in told)
    assert not any(f"fine_{bed.name}" in row["detail"] for row in told)


THROWING = SELECT.replace("count()", "sum(toInt64(properties['quantity']))")


def throwing(bed: Rolled) -> list[Any]:
    """Events of which one lets ``THROWING`` throw."""
    return [event(user, quantity="1" if user != 7 else "") for user in range(1, 21)]


def test_a_view_that_throws_does_not_stop_ingest(bed: Rolled) -> None:
    bed.drop("fine")
    bed.hang("fine", THROWING)
    bed.send([event(user, quantity="1") for user in range(101, 111)])
    bed.load()
    bed.send(throwing(bed))

    bed.load()

    bed.assert_conserved(messages=30, events=30)
    (told,) = bed.incidents("view_withdrawn")
    assert "Cannot parse Int64" in told["detail"]
    (kept,) = bed.ask("SELECT * FROM withdrawn_views WHERE view LIKE %s", f"%.fine_{bed.name}_mv")
    database = kept["view"].split(".")[0]
    assert kept["rollups"] == [f"{database}.fine_{bed.name}", f"{database}.coarse_{bed.name}"]
    assert "toInt64" in kept["definition"]
    assert bed.query(f"EXISTS TABLE fine_{bed.name}_mv") == [(0,)]
    assert bed.query(f"EXISTS TABLE coarse_{bed.name}_mv") == [(1,)]
    bed.ask("DELETE FROM withdrawn_views WHERE view = %s", kept["view"])


def test_a_view_that_a_deployment_has_mended_meanwhile_stays(
    bed: Rolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, withdraw = publication.alone, withdrawal.withdraw_if_at_fault

    def withdraw_later(*arguments: Any) -> None:
        monkeypatch.setattr(publication, "alone", after_a_deployment)
        withdraw(*arguments)

    @contextmanager
    def after_a_deployment(connection: Any) -> Iterator[None]:
        monkeypatch.undo()
        bed.replace()
        with alone(connection):
            yield

    bed.drop("fine")
    bed.hang("fine", THROWING)
    bed.send(throwing(bed))
    monkeypatch.setattr(withdrawal, "withdraw_if_at_fault", withdraw_later)

    bed.load()

    assert bed.incidents("view_withdrawn") == []
    assert bed.ask("SELECT view FROM withdrawn_views") == []
    bed.assert_counted_once(messages=20, events=20)


def test_of_views_that_feed_one_another_the_one_that_throws_is_taken_out(bed: Rolled) -> None:
    bed.drop("coarse")
    bed.hang(
        "coarse", "SELECT day, user_id, throwIf(user_id = 7) + events AS events FROM fine_{name}"
    )
    bed.send(throwing(bed))

    bed.load()

    bed.assert_conserved(messages=20, events=20)
    assert bed.rolled_up()[0] == 20
    (kept,) = bed.ask("DELETE FROM withdrawn_views RETURNING view")
    assert kept["view"].endswith(f".coarse_{bed.name}_mv")


@pytest.mark.parametrize("gone", ["target", "joined"])
def test_a_view_that_lost_a_table_does_not_stop_ingest(bed: Rolled, gone: str) -> None:
    lost = f"odd_{bed.name}"
    bed.query(f"CREATE TABLE {lost} (user_id UInt64) ENGINE = MergeTree ORDER BY user_id")
    if gone == "target":
        bed.hang("odd", "SELECT user_id FROM events WHERE source_id = '{name}'")
    else:
        bed.drop("fine")
        bed.hang("fine", f"{SELECT} HAVING user_id NOT IN (SELECT user_id FROM {lost})")
    bed.query(f"DROP TABLE {lost} SYNC")
    bed.send(throwing(bed))

    bed.load()

    bed.assert_conserved(messages=20, events=20)
    (kept,) = bed.ask("DELETE FROM withdrawn_views RETURNING view")
    assert kept["view"].endswith(f"{'odd' if gone == 'target' else 'fine'}_{bed.name}_mv")


GREEDY = (
    "SELECT toDate(event_time) AS day, user_id, count() AS events "
    "FROM events ARRAY JOIN range(if(user_id > 100, 2000000, 1)) AS n "
    "WHERE source_id = '{name}' AND n = 0 GROUP BY day, user_id"
)
"""Takes much memory where a user's number is above 100, and none elsewhere."""

PATIENCE = 9


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Bound what one insert may take, or lift it with None; attempts follow one another at once."""
    monkeypatch.setattr(worker, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(model, "PATIENT_ATTEMPTS", PATIENCE)

    def bound(most: int | None) -> None:
        bounded = {**warehouse.INSERT_SETTINGS, "max_memory_usage": most or 0}
        monkeypatch.setattr(warehouse, "INSERT_SETTINGS", bounded)

    return bound


def test_a_view_stays_while_clickhouse_is_short_of_memory(
    bed: Rolled, memory: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is short for longer than a micro-batch has patience, and then has memory again."""
    bed.drop("fine")
    bed.hang("fine", GREEDY)
    memory(100 << 20)
    tried: list[int] = []
    retry = Ledger.retry

    def counting(self: Ledger, batch: Any, **options: Any) -> Any:
        taken = retry(self, batch, **options)
        tried.append(taken.attempts)
        if taken.attempts > PATIENCE + 5:
            memory(None)
        return taken

    monkeypatch.setattr(Ledger, "retry", counting)
    monkeypatch.setattr(server_memory, "is_short", lambda _client: True)
    bed.send([event(user) for user in range(91, 121)])

    bed.load()

    assert max(tried) == PATIENCE + 6
    bed.assert_counted_once(messages=30, events=30)
    assert bed.incidents("view_withdrawn") == []


def test_a_view_that_asks_for_too_much_does_not_stop_ingest(
    bed: Rolled, memory: Callable[[int | None], None]
) -> None:
    bed.drop("fine")
    bed.hang("fine", GREEDY)
    memory(100 << 20)
    bed.send([event(user) for user in range(91, 121)])

    bed.load()

    bed.assert_conserved(messages=30, events=30)
    (told,) = bed.incidents("view_withdrawn")
    assert "emory limit exceeded" in told["detail"]
    attempts = bed.ask("SELECT attempts FROM ingest_batches WHERE source_id = %s", bed.name)
    assert max(row["attempts"] for row in attempts) > PATIENCE
    with postgres.connect(bed.settings) as connection:
        (kept,) = leftovers.withdrawn(connection)
        leftovers.note_try(connection, "a release that failed")
        (again,) = leftovers.withdrawn(connection)
    assert kept.may_pass
    assert "tries to bring it back" in str(kept)
    assert again.tried_release == ""
    bed.ask("DELETE FROM withdrawn_views WHERE view = %s", kept.view)


def test_a_server_says_whether_it_is_short_of_memory(
    bed: Rolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clickhouse.connect(bed.settings, "loader") as client:
        assert not server_memory.is_short(client)
        monkeypatch.setattr(server_memory, "SHORT", 0.0001)
        assert server_memory.is_short(client)
