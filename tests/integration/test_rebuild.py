"""The rebuild of a day, on the real stack, with the rules changed under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from tests.integration.ingest_bed import Bed, event

from millrace.ingest import rebuild as rebuilding
from millrace.settings import Settings


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


def today() -> date:
    return datetime.now(UTC).date()


def noon(days_ago: int = 0) -> str:
    moment = datetime.now(UTC).replace(hour=0, minute=0, second=1) - timedelta(days=days_ago)
    return moment.isoformat()


def shadows(bed: Bed) -> list[tuple[str]]:
    return bed.query("SELECT name FROM system.tables WHERE name LIKE '%__rebuild_%'")


def make_rollups(bed: Bed) -> None:
    """Two rollups, the second filled from the first, as dbt builds them."""
    for statement in (
        "CREATE DATABASE IF NOT EXISTS rollups",
        "CREATE TABLE IF NOT EXISTS rollups.minutes (minute DateTime('UTC'), source_id String, "
        "n UInt64) ENGINE = SummingMergeTree PARTITION BY toDate(minute) "
        "ORDER BY (minute, source_id) SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE TABLE IF NOT EXISTS rollups.hours (hour DateTime('UTC'), source_id String, "
        "n UInt64) ENGINE = SummingMergeTree PARTITION BY toDate(hour) "
        "ORDER BY (hour, source_id) SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS rollups.minutes_mv TO rollups.minutes AS "
        "SELECT toStartOfMinute(event_time) AS minute, toString(events.source_id) AS source_id, "
        "count() AS n FROM events GROUP BY minute, source_id",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS rollups.hours_mv TO rollups.hours AS "
        "SELECT toStartOfHour(m.minute) AS hour, source_id, sum(m.n) AS n "
        "FROM rollups.minutes AS m GROUP BY hour, source_id",
    ):
        bed.query(statement)


def assert_rolled_up(bed: Bed) -> None:
    where = "WHERE source_id = {source}"
    expected = bed.query(
        "SELECT toStartOfMinute(event_time) AS minute, count() FROM events "
        f"{where} GROUP BY minute ORDER BY minute"
    )
    found = bed.query(
        f"SELECT minute, sum(n) FROM rollups.minutes {where} GROUP BY minute ORDER BY minute"
    )
    assert found == expected
    ((hours,),) = bed.query(f"SELECT sum(n) FROM rollups.hours {where}")
    assert hours == sum(n for _, n in expected)


def events(bed: Bed) -> list[tuple[object, ...]]:
    return bed.query("SELECT * FROM events WHERE source_id = {source} ORDER BY partition, offset")


def test_a_rebuild_under_the_same_rules_changes_nothing(bed: Bed) -> None:
    make_rollups(bed)
    good = [event(user, timestamp=noon()) for user in range(1, 301)]
    yesterday = [event(user, timestamp=noon(1)) for user in range(1, 51)]
    bed.send([*good, *yesterday, b"bad", {"event": "page_view"}, *good[:20]])
    bed.load()
    before, reasons = events(bed), bed.reasons()

    report = rebuilding.rebuild(bed.settings, today())

    assert events(bed) == before
    assert bed.reasons() == reasons
    assert report.before == report.after
    assert report.sources == ["raw_events"]
    bed.assert_conserved(messages=372, events=350)
    assert_rolled_up(bed)
    assert shadows(bed) == []


def test_an_empty_day_is_left_empty(bed: Bed) -> None:
    report = rebuilding.rebuild(bed.settings, date(2020, 1, 1))
    assert report.after == {}


def test_lost_events_and_rollups_come_back(bed: Bed) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 201))
    bed.send([b"bad"])
    bed.load()
    before = events(bed)
    bed.query(
        "DELETE FROM events WHERE source_id = {source} AND user_id % 2 = 0 "
        "SETTINGS lightweight_deletes_sync = 2"
    )
    bed.query(f"ALTER TABLE rollups.minutes DROP PARTITION '{today()}'")

    report = rebuilding.rebuild(bed.settings, today())

    assert events(bed) == before
    assert report.after["event"] - report.before["event"] == 100
    bed.assert_conserved(messages=201, events=200)
    assert_rolled_up(bed)


def test_rejected_events_come_back_when_the_rules_allow_them(bed: Bed) -> None:
    """A rule that refuses a page is lifted; what it refused becomes events of their day."""
    make_rollups(bed)
    statement = "SELECT g.gate_id, g.statement FROM current_gates c JOIN gates g USING (gate_id) "
    (gate,) = bed.ask(f"{statement} WHERE c.source_id = %s", bed.name)
    strict = (
        gate["statement"]
        .replace(
            "AS is_broken,", "OR JSONExtractString(value, 'page') = '/secret') AS is_broken,", 1
        )
        .replace("(length(value)", "((length(value)", 1)
    )
    strict = strict.replace(
        "if(unreadable != '', [unreadable], ",
        "if(JSONExtractString(value, 'page') = '/secret', ['out_of_range|page|test'], "
        "if(unreadable != '', [unreadable], ",
        1,
    ).replace("),\n        []\n    ) AS failures", ")),\n        []\n    ) AS failures", 1)
    bed.ask("UPDATE gates SET statement = %s WHERE gate_id = %s", strict, gate["gate_id"])
    secret = [event(user, page="/secret", timestamp=noon()) for user in range(1, 31)]
    late = [event(user, page="/secret", timestamp=noon(1)) for user in range(1, 11)]
    bed.send([*secret, *secret[:5], *late, *(event(user, timestamp=noon()) for user in (1, 2))])
    bed.load()
    assert bed.reasons()["out_of_range"] == 45
    bed.ask(
        "UPDATE gates SET statement = %s WHERE gate_id = %s", gate["statement"], gate["gate_id"]
    )

    report = rebuilding.rebuild(bed.settings, today())

    assert report.after["event"] - report.before["event"] == 30
    assert bed.reasons() == {"duplicate_event_id": 5, "out_of_range": 10}
    rebuilding.rebuild(bed.settings, today() - timedelta(days=1))
    assert bed.reasons() == {"duplicate_event_id": 5}
    ((rows, ids),) = bed.query(
        "SELECT count(), uniqExact(event_id) FROM events WHERE source_id = {source}"
    )
    assert (rows, ids) == (42, 42)
    assert_rolled_up(bed)

    # What came back is known to the register: a further copy is a duplicate.
    bed.send([secret[0]])
    bed.load()
    assert bed.reasons() == {"duplicate_event_id": 6}

    # And the other way: the rule is set again, and events of the day are rejected.
    bed.ask("UPDATE gates SET statement = %s WHERE gate_id = %s", strict, gate["gate_id"])
    rebuilding.rebuild(bed.settings, today())
    assert bed.reasons()["out_of_range"] == 36
    ((rows,),) = bed.query("SELECT count() FROM events WHERE source_id = {source}")
    assert rows == 12
    assert_rolled_up(bed)


def test_events_that_arrive_meanwhile_survive(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 101))
    bed.load()
    audit = rebuilding._Rebuild._audit

    def load_then_audit(self: rebuilding._Rebuild) -> None:
        bed.send(event(user, timestamp=noon()) for user in range(101, 151))
        bed.send([b"bad"])
        bed.load()
        audit(self)

    monkeypatch.setattr(rebuilding._Rebuild, "_audit", load_then_audit)
    report = rebuilding.rebuild(bed.settings, today())
    assert report.arrived_meanwhile == 50
    bed.assert_conserved(messages=151, events=150)
    assert_rolled_up(bed)


def test_two_rebuilds_of_a_day_do_not_meet(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = threading.Event(), threading.Event()
    prepare = rebuilding._Rebuild._prepare

    def slow(self: rebuilding._Rebuild) -> None:
        prepare(self)
        entered.set()
        leave.wait(30)

    monkeypatch.setattr(rebuilding._Rebuild, "_prepare", slow)
    first = threading.Thread(target=rebuilding.rebuild, args=(bed.settings, today()))
    first.start()
    assert entered.wait(30)
    with pytest.raises(rebuilding.RebuildError, match="another rebuild"):
        rebuilding.rebuild(bed.settings, today())
    leave.set()
    first.join()


KILLED = """
import os, signal, datetime
from millrace.ingest import rebuild
from millrace.settings import Settings
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
setattr(rebuild._Rebuild, {method!r}, die)
rebuild.rebuild(Settings(), datetime.date.fromisoformat({day!r}))
"""


@pytest.mark.parametrize("method", ["_reject_duplicates", "_register"])
def test_a_killed_rebuild_leaves_the_day_and_is_cleaned_up(bed: Bed, method: str) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 51))
    bed.load()
    before = events(bed)
    script = KILLED.format(method=method, day=str(today()))
    died = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL
    assert shadows(bed) != []
    assert events(bed) == before
    assert_rolled_up(bed)

    rebuilding.rebuild(bed.settings, today())
    assert events(bed) == before
    assert_rolled_up(bed)
    assert shadows(bed) == []


def test_a_day_that_is_nowhere_any_more_stays_as_it_is(bed: Bed) -> None:
    bed.send(event(user, timestamp=noon()) for user in range(1, 51))
    bed.load()
    before = events(bed)
    bed.query(
        "DELETE FROM raw_events WHERE source_id = {source} SETTINGS lightweight_deletes_sync = 2"
    )
    with pytest.raises(rebuilding.RebuildError, match="would have no verdict"):
        rebuilding.rebuild(bed.settings, today())
    assert events(bed) == before
