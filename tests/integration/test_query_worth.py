"""What numbers are worth, as the query API tells it of a real ledger, builds and audits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event

from millrace.api.query.changes import Change
from millrace.api.query.service import Service
from millrace.api.query.worth import NOT_BUILT, NOT_JUDGED, NOT_LOADED, NOT_OVER, Standing, Worth
from millrace.settings import Settings
from millrace.transform import watermark

BUILT = "analytics.worth_of_a_built_model"
SECOND = timedelta(seconds=1)
YEAR_3000 = 32_503_680_000_000
"""In milliseconds since 1970, as Kafka has it."""


@dataclass(frozen=True)
class Bucket:
    """Bounds in UTC."""

    start: datetime
    end: datetime


@pytest.fixture(scope="module")
def bed(settings: Settings) -> Iterator[Bed]:
    made = Bed(settings, partitions=2)
    made.query("CREATE DATABASE IF NOT EXISTS analytics")
    made.query(f"CREATE TABLE {BUILT} (day Date) ENGINE = MergeTree ORDER BY day")
    # Audits of other tests have judged the minutes that the tests here find to be still open.
    made.ask("DELETE FROM published_windows WHERE window_end > now() - interval '1 hour'")
    yield made
    made.ask("DELETE FROM published_windows WHERE reason LIKE 'test of worth%%'")
    made.ask("DELETE FROM erasures WHERE reason = 'of worth'")
    made.query(f"DROP TABLE {BUILT} SYNC")
    made.query("ALTER TABLE rebuilt_days DELETE WHERE reason = 'a test of worth'")


@pytest.fixture(scope="module")
def worth(settings: Settings, bed: Bed) -> Iterator[Worth]:
    """What a running process knows; its loop is in a thread, as granian's."""
    bed.load()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    service = Service(settings)
    asyncio.run_coroutine_threadsafe(service.start(), loop).result(30)
    yield service.worth
    asyncio.run_coroutine_threadsafe(service.stop(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def standing(worth: Worth, bucket: Bucket, tables: tuple[str, ...] = ()) -> Standing:
    return worth.of("events", [bucket], datetime.now(UTC), tables)[0]


def judge(bed: Bed, bucket: Bucket, dataset: str = "events", reason: str = "") -> None:
    """Leave a verdict as an audit does."""
    bed.ask(
        "INSERT INTO published_windows (dataset, window_start, window_end, status, reason) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (dataset, window_start, window_end) DO UPDATE "
        "SET status = excluded.status, reason = excluded.reason, checked_at = now()",
        dataset,
        bucket.start,
        bucket.end,
        "withheld" if reason else "published",
        f"test of worth: {reason}",
    )


def just_closed() -> Bucket:
    """Five minutes whose window closes in a second."""
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1) + SECOND
    return Bucket(end - timedelta(minutes=5), end)


def test_a_bucket_is_complete_when_all_is_loaded_and_its_audit_passed(
    bed: Bed, worth: Worth
) -> None:
    bed.send([event()])
    sent_at = datetime.now(UTC)
    bucket = just_closed()
    wait.until(lambda: datetime.now(UTC) > sent_at + 4 * SECOND)  # ingest stands still
    assert worth.complete_until <= sent_at
    assert standing(worth, bucket) == ("provisional", NOT_LOADED)

    bed.load()
    wait.until(lambda: worth.complete_until > sent_at + 4 * SECOND)
    assert standing(worth, bucket) == ("provisional", NOT_JUDGED)

    judge(bed, bucket)
    wait.until(lambda: standing(worth, bucket) == ("complete", ""))
    assert standing(worth, bucket, ("analytics.metrics_1min",)) == ("provisional", NOT_JUDGED)

    judge(bed, bucket, reason="Some events have no id.")
    wait.until(lambda: standing(worth, bucket)[0] == "withheld")
    assert standing(worth, bucket)[1] == "events: test of worth: Some events have no id."

    judge(bed, bucket)
    wait.until(lambda: standing(worth, bucket) == ("complete", ""))


def test_a_model_that_dbt_builds_is_complete_once_it_is_built(
    settings: Settings, bed: Bed, worth: Worth
) -> None:
    bed.send([event()])
    bed.load()
    sent_at = datetime.now(UTC)
    bucket = just_closed()
    judge(bed, bucket)
    wait.until(lambda: worth.complete_until > sent_at + SECOND)
    assert standing(worth, bucket) == ("complete", "")
    assert standing(worth, bucket, (BUILT,)) == ("provisional", NOT_BUILT)

    watermark.record_build(settings, datetime.now(UTC))
    wait.until(lambda: standing(worth, bucket, (BUILT,)) == ("complete", ""))

    bed.query("INSERT INTO rebuilt_days (day, reason) VALUES (today(), 'a test of worth')")
    wait.until(lambda: standing(worth, bucket, (BUILT,)) == ("provisional", NOT_BUILT))


def test_what_is_not_over_or_not_begun_is_said_so(worth: Worth) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    buckets = [Bucket(now - hour, now + hour), Bucket(now + hour, now + 2 * hour)]
    assert worth.of("events", buckets, now) == [("provisional", NOT_OVER), ("future", "")]


def test_a_version_is_that_of_the_statuses(bed: Bed, worth: Worth) -> None:
    """A day without rows needs no audit; a verdict changes its version, and no other day's."""
    day, other = (
        Bucket(datetime(2001, 2, n, tzinfo=UTC), datetime(2001, 2, n + 1, tzinfo=UTC))
        for n in (3, 4)
    )

    def versions() -> tuple[str, str]:
        return worth.version(day.start, day.end), worth.version(other.start, other.end)

    assert wait.until(lambda: standing(worth, day)) == ("complete", "")
    first = versions()
    judge(bed, day, reason="It is a test.")
    wait.until(lambda: standing(worth, day)[0] == "withheld")
    assert versions()[0] != first[0]
    assert versions()[1] == first[1]
    judge(bed, day)
    wait.until(lambda: standing(worth, day) == ("complete", ""))
    assert versions() == first


def test_changes_of_the_past_are_told_with_their_cause(bed: Bed, worth: Worth) -> None:
    """Late events, a swapped day, new rules and an erasure, each with the span that it touched."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    day = Bucket(today - timedelta(days=6), today - timedelta(days=5))
    night = day.start + timedelta(hours=3)
    # Workers that other tests killed left micro-batches open, and the watermark waits for those.
    bed.ask("UPDATE ingest_batches SET state = 'loaded', loaded_at = now() WHERE state = 'claimed'")
    bed.send([event(timestamp=night.isoformat()), event(timestamp=night.isoformat())])
    # A producer's clock beyond what fits into 32 bits stops nothing.
    bed.set_topic(message_timestamp_after_max_ms=str((1 << 63) - 1))
    bed.send([event()], timestamp=YEAR_3000)
    bed.load()
    bed.query("INSERT INTO rebuilt_days (day, reason) VALUES (today() - 6, 'a test of worth')")
    bed.ask(
        "INSERT INTO erasures (user_id, requested_by, reason, requested_at, completed_at) "
        "VALUES (987654321, 'a test', 'of worth', now(), now())"
    )

    # In the day's other hours, events of other tests may be late.
    hour = Bucket(night, night + timedelta(hours=1))

    def told(span: Bucket = day) -> dict[str, Change]:
        found = asyncio.run(worth.changes(span.start, span.end))
        return {change.cause: change for change in found if "withdrawn" not in change.detail}

    found = wait.until(
        lambda: told() if {"late_events", "rebuild", "erasure"} <= set(told()) else None, 60
    )
    late = wait.until(lambda: told(hour).get("late_events"))
    assert (late.start, late.end) == (hour.start, hour.end)
    assert late.detail == "2 events came after the hour in which they happened had closed."
    assert (found["rebuild"].start, found["rebuild"].end) == (day.start, day.end)
    assert found["rebuild"].detail == "Swapped: a test of worth"
    assert (found["erasure"].start, found["erasure"].end) == (day.start, day.end)
    assert "rule" not in found  # rules that changed today judge nothing of that day
    assert (
        asyncio.run(
            worth.changes(datetime(2001, 1, 1, tzinfo=UTC), datetime(2001, 1, 2, tzinfo=UTC))
        )[0].cause
        == "erasure"
    )
