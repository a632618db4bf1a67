"""The schedule of ``rebuild_events``: the days that are selected, whatever ran before."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def days(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    sys.modules.pop("millrace_days", None)
    import millrace_days

    return millrace_days


def selected(days: ModuleType, earliest: datetime, latest: datetime) -> list[Any]:
    schedule = days.SelectedDays.deserialize(days.SelectedDays().serialize())
    return list(schedule.iter_partition_dagrun_infos(earliest=earliest, latest=latest))


def test_each_day_of_a_backfill_has_its_run(days: ModuleType) -> None:
    found = selected(days, datetime(2026, 1, 30, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    assert [info.partition_key for info in found] == ["2026-01-30", "2026-01-31", "2026-02-01"]
    assert [f"{info.partition_date:%Y-%m-%d}" for info in found] == [
        info.partition_key for info in found
    ]


def test_no_earlier_run_of_a_day_stands_in_the_way_of_the_next(days: ModuleType) -> None:
    day = datetime(2026, 1, 30, tzinfo=UTC)
    (first,), (second,) = selected(days, day, day), selected(days, day, day)
    assert first.partition_key == second.partition_key
    assert first.partition_date != second.partition_date


def test_days_to_come_have_none(days: ModuleType) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    found = selected(days, today - timedelta(days=1), today + timedelta(days=3))
    assert {info.partition_key for info in found} <= {
        f"{today + timedelta(days=offset):%Y-%m-%d}" for offset in (-1, 0, 1)
    }
    assert all(info.run_after <= datetime.now(UTC) for info in found)


@pytest.mark.parametrize(
    ("key", "logical_date", "day"),
    [
        ("2026-01-30", None, date(2026, 1, 30)),
        (None, datetime(2026, 1, 30, 23, 59, tzinfo=UTC), date(2026, 1, 30)),
        (None, datetime.fromisoformat("2026-01-31T00:30:00+01:00"), date(2026, 1, 30)),
        ("2026-01-30", datetime(2026, 11, 1, tzinfo=UTC), date(2026, 1, 30)),
    ],
)
def test_the_day_is_the_one_that_was_written(
    days: ModuleType, key: str | None, logical_date: datetime | None, day: date
) -> None:
    assert days.day_of(SimpleNamespace(partition_key=key, logical_date=logical_date)) == day


def test_a_run_without_a_day_is_refused(days: ModuleType) -> None:
    with pytest.raises(ValueError, match="Backfill dialog"):
        days.day_of(SimpleNamespace(partition_key=None, logical_date=None))
