"""What DAG files share: tags, pools, default arguments, and where a DAG's manual is shown."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any


class Tag(StrEnum):
    """What a DAG works on, and how soon somebody has to look when it fails."""

    INGEST = "ingest"
    TRANSFORM = "transform"
    QUALITY = "quality"
    ALERTS = "alerts"
    EXPORTS = "exports"
    BACKUPS = "backups"
    MAINTENANCE = "maintenance"

    TIER_1 = "tier-1"
    """At once: events, alerts or backups fall behind."""
    TIER_2 = "tier-2"
    """Within the day: what depends on it is late, and nothing is lost."""
    TIER_3 = "tier-3"
    """Whoever started the run sees how it ends."""


class Pool(StrEnum):
    """The pools of ``deploy/airflow/pools.json``, which says what each is for."""

    INGEST = "ingest"
    TRANSFORM = "transform"
    QUALITY = "quality"
    ALERTS = "alerts"
    MAINTENANCE = "maintenance"
    REBUILD = "rebuild"


def manual(text: str | None) -> dict[str, Any]:
    """Return the arguments that show an operator's manual: whole, and its first line in lists."""
    if not text:
        raise ValueError("a DAG file's docstring is its operator's manual")
    return {"doc_md": text, "description": text.partition("\n")[0]}


def default_args(
    pool: Pool,
    *,
    retries: int = 3,
    delay_seconds: float = 15,
    longest_seconds: float = 300,
    timeout: timedelta | None = None,
) -> dict[str, Any]:
    """Return the default arguments of a DAG's tasks.

    A task that failed is tried again after ``delay_seconds``, and then after pauses that double up
    to ``longest_seconds``. One that runs for longer than ``timeout`` fails.
    """
    return {
        "owner": "data-engineering",
        "pool": pool.value,
        "retries": retries,
        "retry_delay": timedelta(seconds=delay_seconds),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(seconds=longest_seconds),
        "execution_timeout": timeout,
    }


def on_termination(leave: Callable[[], None]) -> None:
    """Call ``leave`` when this task is asked to end, as ``./millrace down`` does.

    Airflow's own handler lets a task of Python go on until it is killed, and whoever asked waits.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: leave())


def person(run: Any, otherwise: str) -> str:
    """Return who started a run: whom the query API names, where that did; else Airflow's user.

    ``otherwise`` is for runs that nobody started.
    """
    from millrace.settings import Settings

    user: str | None = run.triggering_user_name
    if user == Settings().airflow_query_user:
        return str((run.conf or {})["started_by"])
    return user or otherwise
