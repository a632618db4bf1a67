"""# rebuild_events.

Rebuilds a day of `events`: its messages are judged anew under today's rules, from the best source
that still has them (`raw_events`, then the raw archive, then Kafka by timestamp), audited, and
swapped in with their rollups. Live ingest goes on; readers never see half a day.

**Run it** from the *Backfill* dialog (or `airflow backfill create --dag-id rebuild_events
--from-date 2026-01-30 --to-date 2026-02-01`): exactly the days selected are rebuilt, two at a time.
It never runs by itself: leave it unpaused, since a backfill of a paused DAG waits.

**What it covers**: every event of the day; every rejected message that Kafka got on the day (its
reasons are renewed); and rejected messages of the days around that are events of this day under
today's rules. A message that was rejected and belongs to another day is left to that day's rebuild.

**When it fails**: the day is as it was, and the log says why. *can't be rebuilt* names the offsets
that none of the three sources holds any more. Clear the task to try again; what a killed run left
behind is cleaned up first, and a swap that a kill cut in two is finished.

**What changed** (messages before and after, as events and by reason; how many came from which
source) is at the end of the task's log, in the extra of its event of the asset `rebuilt_events`
(*Assets*, or *Asset Events* of the run), and the task's return value (XCom).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Asset, dag, get_current_context, task

REBUILT = Asset("rebuilt_events")


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=2,
    doc_md=__doc__,
    tags=["ingest", "maintenance"],
    default_args={
        "owner": "data-engineering",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
    },
)
def rebuild_events() -> None:
    """Rebuild a day of events."""

    @task(outlets=[REBUILT], execution_timeout=timedelta(hours=6))
    def rebuild(*, outlet_events: Any = None) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from millrace.ingest import rebuild as rebuilding
        from millrace.settings import Settings

        run = get_current_context()["dag_run"]
        if run.run_type == "scheduled":
            raise AirflowSkipException("only backfills and manual runs rebuild a day")
        start = run.data_interval_start or run.logical_date
        if start is None:
            raise ValueError("the run has no day; start it as a backfill or with a logical date")
        report = rebuilding.rebuild(Settings(), start.date()).as_dict()
        outlet_events[REBUILT].extra = report
        return report

    rebuild()


rebuild_events()
