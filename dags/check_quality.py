"""Audit closed windows, publish or withhold them, and measure quality.

**What it does**, every five minutes, a minute after the window has closed: audits it with Great
Expectations and publishes or withholds it (hours and days get deep checks, five minutes and an hour
after their end); measures each closed hour against its targets and looks for anomalies in it;
counts what each rule hit, shadow rules included; looks for drifting fields. A window that was
missed is caught up on; one that late events or a rebuild changed is audited and measured again.

**When `audit` fails with `withheld`**: a window broke something critical; nothing of it is exported
or in the database `published`. The log says what is not so, with an example; *Data quality* in the
menu shows in one screen what is wrong now. Repair the cause (`replay_rejected_events`,
`rebuild_events`): a window that changed is audited again by itself. Each fails once.

**When another task fails**: a store did not answer; clear it once it does. All may run twice.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowFailException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual


@dag(
    schedule=CronTriggerTimetable("1-59/5 * * * *", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.QUALITY, Tag.TIER_2],
    default_args=default_args(Pool.QUALITY, timeout=timedelta(minutes=30)),
)
def check_quality() -> None:
    """Audit, publish, measure, watch."""

    @task
    def audit() -> str:
        from millrace.quality import audit as auditing
        from millrace.quality.model import QualityError

        try:
            return auditing.demand(auditing.audit_closed(settings()))
        except QualityError as error:
            # The verdict is written; a retry would find nothing left to audit and turn green.
            raise AirflowFailException(str(error)) from error

    @task
    def judge_hours() -> list[str]:
        from millrace.quality import hours

        return [hour.label for hour in hours.judge_closed(settings())]

    @task
    def watch_rules() -> dict[str, int]:
        from millrace.rules import drift, hits

        return {"hits": hits.count_closed(known := settings()), "drifts": drift.record(known)}

    @task
    def refresh_baselines() -> list[str]:
        from millrace.usecases import gates

        return gates.refresh_baselines(settings(), older_than=timedelta(hours=1))

    audit()
    refresh_baselines()
    judge_hours()
    watch_rules()


check_quality()
