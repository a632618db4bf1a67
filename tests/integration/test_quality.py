"""Audits and metrics on a real warehouse, against numbers worked out by hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from millrace.quality import audit, docs, metrics
from millrace.quality.suites import build, load_suites
from millrace.quality.windows import KINDS, Window, closed_windows, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, objects, postgres

SOURCE = "quality_test"
HOUR = window_at("1h", datetime.now(UTC) - timedelta(hours=30))
"""An hour before those that other tests write to."""


class Warehouse:
    """Writes messages as a loader would have left them."""

    def __init__(self, settings: Settings) -> None:
        self.client = clickhouse.connect(settings)

    def write(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Insert rows whose keys are columns."""
        columns = list(rows[0])
        self.client.insert(table, [list(row.values()) for row in rows], column_names=columns)

    def message(self, offset: int, value: str, *, minute: int = 0) -> dict[str, Any]:
        """Return a row of ``raw_events``."""
        at = HOUR.start + timedelta(minutes=minute)
        return {
            "source_id": SOURCE,
            "topic": SOURCE,
            "partition": 0,
            "offset": offset,
            "kafka_timestamp": at,
            "value": value,
            "ingested_at": at,
        }

    def event(self, offset: int, event_id: uuid.UUID, **changes: Any) -> dict[str, Any]:
        """Return a row of ``events``."""
        at = HOUR.start + timedelta(minutes=changes.pop("minute", 0))
        return {
            "source_id": SOURCE,
            "topic": SOURCE,
            "partition": 0,
            "offset": offset,
            "event_id": event_id,
            "event_time": at,
            "event_type": "click",
            "user_id": 7,
            "country": "DE",
            "device": "mobile",
            "received_at": at,
            "ingested_at": at,
        } | changes


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    made = Warehouse(settings)
    yield made
    for table in ("raw_events", "events", "rejected_events"):
        made.client.command(
            f"DELETE FROM {table} WHERE source_id = '{SOURCE}'",
            settings={"lightweight_deletes_sync": 2},
        )
    made.client.close()


def text(event_id: uuid.UUID, user_id: int = 7) -> str:
    return f'{{"event_id":"{event_id}","event":"click","user_id":{user_id}}}'


def test_hourly_metrics_match_a_hand_calculation(warehouse):
    ids = [uuid.uuid4() for _ in range(8)]
    raw = [warehouse.message(n, text(ids[n])) for n in range(8)]
    raw += [warehouse.message(8, "broken"), warehouse.message(9, text(uuid.uuid4()))]
    warehouse.write("raw_events", raw)
    late = HOUR.start + timedelta(seconds=61)
    warehouse.write(
        "events",
        [
            *(warehouse.event(n, ids[n]) for n in range(5)),
            warehouse.event(5, ids[5], ingested_at=late),
            warehouse.event(6, ids[0]),  # a copy of the first: not unique, and not what was sent
            warehouse.event(7, ids[7], user_id=8),  # not what was sent
        ],
    )
    rejected = {k: v for k, v in raw[8].items() if k != "ingested_at"}
    said = {"reason": "malformed_json", "rejected_at": HOUR.start}
    both = {k: v for k, v in raw[0].items() if k != "ingested_at"}  # in events as well
    warehouse.write("rejected_events", [rejected | said, both | said])

    found = {m.name: m for m in metrics.measure(warehouse.client, HOUR) if m.source_id == SOURCE}
    assert {name: (m.good, m.total) for name, m in found.items()} == {
        "completeness": (9, 10),  # offset 9 is in neither table
        "consistency": (8, 9),  # offset 0 is in both
        "timeliness": (7, 8),
        "uniqueness": (7, 8),
        "accuracy": (6, 8),
    }
    assert not any(m.is_met for m in found.values())


def test_a_bad_window_is_withheld_and_a_good_one_published(warehouse, settings):
    copied = uuid.uuid4()
    warehouse.write(
        "events",
        [
            warehouse.event(0, uuid.uuid4()),
            warehouse.event(1, copied, minute=10),
            warehouse.event(2, copied, minute=11),
        ],
    )
    (suite,) = (suite for suite in load_suites() if suite.dataset == "events")
    good = window_at("5m", HOUR.start)
    bad = window_at("5m", HOUR.start + timedelta(minutes=10))
    audits = audit.run(settings, [(suite, good), (suite, bad)])
    assert [[f.expectation for f in one.failures] for one in audits] == [
        [],
        ["No event_id is there twice."],
    ]
    with pytest.raises(audit.QualityError, match=r"WITHHELD\n  critical: No event_id is there"):
        audit.demand(audits)
    with postgres.connect(settings) as connection:
        rows = connection.execute(
            "SELECT status, reason FROM published_windows WHERE dataset = 'events' "
            "AND window_start IN (%s, %s) AND window_end - window_start = interval '5 minutes' "
            "ORDER BY window_start",
            [good.start, bad.start],
        ).fetchall()
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("published", ""),
        ("withheld", "No event_id is there twice."),
    ]
    for one in audits:
        assert (docs.site(settings) / one.report).is_file()
    pages = objects.connect(settings).list_objects(settings.s3_bucket, "data_docs/", recursive=True)
    names = {page.object_name for page in pages}
    assert {f"data_docs/{audits[1].report}", "data_docs/index.html"} <= names


def test_every_suite_is_understood():
    for suite in load_suites():
        for kind in suite.windows:
            assert build(suite, kind)


def test_windows_close_after_their_grace():
    now = datetime(2026, 1, 1, 12, 5, 59, tzinfo=UTC)
    last = closed_windows("5m", now)[-1]
    assert last.end == datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    last = closed_windows("5m", now + timedelta(seconds=1))[-1]
    assert last == Window(now.replace(minute=0, second=0), now.replace(second=0), "5m")
    for kind in KINDS:
        found = closed_windows(kind, now)
        assert all(a.end == b.start for a, b in pairwise(found))
