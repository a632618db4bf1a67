"""Delete what is past its retention, and a person's data on request.

**What it does**, daily: deletes files of replaced exports (a day after), export windows, links and
reports past their retention, chains of backups past theirs (never a link that another stands on,
never the newest), what failed backups left, and alerts' history. ClickHouse's tables expire by
their own TTL, the ledger's old batches are pruned by `ingest_events`.

**Erasure.** *Trigger* opens a form: a user's id as it was sent, and the reason. The person goes
from every table and copy, raw data, exports, archive and profile, and nothing that was sent before
comes back; the receipt is the return value of `erase` and a row in `erasures`. Backups forget when
they expire. `./millrace erase` does the same, and without `--yes` only counts.

**When it fails**: a store did not answer, and the next day's run makes up for it. An erasure that
failed is not done: clear `erase`, which goes on where it stopped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual, person

USER: dict[str, Any] = {"type": ["null", "string", "integer"], "maximum": 2**64 - 1}


@dag(
    schedule=CronTriggerTimetable("15 3 * * *", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.EXPORTS, Tag.BACKUPS, Tag.TIER_2],
    default_args=default_args(Pool.MAINTENANCE),
    params={
        "user_id": Param(None, title="Erase this user", **USER),
        "reason": Param(None, type=["null", "string"], title="Reason, for the receipt"),
    },
)
def expire_data() -> None:
    """Four independent expiries, and an erasure where one was asked for."""

    @task
    def expire(what: str) -> str:
        """Delete what is past its retention and return what that was."""
        from millrace.alerts import retention as alerts
        from millrace.backups import retention as backups
        from millrace.exports import retention as exports
        from millrace.reports import service as reports

        of = {"alerts": alerts, "exports": exports, "backups": backups, "reports": reports}
        return str(of[what].expire(settings(), datetime.now(UTC)))

    @task
    def erase(params: dict[str, Any] | None = None, dag_run: Any = None) -> dict[str, Any]:
        """Erase the user of the form; skipped when there is none."""
        from millrace.usecases import erase_person

        form = params or {}
        if not form.get("user_id"):
            raise AirflowSkipException("no user was named")
        who, original_id = person(dag_run, "expire_data"), str(form["user_id"])
        user_id = erase_person.user_id_of(settings(), original_id)
        return erase_person.erase(settings(), user_id, who, form.get("reason") or "", original_id)

    expire.override(task_id="expire_exports")("exports")
    expire.override(task_id="expire_backups")("backups")
    expire.override(task_id="expire_reports")("reports")
    expire.override(task_id="expire_alerts")("alerts")
    erase()


expire_data()
