"""A task for each deployed dbt model, made by Cosmos from the manifest of the deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cosmos import DbtTaskGroup


def model_tasks(group_id: str) -> DbtTaskGroup | None:
    """Return a group with a task for each model and its tests; none before the first deployment.

    One ``dbt build``, the task ``dbt_producer_watcher``, does the work of all; the others wait for
    their model, and build it themselves when they are retried.
    """
    import cosmos
    from cosmos.operators.watcher import DbtProducerWatcherOperator

    from millrace.settings import Settings
    from millrace.transform import project

    folder = project.deployed(Settings())
    manifest = folder / "target" / "manifest.json"
    if not manifest.exists():
        return None
    group = cosmos.DbtTaskGroup(
        group_id=group_id,
        project_config=cosmos.ProjectConfig(
            dbt_project_path=folder,
            manifest_path=manifest,
            project_name="millrace",
            install_dbt_deps=False,
        ),
        profile_config=cosmos.ProfileConfig(
            profile_name="millrace",
            target_name=project.PRODUCTION,
            profiles_yml_filepath=folder / "profiles.yml",
        ),
        execution_config=cosmos.ExecutionConfig(
            execution_mode=cosmos.ExecutionMode.WATCHER,
            setup_operator_args={"retries": 0},  # a retry of it would build nothing
        ),
        render_config=cosmos.RenderConfig(
            load_method=cosmos.LoadMode.DBT_MANIFEST,
            emit_datasets=False,
            # nothing is done for exposures, and the deployment ran the unit tests
            exclude=["resource_type:exposure", "resource_type:unit_test"],
        ),
        operator_args={"interceptors": [set_environment]},
    )
    for operator in group.children.values():
        if isinstance(operator, DbtProducerWatcherOperator):
            # They keep what it did for its retry, in an Airflow variable that nobody deletes.
            operator.on_retry_callback = operator.on_failure_callback = None
    return group


def set_environment(_context: Any, operator: Any) -> None:
    """Give dbt its profile's values when it runs, so that no secret is part of the DAG."""
    from millrace.transform import project
    from millrace_connections import settings

    operator.env = project.profile(settings(), project.PRODUCTION)
