"""How a job is, read from what Airflow says of its runs and their tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

State = Literal["queued", "running", "waiting", "succeeded", "failed", "cancelled"]

ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
"""The states that a job stays in."""

CANCELLED = "Cancelled by "
"""How the note of a run begins that was ended so."""

ASKS = "awaiting_input"
"""The state of a task that waits for a person's answer."""

_DONE = ("success", "failed", "upstream_failed", "skipped", "removed")

Run = Mapping[str, Any]
"""A DAG run, as Airflow's API describes it; a task instance likewise."""


class Task(BaseModel):
    """A task of a job."""

    task: str
    label: str = Field(description="What a mapped task works on, or the day of its run.")
    map_index: int = Field(description="Its number among mapped tasks; -1: it is not mapped.")
    state: str = Field(description="Airflow's word for how it is; none: not scheduled yet.")
    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    log: str = Field(description="Where Airflow shows its log.")


class Progress(BaseModel):
    """How far a job is, in tasks; each mapped task counts."""

    total: int
    done: int
    failed: int
    mapped: dict[str, int] = Field(description="How many there are of each mapped task.")


class Question(BaseModel):
    """What a job waits to be told by a person."""

    subject: str
    body: str = Field(description="Markdown.")
    options: list[str]


class Job(BaseModel):
    """A job."""

    id: str
    kind: str
    state: State
    started_by: str = Field(description="The person; or scheduled, asset_triggered, backfill.")
    parameters: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    note: str
    link: str = Field(description="Where Airflow shows it.")


class JobDetail(Job):
    """A job with its tasks."""

    progress: Progress
    question: Question | None = None
    tasks: list[Task]


def job(name: str, runs: Sequence[Run], airflow_url: str, account: str) -> Job:
    """Return the job that some runs are; ``account`` is the API's in Airflow.

    What any other account says of the person who started a run is not believed.
    """
    first = runs[0]
    conf = dict(first["conf"] or {})
    claimed = conf.pop("started_by", "")
    user = first["triggering_user_name"]
    place = f"{airflow_url}/dags/{first['dag_id']}"
    state = state_of(runs)
    return Job(
        id=name,
        kind=name.partition(".")[0],
        state=state,
        started_by=(claimed if user == account else user) or first["run_type"],
        parameters=conf,
        created_at=min(run["queued_at"] or run["run_after"] for run in runs),
        started_at=min((run["start_date"] for run in runs if run["start_date"]), default=None),
        ended_at=max((run["end_date"] for run in runs if run["end_date"]), default=None)
        if state in ENDED
        else None,
        note=first["note"] or "",
        link=f"{place}/runs/{first['dag_run_id']}" if len(runs) == 1 else place,
    )


def state_of(runs: Sequence[Run]) -> State:
    """Return how a job is: ended when all of its runs have."""
    states = {run["state"] for run in runs}
    if states == {"queued"}:
        return "queued"
    if states & {"queued", "running"}:
        return "running"
    if states == {"success"}:
        return "succeeded"
    is_cancelled = any((run["note"] or "").startswith(CANCELLED) for run in runs)
    return "cancelled" if is_cancelled else "failed"


def progress(tasks: Sequence[Run]) -> Progress:
    """Count the tasks of a job."""
    states = [task["state"] for task in tasks]
    return Progress(
        total=len(states),
        done=sum(state in _DONE for state in states),
        failed=sum(state in ("failed", "upstream_failed") for state in states),
        mapped=Counter(task["task_id"] for task in tasks if task["map_index"] >= 0),
    )


def task(found: Run, day: str, airflow_url: str) -> Task:
    """Describe a task; ``day`` is its run's, if it has one."""
    run_id, name, number = found["dag_run_id"], found["task_id"], found["map_index"]
    place = f"{airflow_url}/dags/{found['dag_id']}/runs/{run_id}/tasks/{name}"
    return Task(
        task=name,
        label=found["rendered_map_index"] or day,
        map_index=number,
        state=found["state"] or "none",
        attempt=found["try_number"],
        started_at=found["start_date"],
        ended_at=found["end_date"],
        log=place if number < 0 else f"{place}/mapped/{number}",
    )
