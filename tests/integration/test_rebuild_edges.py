"""Rebuilds at the edges: days that expire, or share windows or copies."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event
from tests.integration.rebuild_bed import make_rollups, noon, shadows, today
from tests.integration.test_rebuild import gates, paused, use_gate

from millrace.ingest import rebuild as rebuilding
from millrace.ingest.rebuild.rollups import RollupError
from millrace.settings import Settings


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
    waits = (
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )

    with ThreadPoolExecutor(1) as pool:
        with paused(bed, today(), "swap"):
            other = pool.submit(rebuilding.rebuild, bed.settings, today() - timedelta(days=1))
            wait.until(lambda: other.done() or bool(bed.ask(waits)))
        other.result(60)

    ((rows, distinct),) = bed.query(
        "SELECT count(), uniqExact(event_id) FROM events WHERE source_id = {source}"
    )
    assert (rows, distinct) == (20, 20)
    bed.assert_conserved_verdicts(messages=40, events=20)
