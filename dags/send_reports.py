"""Make reports that are due, and send them to those who asked for them.

**What it does**, every quarter of an hour: asks the query API the questions of each report whose
moment has come, makes a page of the answers that says what each number is worth, stores it in the
bucket under `reports/`, and sends it through routes of alerts (e-mail, Slack, webhook). *Trigger*
opens a form: the name of a report that is made now.

**Safe to repeat.** A report goes out once for each moment, and to nobody twice: what was sent is in
`report_runs`. After an outage only the newest moment is made up for.

**When it fails**, the log names the recipient or the question. *does not answer*: the query API was
away; the next run tries again. A question that is refused fails no report: its page says why.

Reports are data: `GET /v1/reports`. See docs/reports.md.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual, person


@dag(
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.EXPORTS, Tag.TIER_2],
    default_args=default_args(Pool.MAINTENANCE),
    params={"report": Param(None, type=["null", "string"], title="Make this report now")},
)
def send_reports() -> None:
    """Find what is due, then make each report in a task of its own."""

    @task
    def find_due(params: dict[str, Any], dag_run: Any = None) -> list[dict[str, str]]:
        from millrace.reports import service

        if params["report"]:
            return [{"report": params["report"], "due": dag_run.run_id}]
        return service.due(settings(), datetime.now(UTC))

    @task(
        map_index_template="{{ task.op_kwargs['wanted']['report'] }}",
        execution_timeout=timedelta(minutes=15),
    )
    def send(wanted: dict[str, str], dag_run: Any = None) -> dict[str, Any]:
        from millrace.reports import service
        from millrace.reports.model import ReportError
        from millrace_report_senders import senders

        who = person(dag_run, "schedule")
        try:
            return service.make(settings(), wanted["report"], wanted["due"], who, senders())
        except ReportError as error:
            raise AirflowFailException(str(error)) from error

    send.expand(wanted=find_due())


send_reports()
