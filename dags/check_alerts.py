"""Judge the alert rules every minute and tell whom they concern.

**What it does.** `collect` samples the pipeline's own state (lag, freshness, rejections) into
`pipeline_metrics`. `evaluate` judges every active rule at each full minute since the last one
judged, moves the alerts' states and writes what must be told into the outbox. `deliver` sends the
outbox through the connections of the routes.

**Running it again** is harmless: a minute is judged once, a notification is made once. After an
outage the minutes missed are judged first, at most `MILLRACE_ALERT_CATCH_UP_MINUTES` of them.

**When it fails.** `collect` and `evaluate` need PostgreSQL and ClickHouse; they retry, and the next
run catches up. `deliver` never fails because of a channel: what could not be sent is kept, tried
again with growing pauses, and shows in `./millrace alerts outbox`.

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
    def evaluate() -> str:
        """Sample the pipeline, then judge the minutes that are due."""
        from millrace.alerts import check, pipeline, schedule
        from millrace.settings import Settings

        settings = Settings()
        context = get_current_context()
        minute = schedule.await_minute(settings, context["logical_date"])
        pipeline.collect(settings, minute)
        run_url = f"{settings.airflow_url}/dags/check_alerts/runs/{context['run_id']}"
        summary = check.run(settings, run_url=run_url)
        print(summary)
        return str(summary)

    @task(trigger_rule="all_done")  # what waits is sent even if judging failed
    def deliver() -> str:
        """Send what waits in the outbox."""
        from millrace.alerts import outbox
        from millrace.settings import Settings
        from millrace_alert_senders import senders

        delivery = outbox.deliver(Settings(), senders())
        print(delivery)
        return str(delivery)

    evaluate() >> deliver()


check_alerts()
