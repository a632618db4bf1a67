"""Rebuild days of events: judge their messages again under today's rules.

**What it does.** Reads a day's messages from the best source that still has them (`raw_events`,
then the raw archive, then Kafka by timestamp), judges and audits them, and swaps the day in with
its rollups. Live ingest goes on; readers never see half a day. It covers every event of the day;
every rejected message that Kafka got on the day (its reasons are renewed); and rejected messages of
the days around that are events of this day under today's rules. A message that was rejected and
belongs to another day is left to that day's rebuild.

**Run it** from the *Backfill* dialog (or `airflow backfill create --dag-id rebuild_events
--from-date 2026-01-30 --to-date 2026-02-01`): exactly the days selected are rebuilt, one after
another, whatever is chosen about runs that exist. *Trigger* rebuilds one day: that of the partition
key (`2026-01-30`), or of the logical date if there is no key. It never runs by itself: leave it
unpaused, since a backfill of a paused DAG waits.

**When it fails**: the day is as it was, and the log says why. *can't be rebuilt* names the offsets
that none of the three sources holds any more. Clear the task to try again; what a killed run left
behind is cleaned up first, and a swap that a kill cut in two is finished.

**What changed** (messages before and after, as events and by reason; how many came from which
source) is at the end of the task's log, in the extra of its event of the asset `rebuilt_events`
(*Assets*, or *Asset Events* of the run), and the task's return value (XCom).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual
from millrace_days import SelectedDays, day_of

REBUILT = Asset("rebuilt_events")


@dag(
    schedule=SelectedDays(),
    **manual(__doc__),
    max_active_runs=1,  # a backfill has its own limit; there, the pool's one slot is what binds
    tags=[Tag.INGEST, Tag.MAINTENANCE, Tag.TIER_3],
    default_args=default_args(Pool.REBUILD, retries=2, delay_seconds=30),
)
def rebuild_events() -> None:
    """Rebuild a day of events."""

    @task(outlets=[REBUILT], execution_timeout=timedelta(hours=6))
    def rebuild(*, outlet_events: Any = None) -> dict[str, Any]:
        """Rebuild the run's day and return what changed."""
        from millrace.ingest import rebuild as rebuilding

        try:
            day = day_of(get_current_context()["dag_run"])
        except ValueError as error:
            raise AirflowFailException(str(error)) from error
        report = rebuilding.rebuild(settings(), day).as_dict()
        outlet_events[REBUILT].extra = report
        return report

    rebuild()


rebuild_events()
