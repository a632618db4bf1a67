"""Restore the newest backups into empty servers and prove that they are good.

**What it does**, weekly and whenever you trigger it: brings up an empty ClickHouse and PostgreSQL
beside the live ones; restores the newest chain; reads every column of every table and compares rows
and hashes with the catalogue; asks what a dashboard asks; lets ingest go on from the recorded
Kafka positions there, and counts that no message is missing and none is there twice. Nothing of the
live stack is touched.

**The report** is the return value (*XCom* tab) and the end of the log of `drill`, pass or fail;
`restore_drills` keeps them all, with RTO and RPO as measured.

**When it fails**, the last good backup may not be good: read the step named FAILED, take a full
backup (`./millrace backups run --full`), and run the drill again.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowFailException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual

log = logging.getLogger(__name__)


@dag(
    schedule=CronTriggerTimetable("30 4 * * 0", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.BACKUPS, Tag.TIER_1],
    default_args=default_args(Pool.MAINTENANCE, retries=1, delay_seconds=300),
)
def drill_restore() -> None:
    """One task, since its servers live as long as it does."""

    @task(execution_timeout=timedelta(hours=6))
    def drill(ti: Any = None) -> dict[str, Any]:
        """Run the drill and return its report, which is there when it fails, too."""
        from millrace.usecases import drill as drills

        try:
            report = drills.run(settings())
        except drills.DrillError as error:
            ti.xcom_push("return_value", error.report.as_dict())
            raise AirflowFailException(str(error)) from error
        log.info("%s", report.text())
        return report.as_dict()

    drill()


drill_restore()
