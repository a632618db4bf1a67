"""Rebuilds at the edges: days that expire, or share windows or copies."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event
from tests.integration.rebuild_bed import (
    assert_rolled_up,
    events,
    make_rollups,
    noon,
    shadows,
    today,
)
from tests.integration.test_rebuild import gates, paused, use_gate

from millrace import waiting
from millrace.contract import locks
from millrace.ingest import rebuild as rebuilding
from millrace.ingest.rebuild import day
from millrace.ingest.rebuild.rollups import RollupError
from millrace.ingest.rebuild.session import Session
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

WAITS = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


def test_an_empty_day_is_left_empty(bed: Bed) -> None:
    """In a table of its own, since other tests fill any day of the common one."""
    bed.ask("UPDATE data_sources SET target_table = %s WHERE source_id = %s", bed.name, bed.name)
    bed.load()
    report = rebuilding.rebuild(bed.settings, today() - timedelta(days=1), bed.name)
    assert report.after == {}


def test_two_rebuilds_of_a_day_do_not_meet(bed: Bed) -> None:
    refused = pytest.raises(rebuilding.RebuildError, match="another rebuild")
    with paused(bed, today(), "judge"), refused:
        rebuilding.rebuild(bed.settings, today())


def test_a_day_that_expires_is_refused_and_keeps_its_rollups(bed: Bed) -> None:
    """Its first events are gone already; rollups that are kept longer still count them."""
    make_rollups(bed)
    settings = bed.settings
    oldest = today() - timedelta(days=settings.events_retention_days)
    bed.query(
        "INSERT INTO analytics_r.minutes SELECT toDateTime("
        f"'{oldest} 00:00:00', 'UTC'), {{source}}, 7"
    )
    with pytest.raises(rebuilding.RebuildError, match=f"events of {oldest} expire from"):
        rebuilding.rebuild(settings, oldest)
    assert bed.query("SELECT sum(n) FROM analytics_r.minutes WHERE source_id = {source}") == [(7,)]

    report = rebuilding.rebuild(settings, oldest + timedelta(days=1))
    assert report.after == {}


@pytest.mark.parametrize(
    "start", ["toMonday(event_time)", "toStartOfDay(event_time, 'Asia/Tokyo')"]
)
def test_a_rollup_that_files_days_together_is_refused(bed: Bed, start: str) -> None:
    """To swap the partition of a Monday would lose the rest of its week."""
    monday = today() - timedelta(days=today().weekday() + 7)
    bed.query(
        "CREATE TABLE analytics_r.long (start Date, source_id String, n UInt64) "
        "ENGINE = SummingMergeTree PARTITION BY toDate(start) ORDER BY (start, source_id)"
    )
    bed.query(
        f"CREATE MATERIALIZED VIEW analytics_r.long_mv TO analytics_r.long AS SELECT {start} AS "
        "start, toString(events.source_id) AS source_id, count() AS n FROM events "
        "WHERE page != '/home' GROUP BY start, source_id"
    )
    try:
        for days in range(7):
            late = f"{monday + timedelta(days=days)}T20:00:00Z"
            bed.send(event(user, page="/", timestamp=late) for user in range(1, 11))
        bed.load()
        for days in (0, 3):
            with pytest.raises(RollupError, match=r"day of .*events is filed under"):
                rebuilding.rebuild(bed.settings, monday + timedelta(days=days))
        assert bed.query("SELECT sum(n) FROM analytics_r.long WHERE source_id = {source}") == [
            (70,)
        ]
        assert shadows(bed) == []
    finally:
        bed.query("DROP VIEW analytics_r.long_mv SYNC")
        bed.query("DROP TABLE analytics_r.long SYNC")


def test_two_days_that_free_copies_of_an_id_free_one(bed: Bed) -> None:
    """A rule held both copies back; their days are rebuilt at the same time."""
    strict, lenient = gates(bed)
    use_gate(bed, strict)
    ids = [str(uuid.uuid4()) for _ in range(20)]
    bed.send(
        event(user, event_id=event_id, page="/secret", timestamp=noon(days))
        for days in (0, 1)
        for user, event_id in enumerate(ids, 1)
    )
    bed.load()
    use_gate(bed, lenient)
    with ThreadPoolExecutor(1) as pool:
        with paused(bed, today(), "swap"):
            other = pool.submit(rebuilding.rebuild, bed.settings, today() - timedelta(days=1))
            wait.until(lambda: other.done() or bool(bed.ask(WAITS)))
        other.result(60)

    ((rows, distinct),) = bed.query(
        "SELECT count(), uniqExact(event_id) FROM events WHERE source_id = {source}"
    )
    assert (rows, distinct) == (20, 20)
    bed.assert_conserved_verdicts(messages=40, events=20)


@contextmanager
def held(bed: Bed, lock: str) -> Iterator[Future[rebuilding.Report]]:
    """Have a rebuild of today wait for a lock, which it is given afterwards."""
    with (
        ThreadPoolExecutor(1) as pool,
        postgres.connect(bed.settings) as other,
        locks.alone(other, lock),
    ):
        rebuilt = pool.submit(rebuilding.rebuild, bed.settings, today())
        wait.until(lambda: rebuilt.done() or bool(bed.ask(WAITS)))
        yield rebuilt


def test_a_rollup_that_is_deployed_meanwhile_is_rebuilt_too(bed: Bed) -> None:
    """Its history was made of the day as it was."""
    strict, lenient = gates(bed)
    use_gate(bed, strict)
    bed.send(event(user, page="/secret", timestamp=noon()) for user in range(1, 21))
    bed.send(event(user, timestamp=noon()) for user in range(1, 11))
    bed.load()
    use_gate(bed, lenient)
    bed.query("DROP DATABASE IF EXISTS analytics_r SYNC")
    with held(bed, locks.DEPLOYMENT) as rebuilt:
        assert not rebuilt.done()
        make_rollups(bed)
        ((select,),) = bed.query(
            "SELECT as_select FROM system.tables WHERE name = 'minutes_mv' "
            "AND database = 'analytics_r'"
        )
        bed.query(f"INSERT INTO analytics_r.minutes {select}")
        assert_rolled_up(bed)
    assert rebuilt.result(60).after["event"] >= 30
    assert len(events(bed)) == 30
    assert_rolled_up(bed)


def test_a_day_that_begins_to_expire_while_its_rebuild_waits_is_refused(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=bed.settings.events_retention_days + 1)

    bed.send([event(timestamp=noon())])
    bed.load()
    with held(bed, locks.PUBLICATION) as rebuilt:
        monkeypatch.setattr(day, "datetime", Later)
    with pytest.raises(rebuilding.RebuildError, match=f"events of {today()} expire from"):
        rebuilt.result(60)
    assert len(events(bed)) == 1
    assert shadows(bed) == []


def test_a_session_that_ends_while_a_rebuild_waits_leaves_the_day(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse, "PATIENT_SESSION_SECONDS", 1)
    sessions: list[Session] = []
    begin = Session.__init__

    def known(self: Session, *arguments: Any) -> None:
        begin(self, *arguments)
        sessions.append(self)

    monkeypatch.setattr(Session, "__init__", known)
    bed.send([event(timestamp=noon())])
    bed.load()
    before = events(bed)
    with held(bed, locks.DEPLOYMENT) as rebuilt:
        (session,) = sessions
        is_there = "EXISTS TEMPORARY TABLE fresh"
        waiting.until(lambda: not session.number(is_there), "its end", seconds=60, every=3)
    with pytest.raises(
        rebuilding.RebuildError, match="ClickHouse has ended this rebuild's session"
    ):
        rebuilt.result(60)
    assert events(bed) == before
    assert shadows(bed) == []
