"""Judge the alert rules every minute and notify those concerned.

**What it does.** Its one task (a second one's start would cost more than its work) samples the
pipeline's own state (lag, freshness, rejections) into `pipeline_metrics`, judges every active rule
at each full minute since the last one judged, moves the alerts' states, writes notifications into
the outbox, and sends the outbox through the connections of the routes.

**Safe to repeat.** A minute is judged once, a notification is made once. After an outage the
minutes missed are judged first, the last 60 of them, ten at a time: a run that is cut short keeps
those that it settled.

**When it fails.** Judging needs PostgreSQL and ClickHouse; it is tried again, and the next run
catches up; what waits in the outbox is sent all the same. Nothing fails because of a channel: what
could not be sent is kept, tried again with growing pauses, and shows in `./millrace alerts outbox`.

Commands: `./millrace alerts list | show | test | history | ack | silence`. Rules, channels and
metrics are explained in docs/alerts.md.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, get_current_context, task

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual

log = logging.getLogger(__name__)


@dag(
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=2,  # a channel that hangs in one run must not hold up the next
    tags=[Tag.ALERTS, Tag.TIER_1],
    default_args=default_args(Pool.ALERTS, retries=2, delay_seconds=2),
)
def check_alerts() -> None:
    """Sample, judge, notify."""

    @task(execution_timeout=timedelta(minutes=3))
    def judge_and_notify() -> str:
        """Sample the pipeline, judge the minutes that are due, send what waits."""
        from millrace.alerts import check, outbox, pipeline, schedule
        from millrace_alert_senders import senders

        known = settings()
        run = get_current_context()["dag_run"]
        minute = schedule.await_minute(known, run.logical_date or run.run_after)
        run_url = f"{known.airflow_url}/dags/check_alerts/runs/{run.run_id}"
        try:
            try:
                pipeline.collect(known, minute)
            finally:  # rules on events can be judged without samples of the pipeline
                summary = check.run(known, run_url=run_url)
        finally:
            delivery = outbox.deliver(known, senders())
            log.info("%s", delivery)
        log.info("%s", summary)
        return f"{summary}; {delivery}"

    judge_and_notify()


check_alerts()
