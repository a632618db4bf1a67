"""### Restore the newest backups into empty servers and prove that they are good.

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

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowFailException


@dag(
    # Without a start date the first run waits for its hour, so a new stack is not swamped.
    schedule=CronTriggerTimetable("30 4 * * 0", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["backups", "tier-1"],
    default_args={
        "owner": "data-engineering",
        "pool": "maintenance",
        "retries": 1,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
    },
)
def drill_restore() -> None:
    """One task, since its servers live as long as it does."""

    @task(execution_timeout=timedelta(hours=6))
    def drill(ti: Any = None) -> dict[str, Any]:
        """Run the drill and return its report, which is there when it fails, too."""
        from millrace.settings import Settings
        from millrace.usecases import drill as drills

        try:
            report = drills.run(Settings())
        except drills.DrillError as error:
            ti.xcom_push("return_value", error.report.as_dict())
            raise AirflowFailException(str(error)) from error
        print(report.text())
        return report.as_dict()

    drill()


drill_restore()
