"""Let DAGs start their next run that Airflow takes for busy when they are not.

Airflow keeps with a DAG whether ``max_active_runs`` of it are active. A reading of the DAG's file
that is under way while the last run ends keeps what it saw before, and no run is started until the
file is read again, minutes later; DAGs that assets start are the ones that it hits. So the end of
each run is followed by a look at all of them.

A run's end is processed in the scheduler, or in the api-server for one that a person ends; both
have Airflow's database at hand.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

log = logging.getLogger(__name__)

DELAY_SECONDS = 10
"""How long after a run's end is looked: a reading of a file takes a second or two."""
_turn = threading.Lock()


def release() -> list[str]:
    """Release the DAGs that are kept waiting with fewer active runs than they may have.

    Returns their ids. What another transaction is about to change is left to it.
    """
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import State
    from airflow.utils.types import DagRunType
    from sqlalchemy import func, select

    active = select(func.count()).where(
        DagRun.dag_id == DagModel.dag_id,
        DagRun.state.in_(State.unfinished_dr_states),
        DagRun.run_type != DagRunType.BACKFILL_JOB,  # has a limit of its own
    )
    waiting = (
        select(DagModel)
        .where(DagModel.exceeds_max_non_backfill)
        .where(active.scalar_subquery() < DagModel.max_active_runs)
        .with_for_update(of=DagModel, skip_locked=True)
    )
    with create_session() as session:
        found = session.scalars(waiting).all()
        for dag in found:
            dag.exceeds_max_non_backfill = False
        return [dag.dag_id for dag in found]


def _look() -> None:
    _turn.release()
    try:
        for dag_id in release():
            log.info("%s was taken for running, and goes on", dag_id)
    except Exception:
        log.exception("whether a DAG is kept waiting could not be found out")


def _look_soon() -> None:
    if _turn.acquire(blocking=False):
        timer = threading.Timer(DELAY_SECONDS, _look)
        timer.daemon = True
        timer.start()


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Look soon."""
    _look_soon()


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Look soon."""
    _look_soon()


class WaitingDags(AirflowPlugin):
    """Listens to DAG runs."""

    name = "millrace_waiting_dags"
    listeners: ClassVar[list[ModuleType]] = [sys.modules[__name__]]
