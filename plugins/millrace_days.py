"""The schedule of a DAG that works on days: those that people ask for, and no other.

Airflow's own schedules make a run for each day by themselves. Even one that did nothing would then
stand in the way: *Backfill* with *Missing runs*, its default, leaves out each day that has a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, TimeRestriction, Timetable
from airflow.timetables.trigger import CronPartitionTimetable

KEY_FORMAT = "%Y-%m-%d"


class SelectedDays(CronPartitionTimetable):
    """A run for each day of a backfill, whatever runs the day had before.

    The day is the run's partition key. Airflow finds a day's earlier runs by the partition date, so
    that is the day at the time of asking, which no earlier run can have.
    """

    description = "Days that are selected"

    def __init__(self) -> None:
        super().__init__("0 0 * * *", timezone="UTC", key_format=KEY_FORMAT)

    @property
    def summary(self) -> str:
        """The schedule as lists show it."""
        return self.description

    def serialize(self) -> dict[str, Any]:
        """Return the arguments: none."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        """Return the schedule."""
        return cls()

    def next_dagrun_info_v2(
        self, *, last_dagrun_info: DagRunInfo | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return nothing: the scheduler makes no run."""
        return None

    def iter_partition_dagrun_infos(
        self, *, earliest: datetime, latest: datetime
    ) -> Iterable[DagRunInfo]:
        """Yield a run for each day of a backfill that has begun."""
        now = datetime.now(UTC)
        since_midnight = now - now.replace(hour=0, minute=0, second=0, microsecond=0)
        for info in super().iter_partition_dagrun_infos(earliest=earliest, latest=latest):
            if info.partition_date is not None and info.partition_date <= now:
                yield info._replace(partition_date=info.partition_date + since_midnight)


def day_of(run: Any) -> date:
    """Return the day that a DAG run is about: its partition key, or the logical date written.

    Raises ``ValueError`` when it has neither.
    """
    if run.partition_key:
        return datetime.strptime(run.partition_key, KEY_FORMAT).replace(tzinfo=UTC).date()
    if run.logical_date is None:
        raise ValueError(
            "the run has no day: start it from the Backfill dialog, or trigger it with a partition "
            "key such as 2026-01-30 or a logical date on the day"
        )
    moment: datetime = run.logical_date
    return moment.astimezone(UTC).date()


class Days(AirflowPlugin):
    """Makes the schedule known to Airflow."""

    name = "millrace_days"
    timetables: ClassVar[list[type[Timetable]]] = [SelectedDays]
