"""Export events, rejected events, marts and the raw archive as Parquet.

**What it does**, every hour: finds the windows that are due (those of the hour just ended, daily
ones after midnight, any that failed or were withheld before, and any that got late events or a
rebuilt day since, however old they are; 200 at most, the newest first) and exports each: ClickHouse
writes the files below the run's own folder, rows and a hash of every value are compared with the
source, then one manifest publishes them.

**Quality gate.** A window whose gate says `withheld`, or has not judged it yet, is skipped: its
task is pink and says why, `export_runs` keeps the reason, and the next run tries it again. The raw
archive has no gate; it waits only until no micro-batch of the hour is open.

**When it fails.** Read the task's log: it names the export, the window and the reason. A rerun is
always safe: readers see the old manifest until the new one is in its place.

**By hand.** `./millrace exports run …` exports a window once more, changed or not.

Definitions are data: `include/seeds/exports.yaml`, `./millrace exports list`. See docs/exports.md.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual

WINDOW = "task.op_kwargs['window']"


@dag(
    schedule=CronTriggerTimetable("5 * * * *", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.EXPORTS, Tag.TIER_2],
    default_args=default_args(Pool.MAINTENANCE),
)
def export_events() -> None:
    """Find what is due, then export each window in a task of its own."""

    @task
    def find_due(dag_run: Any = None) -> list[dict[str, str]]:
        """List the windows to export; the list is this task's return value."""
        from millrace.exports import service

        return service.due(settings(), dag_run.logical_date or dag_run.run_after)

    @task(map_index_template=f"{{{{ {WINDOW}['name'] }}}} {{{{ {WINDOW}['start'] }}}}")
    def export(window: dict[str, str]) -> dict[str, object]:
        """Export one window; skip, saying why, while its quality gate does not let it pass."""
        from millrace.exports import service
        from millrace.exports.catalogue import NotPublishableError

        try:
            return service.export(settings(), window, requested_by="export_events")
        except NotPublishableError as error:
            raise AirflowSkipException(str(error)) from error

    export.expand(window=find_due())


export_events()
