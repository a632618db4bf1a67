"""Bring the models in ClickHouse's `analytics` database up to date with new events.

Rollups (`metrics_1min`, `page_views_1min` and coarser) are fed by ingest itself and only tested
here; sessions, activity, unique users and the funnel are built for what new events touched.

**Runs** when `ingest_events` ends a stretch of loading, when files of the dbt project changed and
then stood still for ten seconds, and every hour; one run at a time, in pool `transform`, so that it
never takes ingest's slots. Where nothing arrived since the last build, the models are skipped.

**Tasks**: `deploy` compares the dbt project with the deployed one. What changed is built in a
shadow with its history, tested, and swapped; a broken model fails `deploy`, and the last good
version stays and is still built. `models` has a task per model with its tests, all served by one
`dbt build` (`dbt_producer_watcher`). A model that fails stops what depends on it, nothing else.
`record_build` notes up to when all were built.

**When `deploy` fails**: its log names the models and tests. Mend them; the change starts the next
run. **When a model fails**: its log has dbt's reason; the next run starts from the same watermark,
so that nothing is missed. **To build every model anew from all events**: remove
`$MILLRACE_HOME/dbt/deployed` and run `./millrace dbt deploy`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import cosmos
from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, TriggerRule, dag, task

from millrace.settings import Settings
from millrace.transform import project
from millrace_dbt_project import PROJECT

DEPLOYED = project.deployed(Settings())


def set_environment(_context: Any, operator: Any) -> None:
    """Give dbt its profile's values when it runs, so that no secret is part of the DAG."""
    operator.env = project.profile(Settings(), project.PRODUCTION)


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 * * * *", timezone="UTC"),
        assets=Asset("events") | PROJECT,
    ),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["transform", "dbt"],
    default_args={
        "owner": "data-engineering",
        "pool": "transform",
        "retries": 2,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
    },
)
def build_models() -> None:
    """Deploy the dbt project if it changed, then build and test its models."""

    @task(execution_timeout=timedelta(hours=2))
    def deploy() -> list[str]:
        from airflow.sdk.exceptions import AirflowFailException

        from millrace.transform import deploy as deployment

        try:
            return deployment.deploy(Settings(), is_retry=False).built
        except deployment.DeploymentError as error:  # another try would find the same
            raise AirflowFailException(str(error)) from error

    # The last good version is built even when a change could not be deployed.
    @task.short_circuit(trigger_rule=TriggerRule.ALL_DONE)
    def record_watermark() -> str:
        from millrace.transform import watermark

        settings = Settings()
        moment = watermark.record_published_through(settings).isoformat()
        return moment if watermark.is_anything_new(settings) else ""

    @task
    def record_build(built_through: str) -> None:
        from millrace.transform import watermark

        watermark.record_build(Settings(), datetime.fromisoformat(built_through))

    ready = record_watermark()
    deploy() >> ready
    if not (DEPLOYED / "target" / "manifest.json").exists():
        return
    models = cosmos.DbtTaskGroup(
        group_id="models",
        project_config=cosmos.ProjectConfig(
            dbt_project_path=DEPLOYED,
            manifest_path=DEPLOYED / "target" / "manifest.json",
            project_name="millrace",
            install_dbt_deps=False,
        ),
        profile_config=cosmos.ProfileConfig(
            profile_name="millrace",
            target_name=project.PRODUCTION,
            profiles_yml_filepath=DEPLOYED / "profiles.yml",
        ),
        execution_config=cosmos.ExecutionConfig(execution_mode=cosmos.ExecutionMode.WATCHER),
        render_config=cosmos.RenderConfig(
            load_method=cosmos.LoadMode.DBT_MANIFEST,
            emit_datasets=False,
            # nothing is done for exposures, and the deployment ran the unit tests
            exclude=["resource_type:exposure", "resource_type:unit_test"],
        ),
        operator_args={"interceptors": [set_environment]},
    )
    ready >> models >> record_build(ready)


build_models()
