"""Bring the models in ClickHouse's `analytics` database up to date with new events.

**What it does.** `deploy` compares the dbt project with the deployed one. What changed is built in
a shadow with its history, tested, and swapped; a broken model fails `deploy`, and the last good
version stays and is still built. `models` has a task per model with its tests, all served by one
`dbt build` (`dbt_producer_watcher`): sessions, activity, unique users and the funnel are built for
what new events touched; rollups (`metrics_1min`, `page_views_1min` and coarser) are fed by ingest
itself and only tested. `record_build` notes up to when all were built.

**It runs** when `ingest_events` ends a stretch of loading, when files of the dbt project changed
and then stood still for ten seconds, and every hour. Where nothing arrived since the last build,
the models are skipped.

**When `deploy` fails**: its log names the models and tests. Mend them; the change starts the next
run. **When a model fails**: its log has dbt's reason, and what depends on it is not built; the next
run starts from the same watermark, so that nothing is missed. **To build every model again from all
events**: remove `$MILLRACE_HOME/dbt/deployed` and run `./millrace dbt deploy`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, TriggerRule, dag, task
from airflow.sdk.exceptions import AirflowFailException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual
from millrace_dbt_project import PROJECT
from millrace_models import model_tasks

HOURLY = CronTriggerTimetable("0 * * * *", timezone="UTC")


@dag(
    schedule=AssetOrTimeSchedule(timetable=HOURLY, assets=Asset("events") | PROJECT),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.TRANSFORM, Tag.TIER_2],
    default_args=default_args(Pool.TRANSFORM, retries=2),
)
def build_models() -> None:
    """Deploy the dbt project if it changed, then build and test its models."""

    @task(execution_timeout=timedelta(hours=2))
    def deploy() -> list[str]:
        from millrace.transform.deploy import DeploymentError
        from millrace.usecases.deploy_models import deploy_models

        try:
            return deploy_models(settings(), is_retry=False).built
        except DeploymentError as error:  # another try would find the same
            raise AirflowFailException(str(error)) from error

    # The last good version is built even when a change could not be deployed.
    @task.short_circuit(trigger_rule=TriggerRule.ALL_DONE)
    def record_watermark() -> str:
        from millrace.transform import watermark

        moment = watermark.record_published_through(known := settings()).isoformat()
        return moment if watermark.is_anything_new(known) else ""

    @task
    def record_build(built_through: str) -> None:
        from millrace.transform import watermark

        watermark.record_build(settings(), datetime.fromisoformat(built_through))

    deploy() >> (ready := record_watermark())
    if (models := model_tasks("models")) is not None:
        ready >> models >> record_build(ready)


build_models()
