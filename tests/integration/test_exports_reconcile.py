"""The catalogue of exports follows the bucket, and nothing that readers are shown is deleted."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from tests.integration.exports_bed import HOUR, export, insert_events, judge, manifest

from millrace import waiting
from millrace.contract import locks
from millrace.exports import definitions, erasure, reconcile, retention, service
from millrace.exports.catalogue import Export
from millrace.exports.definitions import PersonalData
from millrace.exports.writer import Exporter
from millrace.stores import clickhouse

DAY = timedelta(days=1)
NUMBERS = itertools.count()


@pytest.fixture
def hour(exporter: Exporter) -> datetime:
    """An hour of a test's own, with events that may go out."""
    number = next(NUMBERS)
    start = HOUR + timedelta(hours=100 + number)
    insert_events(exporter.settings, start, 40, first=1_000_000 + number * 1_000)
    judge(exporter.settings, "published", start)
    exporter.postgres.execute("UPDATE export_definitions SET retention_days = 36500")
    return start


def place_of(hour: datetime) -> str:
    return f"exports/events/date={hour:%Y-%m-%d}/hour={hour:%H}"


def current(exporter: Exporter, hour: datetime) -> dict[str, object] | None:
    """Return what the catalogue says of a window of events."""
    return exporter.postgres.execute(
        "SELECT r.run_id, r.prefix, r.state FROM exported_windows AS w "
        "JOIN export_runs AS r USING (run_id) WHERE w.name = 'events' AND w.window_start = %s",
        [hour],
    ).fetchone()


def of(hour: datetime, said: list[str]) -> list[str]:
    """Return what was said of an hour."""
    return [line for line in said if line.startswith(place_of(hour))]


def files(exporter: Exporter, hour: datetime) -> list[str]:
    return sorted(key for key in reconcile.objects(exporter) if place_of(hour) in key)


