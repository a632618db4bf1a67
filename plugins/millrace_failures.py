"""Count failed tasks and DAG runs in ``pipeline_metrics``, so that alert rules can see them.

Both, since neither tells all: a run whose last tasks succeed is a success whatever failed before
them, and a run that times out has no failed task. Runs that a person triggered are left out: who
fills in a form sees how it ends, and nobody else needs to be woken.
"""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from airflow.utils.types import DagRunType

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.types import RuntimeTaskInstanceProtocol
    from airflow.utils.state import TaskInstanceState

log = logging.getLogger(__name__)

THREAD = "count-failure"
PATIENCE_SECONDS = 5
"""How long a failed task's process, which ends right after, stays for its failure's count."""


def record(metric_name: str, labels: dict[str, str], at: datetime) -> None:
    """Write one failure."""
    from millrace.alerts import pipeline
    from millrace_connections import settings

    try:
        pipeline.write(settings(), at, [(metric_name, 1.0, labels)])
    except Exception:
        log.exception("the failure of %s was not counted", labels)


def count(metric_name: str, labels: dict[str, str]) -> threading.Thread:
    """Count a failure off the caller's thread: a scheduler must not wait long for a database."""
    arguments = (metric_name, labels, datetime.now(UTC))
    thread = threading.Thread(target=record, args=arguments, name=THREAD, daemon=True)
    thread.start()
    return thread


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Count a failed run."""
    if dag_run.run_type != DagRunType.MANUAL:
        count("millrace_dag_failures", {"dag_id": dag_run.dag_id})


@hookimpl
def on_task_instance_failed(
    previous_state: TaskInstanceState | None,
    task_instance: RuntimeTaskInstanceProtocol | TaskInstance,
    error: str | BaseException | None,
) -> None:
    """Count a failed task, once it has no try left."""
    is_manual = DagRunType.from_run_id(task_instance.run_id) == DagRunType.MANUAL
    if task_instance.state == "failed" and not is_manual:
        labels = {"dag_id": task_instance.dag_id, "task_id": task_instance.task_id}
        count("millrace_task_failures", labels).join(PATIENCE_SECONDS)


class Failures(AirflowPlugin):
    """Listens to tasks and DAG runs."""

    name = "millrace_failures"
    listeners: ClassVar[list[ModuleType]] = [sys.modules[__name__]]
