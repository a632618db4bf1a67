"""Judge the alert rules every minute and tell whom they concern.

**What it does.** Its one task (a second one's start would cost more than its work) samples the
pipeline's own state (lag, freshness, rejections) into `pipeline_metrics`, judges every active rule
at each full minute since the last one judged, moves the alerts' states, writes what must be told
into the outbox, and sends the outbox through the connections of the routes.

**Running it again** is harmless: a minute is judged once, a notification is made once. After an
outage the minutes missed are judged first, at most `MILLRACE_ALERT_CATCH_UP_MINUTES` of them.

**When it fails.** Judging needs PostgreSQL and ClickHouse; it is tried again, and the next run
catches up; what waits in the outbox is sent all the same. Nothing fails because of a channel: what
could not be sent is kept, tried again with growing pauses, and shows in `./millrace alerts outbox`.

**Commands.** `./millrace alerts list | show | test | history | ack | silence`. Rules, channels and
metrics are explained in `docs/alerts.md`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag, get_current_context, task
from airflow.timetables.trigger import CronTriggerTimetable


@dag(
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC"),
    start_date=datetime(2024, 1, 1),
    catchup=False,
    max_active_runs=2,  # a channel that hangs in one run must not hold up the next
    doc_md=__doc__,
    tags=["alerts"],
    default_args={
        "owner": "data-engineering",
        "retries": 2,
        "retry_delay": timedelta(seconds=2),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(minutes=3),
    },
)
def check_alerts() -> None:
    """Wire sampling, judging and telling."""

    @task
    def judge_and_tell() -> str:
        """Sample the pipeline, judge the minutes that are due, send what waits."""
        from millrace.alerts import check, outbox, pipeline, schedule
        from millrace.settings import Settings
        from millrace_alert_senders import senders

        settings = Settings()
        context = get_current_context()
        run_url = f"{settings.airflow_url}/dags/check_alerts/runs/{context['run_id']}"
        minute = schedule.await_minute(settings, context["logical_date"])
        try:
            pipeline.collect(settings, minute)
            summary = check.run(settings, run_url=run_url)
        finally:
            delivery = outbox.deliver(settings, senders())
            print(delivery)
        print(summary)
        return f"{summary}; {delivery}"

    judge_and_tell()


check_alerts()