def test_what_is_published_while_the_bucket_is_looked_at_stays(
    exporter: Exporter, hour: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = reconcile.objects

    def publish_after(one: Exporter) -> Iterator[str]:
        before = list(look(one))
        monkeypatch.undo()
        export(exporter, "events", hour)
        yield from before

    monkeypatch.setattr(reconcile, "objects", publish_after)
    reconcile.reconcile(exporter)
    shown = manifest(exporter.settings, place_of(hour))
    assert current(exporter, hour) == {
        "run_id": shown["run_id"],
        "prefix": f"{place_of(hour)}/run={shown['run_id']}/",
        "state": "published",
    }


def test_a_run_that_was_adopted_under_another_number_stays(
    exporter: Exporter, hour: datetime
) -> None:
    number = export(exporter, "events", hour)["run_id"]
    with exporter.postgres.transaction():  # a restore forgets it, and its number is given again
        exporter.postgres.execute("DELETE FROM exported_windows WHERE run_id = %s", [number])
        exporter.postgres.execute(
            "UPDATE export_runs SET name = 'other', state = 'skipped', prefix = '', "
            "ended_at = now() WHERE run_id = %s",
            [number],
        )
    for _ in range(2):
        reconcile.reconcile(exporter)
        found = current(exporter, hour)
        assert found is not None
        assert found["run_id"] != number
        assert (found["prefix"], found["state"]) == (
            f"{place_of(hour)}/run={number}/",
            "published",
        )


def test_files_without_a_manifest_stay_and_are_named(exporter: Exporter, hour: datetime) -> None:
    export(exporter, "events", hour)
    bucket = exporter.settings.s3_bucket
    for damage in (b"", b"[]", b'{"run_id": 1}', b'{"export": "ev'):
        key = f"{place_of(hour)}/manifest.json"
        exporter.objects.put_object(bucket, key, BytesIO(damage), len(damage))
        said = of(hour, reconcile.reconcile(exporter))
        assert len(said) == 1
        assert f"./millrace exports run events {hour:%Y-%m-%dT%H:%M} makes both again" in said[0]
        found = current(exporter, hour)
        assert found is not None
        assert found["state"] == "published"
    held = files(exporter, hour)
    retention.expire(exporter.settings, datetime.now(UTC) + 3 * DAY)
    assert files(exporter, hour) == held
    export(exporter, "events", hour)
    assert of(hour, reconcile.differences(exporter)) == []


def test_a_window_whose_files_are_gone_is_due_again(exporter: Exporter, hour: datetime) -> None:
    export(exporter, "events", hour)
    for key in files(exporter, hour):
        exporter.objects.remove_object(exporter.settings.s3_bucket, key)
    (said,) = of(hour, reconcile.differences(exporter))
    assert said.endswith("is gone; the window is due again")
    assert of(hour, reconcile.reconcile(exporter)) == [said]
    assert current(exporter, hour) is None


def test_a_run_that_readers_are_shown_is_not_deleted_as_failed(
    exporter: Exporter, hour: datetime
) -> None:
    number = export(exporter, "events", hour)["run_id"]
    # It was killed between its manifest and its commit, and another run has found it dead.
    exporter.postgres.execute("DELETE FROM exported_windows WHERE run_id = %s", [number])
    exporter.postgres.execute(
        "UPDATE export_runs SET state = 'failed', ended_at = now() - interval '9 days' "
        "WHERE run_id = %s",
        [number],
    )
    held = files(exporter, hour)
    retention.expire(exporter.settings, datetime.now(UTC))
    assert files(exporter, hour) == held
    found = current(exporter, hour)
    assert found is not None
    assert (found["run_id"], found["state"]) == (number, "published")


def test_a_window_that_is_published_again_while_old_ones_go_keeps_its_manifest(
    exporter: Exporter, hour: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(exporter, "events", hour)
    at_once = locks.at_once

    def after_a_run(connection: Any, name: str, *parts: object, error: Exception) -> Any:
        if parts == ("events", hour.isoformat()):
            monkeypatch.undo()
            export(exporter, "events", hour)
        return at_once(connection, name, *parts, error=error)

    exporter.postgres.execute("UPDATE export_definitions SET retention_days = 1")
    monkeypatch.setattr(locks, "at_once", after_a_run)
    retention.expire(exporter.settings, datetime.now(UTC))
    found = current(exporter, hour)
    assert found is not None
    assert manifest(exporter.settings, place_of(hour))["run_id"] == found["run_id"]


def test_an_erasure_takes_nothing_back_that_was_published_meanwhile(
    exporter: Exporter, hour: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(exporter, "events", hour)
    old = [key for key in files(exporter, hour) if "/run=" in key]
    alone = locks.alone

    def after_a_run(connection: Any, name: str, *parts: object) -> Any:
        if parts == ("events", hour.isoformat()):
            monkeypatch.undo()
            insert_events(exporter.settings, hour, 7, first=9_000_000)
            with clickhouse.connect(exporter.settings) as client:
                client.command("DELETE FROM events WHERE user_id = 7")
            export(exporter, "events", hour)
        return alone(connection, name, *parts)

    monkeypatch.setattr(locks, "alone", after_a_run)
    done = erasure.erase(exporter.settings, [7])
    shown = manifest(exporter.settings, place_of(hour))
    assert shown["rows"] == 40 + 7 - 2
    assert not set(old) & set(files(exporter, hour))
    assert set(old) <= set(done.deleted)


def test_an_erasure_waits_for_exports_on_demand_that_began_before(
    exporter: Exporter, hour: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = exporter.settings
    definitions.grant(settings, "a test", PersonalData.PLAIN)
    form = {
        "dataset": "events", "start": hour.isoformat(), "format": "CSV", "personal_data": "plain",
        "end": (hour + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    has_begun, may_end = threading.Event(), threading.Event()
    write = Exporter.write

    def write_later(*arguments: Any, **options: Any) -> Export:
        has_begun.set()
        assert may_end.wait(60)
        return write(*arguments, **options)

    def waits() -> bool:
        query = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(exporter.postgres.execute(query).fetchall()[0]["n"])

    monkeypatch.setattr(Exporter, "write", write_later)
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(service.deliver, settings, form, "a test")
        assert has_begun.wait(60)
        erasing = pool.submit(erasure.erase, settings, [7])
        try:
            waiting.until(lambda: waits() or erasing.done(), "the erasure to wait", seconds=30)
        finally:
            may_end.set()
        asked.result()
        assert any(key.startswith("on_demand/") for key in erasing.result().deleted)
    assert not [key for key in reconcile.objects(exporter) if key.startswith("on_demand/")]


@pytest.mark.parametrize("state", ["skipped", "running"])
def test_files_of_runs_that_came_to_nothing_expire(
    exporter: Exporter, hour: datetime, state: str
) -> None:
    prefix = f"{place_of(hour)}/run=900000{len(state)}/"
    exporter.postgres.execute(
        "INSERT INTO export_runs (name, window_start, window_end, state, requested_by, prefix, "
        "started_at, ended_at) VALUES ('events', %(start)s, %(end)s, %(state)s, 'a test', "
        "%(prefix)s, now() - interval '9 days', "
        "CASE WHEN %(state)s = 'running' THEN NULL ELSE now() - interval '9 days' END)",
        {"start": hour, "end": hour + timedelta(hours=1), "state": state, "prefix": prefix},
    )
    exporter.objects.put_object(
        exporter.settings.s3_bucket, f"{prefix}part-0.parquet", BytesIO(b"rows"), 4
    )
    now = datetime.now(UTC)
    retention.expire(exporter.settings, now)  # notes that the one that still runs died
    retention.expire(exporter.settings, now + retention.GRACE + timedelta(minutes=1))
    assert files(exporter, hour) == []
