"""Export events, rejected events, marts and the raw archive as Parquet.

**What it does.** Every hour: finds the windows that are due (those of the hour just ended, daily
ones after midnight, any that failed or were withheld before, and any that got late events or a
rebuilt day since) and exports each: ClickHouse writes the files below the run's own folder, rows
and a hash of every value are compared with the source, then one manifest publishes them.

**Quality gate.** A window whose gate says `withheld`, or has not judged it yet, is skipped: its
task is pink and says why, `export_runs` keeps the reason, and the next run tries it again. The raw
archive has no gate; it waits only until no micro-batch of the hour is open.

**When it fails.** Read the task's log: it names the export, the window and the reason. A rerun is
always safe: readers see the old manifest until the new one is in its place.

**Backfill.** Use *Trigger → Backfill* with a range of hours; each hour's windows are exported anew.

Definitions are data: `include/seeds/exports.yaml`, `./millrace exports list`. See docs/exports.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException


@dag(
    # Without a start date the first run waits for its hour, so a new stack is not swamped.
    schedule=CronTriggerTimetable("5 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["exports", "tier-2"],
    default_args={
        "owner": "data-engineering",
        "pool": "maintenance",
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
    },
)
def export_events() -> None:
    """Find what is due, then export each window in a task of its own."""

    @task
    def find_due(data_interval_end: datetime | None = None) -> list[dict[str, str]]:
        """List the windows to export; the list is this task's return value."""
        from millrace.exports import service
        from millrace.settings import Settings

        return service.due(Settings(), data_interval_end)

    @task(map_index_template="{{ window['name'] }} {{ window['start'] }}")
    def export(window: dict[str, str]) -> dict[str, object]:
        """Export one window; skip, saying why, while its quality gate does not let it pass."""
        from millrace.exports import service
        from millrace.exports.writer import NotPublishableError
        from millrace.settings import Settings

        try:
            return service.export(Settings(), window, requested_by="export_events")
        except NotPublishableError as error:
            raise AirflowSkipException(str(error)) from error

    export.expand(window=find_due())


export_events()
