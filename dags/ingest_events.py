"""### Load events from Kafka into ClickHouse, exactly once, without end.

**What it does.** `plan` compiles the rules, follows the topics, brings the ledger (PostgreSQL) and
the warehouse into line and splits each source's partitions among tasks. Each mapped `load` task
owns its partitions and loads micro-batches of 200 ms or more, until a task of the next run is ready
to take over. A run begins every `MILLRACE_INGEST_RUN_SECONDS` (600), so two overlap for some
seconds; without a next run, a run ends after twice that time. `plan_again` is skipped as long as
all is well; it begins a new run at once when a task ended early (the topic changed, a database was
restored) or failed.

**When it waits.** A task that can't reach Kafka, ClickHouse or PostgreSQL keeps trying until its
time is up, and its log says every few seconds what it waits for. If the trouble lasts, the task
fails and is retried. Nothing is lost or repeated by that.

**When it fails.**
- *`LeaseLostError`*: another worker took over (this one was paused too long). The retry waits for
  it, or ends if that one belongs to a later run.
- *`has no gate`*: the rules don't compile; see `./millrace rules`.
- *Data loss* is never silent: see the table `ingest_incidents`, or `./millrace ingest status`.

**Safe to do at any time:** kill a task, mark it failed, clear it, trigger a run (it takes over),
pause the DAG (the run ends by itself, or at once when marked failed), restart the scheduler.

**Add a source:** insert a row into `data_sources`; the next run ingests it.
See docs/exactly-once.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import (
    Asset,
    AssetOrTimeSchedule,
    DeltaTriggerTimetable,
    dag,
    get_current_context,
    task,
)
from airflow.sdk.exceptions import AirflowSkipException

from millrace.settings import Settings

EVENTS = Asset("events")
OUTDATED_PLAN = Asset("outdated_ingest_plan")
INTERVAL = timedelta(seconds=Settings().ingest_run_seconds)


@dag(
    schedule=AssetOrTimeSchedule(timetable=DeltaTriggerTimetable(INTERVAL), assets=[OUTDATED_PLAN]),
    start_date=datetime(2024, 1, 1),
    catchup=False,
    max_active_runs=2,
    doc_md=__doc__,
    tags=["ingest", "tier-1"],
    default_args={
        "owner": "data-engineering",
        "pool": "ingest",
        "retries": 8,
        "retry_delay": timedelta(seconds=2),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=1),
    },
)
def ingest_events() -> None:
    """Plan, then load the shares side by side."""

    @task(execution_timeout=timedelta(minutes=15))
    def plan() -> list[dict[str, Any]]:
        """Compile the rules, reconcile, and split the partitions of every active source."""
        from millrace.usecases import gates

        context = get_current_context()
        return gates.plan(Settings(), context["run_id"], context["ti"].try_number)

    @task(outlets=[EVENTS], execution_timeout=3 * INTERVAL, map_index_template="{{ share }}")
    def load(share: dict[str, Any], *, outlet_events: Any = None) -> dict[str, Any]:
        """Load one share's partitions until the next run takes over."""
        from datetime import UTC

        from millrace.ingest.worker import Share, Worker

        context = get_current_context()
        mine = Share.from_dict(share)
        context["share"] = mine.label  # type: ignore[typeddict-unknown-key]
        elapsed = datetime.now(UTC) - context["dag_run"].start_date
        worker = Worker(Settings(), mine, context["run_id"], context["ti"].try_number)
        done = worker.run((2 * INTERVAL - elapsed).total_seconds()).as_dict()
        outlet_events[EVENTS].extra = done
        return done

    @task(outlets=[OUTDATED_PLAN])
    def plan_again() -> None:
        """Ask for a new run if a task of this one ended early or failed."""
        from millrace.ingest.planning import ended_as_planned

        ti = get_current_context()["ti"]
        done = filter(None, ti.xcom_pull(task_ids=["load"]))
        if ended_as_planned(ti.xcom_pull(task_ids="plan"), done):
            raise AirflowSkipException("every task ended as planned")

    load.expand(share=plan()) >> plan_again().as_teardown()


ingest_events()
