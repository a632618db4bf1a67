"""Load events from Kafka into ClickHouse, exactly once, without end.

**What it does.** `plan` compiles the rules, brings ledger and warehouse into line and splits each
source's partitions among the `load` tasks, which load until a task of the next run is ready to take
over. A run begins every `MILLRACE_INGEST_RUN_SECONDS` (600), so two overlap for some seconds;
without a next one it ends after twice that time. `plan_again` is skipped while all is well; it
begins a new run when a task failed, or ended early (the topic changed, a database was restored).

**When it fails.** A task that can't reach a server tries on and says so in its log, until its time
is up. *`LeaseLostError`*: another worker took over (this one was paused too long); the retry waits
for it, or ends if that one belongs to a later run. *`has no gate`*: the rules don't compile; see
`./millrace rules`. *Data loss* is never silent: see `./millrace ingest status`.

**Safe at any time:** kill a task, mark it failed, clear it, trigger a run (it takes over), pause
the DAG (the run ends by itself, or at once when marked failed), restart the scheduler. Nothing is
lost or repeated. A source is added with `sources add`. See docs/exactly-once.md.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, DeltaTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from millrace.settings import Settings
from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual, on_termination

EVENTS, OUTDATED_PLAN = Asset("events"), Asset("outdated_ingest_plan")
INTERVAL = timedelta(seconds=Settings().ingest_run_seconds)
SHARE = "{{ task.op_kwargs['share']['name'] }}"


@dag(
    schedule=AssetOrTimeSchedule(timetable=DeltaTriggerTimetable(INTERVAL), assets=[OUTDATED_PLAN]),
    **manual(__doc__),
    max_active_runs=2,
    tags=[Tag.INGEST, Tag.TIER_1],
    default_args=default_args(Pool.INGEST, retries=8, delay_seconds=2, longest_seconds=60),
)
def ingest_events() -> None:
    """Plan, then load the shares side by side."""

    @task(execution_timeout=timedelta(minutes=15))
    def plan(ti: Any = None) -> list[dict[str, Any]]:
        """Compile the rules, reconcile, and split the partitions of every active source."""
        from millrace.usecases import gates

        return gates.plan(settings(), ti.run_id, ti.try_number)

    @task(outlets=[EVENTS], execution_timeout=3 * INTERVAL, map_index_template=SHARE)
    def load(share: Any, dag_run: Any = None, ti: Any = None, outlet_events: Any = None) -> Any:
        """Load a share until the next run takes over."""
        from millrace.ingest.worker import Share, Worker

        worker = Worker(settings(), Share.from_dict(share), ti.run_id, ti.try_number)
        on_termination(worker.leave)
        left = 2 * INTERVAL - (datetime.now(UTC) - dag_run.start_date)
        outlet_events[EVENTS].extra = done = worker.run(left.total_seconds()).as_dict()
        return done

    @task(outlets=[OUTDATED_PLAN])
    def plan_again(ti: Any = None) -> None:
        """Ask for a new run if a task of this one ended early or failed."""
        from millrace.ingest.planning import ended_as_planned

        if ended_as_planned(ti.xcom_pull(task_ids="plan"), ti.xcom_pull(task_ids=["load"])):
            raise AirflowSkipException("every task ended as planned")

    load.expand(share=plan()) >> plan_again().as_teardown()


ingest_events()
