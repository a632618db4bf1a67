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
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

TITLE = "airflow worker"
IDLE = f"{TITLE} -- LocalExecutor: <idle>"
PRELOADED = (
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


def workers(folder: Path, title: str = TITLE) -> Iterator[psutil.Process]:
    """Yield LocalExecutor's processes that run in ``folder``, by the title they give themselves.

    Such a title overwrites the environment, by which other processes of a stack are known.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if " ".join(process.cmdline()).startswith(title) and process.cwd() == str(folder):
                yield process


def main() -> None:
    """Kill idle workers without a parent, load what tasks need, and become the scheduler."""
    for process in workers(Path.cwd(), IDLE):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() == 1:
                process.kill()
    for name in PRELOADED:
        importlib.import_module(name)
    # The api-server reads logs from their folder; Airflow's log server listens on every address.
    sys.argv = [sys.argv[1], "scheduler", "--skip-serve-logs"]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
