"""### Audit closed windows, publish or withhold them, and measure quality.

Audits every closed window with Great Expectations and publishes or withholds it; measures each
closed hour against its targets and looks for unusual volumes, delays and distributions in it;
counts what each rule hit, shadow rules included; looks for drifting fields.

**Runs** every five minutes, a minute after the window has closed. Five-minute windows get the fast
checks; hours (five minutes after they end) and days (an hour after) the deep ones. A window that
was missed, because the scheduler was down say, is caught up on; one that late events or a rebuild
changed is audited again, and its hour measured again.

**When `audit` fails with `withheld`**: a window broke something critical; nothing of it is exported
or in the database `published`. The log says what is not so, with an example and the report's
address; *Data quality* in the menu shows in one screen what is wrong now. Repair the cause
(`replay_rejected_events`, `rebuild_events`): a window whose events changed is audited again by
itself. By hand: `./millrace quality audit --at 2026-01-01T12:00 --kind 5m`.
Each window fails once; the next runs are green if their windows are.

**When another task fails**: a store did not answer; clear it once the store is back. Every task may
run twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag, task


@dag(
    schedule="1-59/5 * * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["quality"],
    default_args={
        "owner": "data-engineering",
        "retries": 2,
        "retry_delay": timedelta(seconds=15),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=2),
        "execution_timeout": timedelta(minutes=30),
    },
)
def check_quality() -> None:
    """Audit, publish, measure, watch."""

    @task
    def audit() -> str:
        from airflow.sdk.exceptions import AirflowFailException

        from millrace.quality import audit as auditing
        from millrace.quality.model import QualityError
        from millrace.settings import Settings

        audits = auditing.audit_closed(Settings())
        try:
            return auditing.demand(audits)
        except QualityError as error:
            # The verdict is written; a retry would find nothing left to audit and turn green.
            raise AirflowFailException(str(error)) from error

    @task
    def judge_hours() -> list[str]:
        from millrace.quality import hours
        from millrace.settings import Settings

        return [hour.label for hour in hours.judge_closed(Settings())]

    @task
    def count_rule_hits() -> int:
        from millrace.rules import hits
        from millrace.settings import Settings

        return hits.count_closed(Settings())

    @task
    def record_drift() -> int:
        from millrace.rules import drift
        from millrace.settings import Settings

        return drift.record(Settings())

    @task
    def refresh_baselines() -> list[str]:
        from millrace.settings import Settings
        from millrace.usecases import gates

        return gates.refresh_baselines(Settings(), older_than=timedelta(hours=1))

    audit()
    refresh_baselines()
    judge_hours()
    count_rule_hits() >> record_drift()


check_quality()
