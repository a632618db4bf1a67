"""Count failed DAG runs in ``pipeline_metrics``, so that alert rules can see them."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

log = logging.getLogger(__name__)


def record(dag_id: str, at: datetime) -> None:
    """Write one failure."""
    from millrace.alerts import pipeline
    from millrace.settings import Settings

    try:
        pipeline.write(Settings(), at, [("millrace_dag_failures", 1.0, {"dag_id": dag_id})])
    except Exception:
        log.exception("the failure of %s was not counted", dag_id)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Count a failed run, off the scheduler's own thread: it must not wait for a database."""
    arguments = (dag_run.dag_id, datetime.now(UTC))
    threading.Thread(target=record, args=arguments, daemon=True).start()


class DagFailures(AirflowPlugin):
    """Listens to DAG runs."""

    name = "millrace_dag_failures"
    listeners: ClassVar[list[ModuleType]] = []


def _this_module() -> ModuleType:
    import sys

    return sys.modules[__name__]


DagFailures.listeners.append(_this_module())
