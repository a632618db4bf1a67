"""### Delete what is past its retention, and a person's data on request.

**What it does**, daily: files of replaced exports (a day after), export windows and links past
their retention, chains of backups past theirs (never a link that another stands on, never the
newest), and what failed backups left. ClickHouse's tables expire by their own TTL, the ledger's old
batches are pruned by `ingest_events`.

**Erasure.** *Trigger* opens a form: a user id and the reason. The person's rows go from every table
with a user, raw data, exports, archive and profile; the receipt is the return value of `erase` and
a row in `erasures`. Backups forget when they expire. `./millrace backups erase` does the same, and
without `--yes` only counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, task
from airflow.sdk.exceptions import AirflowSkipException


@dag(
    # Without a start date the first run waits for its hour, so a new stack is not swamped.
    schedule=CronTriggerTimetable("15 3 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["exports", "backups", "tier-2"],
    default_args={
        "owner": "data-engineering",
        "pool": "maintenance",
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
    },
    params={
        "user_id": Param(None, type=["null", "integer"], title="Erase this user", minimum=1),
        "reason": Param(None, type=["null", "string"], title="Reason, for the receipt"),
    },
)
def expire_data() -> None:
    """Two independent expiries, and an erasure where one was asked for."""

    @task
    def expire_exports() -> str:
        """Delete export objects that no reader needs."""
        from datetime import UTC

        from millrace.exports import retention
        from millrace.settings import Settings

        return str(retention.expire(Settings(), datetime.now(UTC)))

    @task
    def expire_backups() -> list[str]:
        """Delete chains of backups past retention; returns their ids."""
        from datetime import UTC

        from millrace.backups import retention
        from millrace.settings import Settings

        return retention.expire(Settings(), datetime.now(UTC))

    @task
    def erase(params: dict[str, Any] | None = None, dag_run: Any = None) -> dict[str, Any]:
        """Erase the user of the form; skipped when there is none."""
        from millrace.settings import Settings
        from millrace.usecases import erase_person

        form = params or {}
        if not form.get("user_id"):
            raise AirflowSkipException("no user was named")
        who = dag_run.triggering_user_name or "expire_data"
        return erase_person.erase(Settings(), form["user_id"], who, form.get("reason") or "")

    expire_exports()
    expire_backups()
    erase()


expire_data()
