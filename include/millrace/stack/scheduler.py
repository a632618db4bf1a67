"""Airflow's scheduler, with what its tasks import loaded once.

LocalExecutor forks a process for each task, so what the scheduler has imported costs a task
nothing; great_expectations alone takes seconds of CPU, many times an hour.

Before that, clears away what a killed scheduler left behind: its workers that were at work end
their task, which is right, and then wait for ever on a queue that nobody fills.

Usage: ``python -m millrace.stack.scheduler AIRFLOW``, in Airflow's folder.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path

import psutil

from millrace.stack import leaving

PRELOADED = (
    "airflow.providers.apache.kafka.hooks.base",
    "clickhouse_connect",
    "confluent_kafka",
    "cosmos.airflow.task_group",
    "cosmos.operators.watcher",
    "dbt.cli.main",
    "great_expectations",
    "millrace.alerts.check",
    "millrace.ingest.worker",
    "millrace.quality.audit",
    "millrace.rules.gate",
    "minio",
    "pyarrow",
)


def orphans(folder: Path) -> list[psutil.Process]:
    """Return the processes in ``folder`` that outlived the server that they belong to.

    The supervisor makes each server the leader of a process group, and what a server forks stays in
    the group when the server dies.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            if process.cwd() == str(folder) and not psutil.pid_exists(os.getpgid(process.pid)):
                found.append(process)
    return found


def idle(left: list[psutil.Process]) -> list[psutil.Process]:
    """Return those of the orphans that are at no work.

    A worker at work has a child, the process of its task; and that is no worker, since its parent
    is one of the orphans.
    """
    pids = {process.pid for process in left}
    found = []
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() not in pids and not process.children():
                found.append(process)
    return found


def main() -> None:
    """Kill orphans without work, load what tasks need, and become the scheduler."""
    for process in idle(orphans(Path.cwd())):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for name in PRELOADED:
        importlib.import_module(name)
    # The api-server reads logs from their folder; Airflow's log server listens on every address.
    leaving.run([sys.argv[1], "scheduler", "--skip-serve-logs"])


if __name__ == "__main__":
    main()
