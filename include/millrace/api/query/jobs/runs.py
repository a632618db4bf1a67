"""Jobs started, found, answered and ended through Airflow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.airflow import Airflow, AirflowError
from millrace.api.query.jobs import kinds, states
from millrace.api.query.jobs.kinds import Kind, KindDescription
from millrace.api.query.jobs.states import Job, JobDetail, Run
from millrace.settings import Settings

PAGE = 100
"""How many runs or tasks Airflow tells of at once."""
DESCRIBED_SECONDS = 10.0
"""How long what a kind takes is kept: many watch jobs, and DAGs change seldom."""
SETTLED = timedelta(seconds=10)
"""How long a question stands before it is asked and answered.

Airflow takes an answer for a lost task when it comes before the scheduler has heard from the
executor that the process which asked has ended.
"""


class Jobs:
    """The jobs of one Airflow."""

    def __init__(self, airflow: Airflow, settings: Settings) -> None:
        self._airflow = airflow
        self._place = settings.airflow_url.rstrip("/")
        self._account = settings.airflow_query_user
        self._described: dict[str, tuple[float, KindDescription]] = {}

    async def describe(self, *names: str) -> list[KindDescription]:
        """Describe kinds as their DAGs are now. Raises ``ProblemError`` (404)."""
        return await asyncio.gather(*(self._describe(kinds.named(name)) for name in names))

    async def _describe(self, kind: Kind) -> KindDescription:
        read_at, found = self._described.get(kind.name, (0.0, None))
        if found is None or time.monotonic() - read_at > DESCRIBED_SECONDS:
            dag = await self._airflow.get("dags", kind.dag_id, "details")
            found = kinds.describe(kind, dag)
            self._described[kind.name] = time.monotonic(), found
        return found

    async def recent(self, names: Sequence[str], limit: int) -> list[Job]:
        """Return the jobs of the newest ``limit`` runs of some kinds, the newest first."""
        by_dag = {kind.dag_id: kind for kind in map(kinds.named, names)}
        body = {"dag_ids": list(by_dag), "order_by": "-run_after", "page_limit": limit}
        found = await self._airflow.post("dags", "~", "dagRuns", "list", body=body)
        runs: dict[str, list[Run]] = {}
        for run in found["dag_runs"]:
            name = kinds.job_id(by_dag[run["dag_id"]], run["dag_run_id"])
            runs.setdefault(name, []).append(run)
        return [self._job(name, several) for name, several in runs.items()]

    async def find(self, name: str) -> JobDetail:
        """Return a job with its tasks. Raises ``ProblemError`` (404)."""
        kind, runs = await self._runs(name)
        tasks = await self._tasks(kind, runs)
        days = {run["dag_run_id"]: run["partition_key"] or "" for run in runs}
        job = JobDetail(
            **dict(self._job(name, runs)),
            progress=states.progress(tasks),
            tasks=[states.task(task, days[task["dag_run_id"]], self._place) for task in tasks],
        )
        asking = _asking(tasks)
        if asking is not None and job.state == "running":
            found = await self._airflow.get(*_question(asking))
            if _age(found) >= SETTLED:
                job.state = "waiting"
                job.question = states.Question.model_validate(found, extra="ignore")
        return job

    async def existing(self, name: str, parameters: Mapping[str, Any]) -> Job | None:
        """Return the job that an Idempotency-Key started before.

        Raises ``ProblemError`` (422) when it has other parameters.
        """
        try:
            _kind, runs = await self._runs(name)
        except ProblemError as error:
            if error.status == 404:
                return None
            raise
        found = self._job(name, runs)
        if found.parameters != dict(parameters):
            raise ProblemError(
                422,
                "idempotency_key_reused",
                f"This Idempotency-Key started {name} with other parameters; take a new key.",
            )
        return found

    async def start(self, name: str, parameters: Mapping[str, Any], whose: Principal) -> JobDetail:
        """Start what is not there yet of a job whose id is from ``kinds.new_id``, and return it."""
        kind_name, _, run_id = name.partition(".")
        kind = kinds.named(kind_name)
        run = {
            "logical_date": None,
            "conf": {**parameters, "started_by": whose.name},
            "note": f"Started by {whose.name} through the query API",
        }
        if kind.is_by_day:
            for day in kinds.days(parameters):
                own = {"dag_run_id": f"{run_id}~{day}", "partition_key": day}
                await self._start(kind, {**run, **own})
        else:
            await self._start(kind, {**run, "dag_run_id": run_id})
        return await self.find(name)

    async def _start(self, kind: Kind, run: Mapping[str, Any]) -> None:
        try:
            await self._airflow.post("dags", kind.dag_id, "dagRuns", body=run)
        except AirflowError as error:
            if error.answered != 409:  # it is there already
                raise

    async def cancel(self, name: str, whose: Principal) -> JobDetail:
        """End what still runs of a job."""
        kind, runs = await self._runs(name)
        change = {"state": "failed", "note": f"{states.CANCELLED}{whose.name}"}
        for run in runs:
            if run["state"] in ("queued", "running"):
                place = ("dags", kind.dag_id, "dagRuns", run["dag_run_id"])
                await self._airflow.patch(*place, body=change)
        return await self.find(name)

    async def answer(self, name: str, option: str) -> JobDetail:
        """Tell a job that waits what was decided: one of the options of its question.

        Raises ``ProblemError`` (409) where it asks nothing, or was answered meanwhile.
        """
        kind, runs = await self._runs(name)
        asking = _asking(await self._tasks(kind, runs))
        if asking is None:
            raise asks_nothing()
        young = SETTLED - _age(await self._airflow.get(*_question(asking)))
        await asyncio.sleep(max(young.total_seconds(), 0))
        body = {"chosen_options": [option], "params_input": {}}
        try:
            await self._airflow.patch(*_question(asking), body=body)
        except AirflowError as error:
            raise asks_nothing() if error.answered == 409 else error from None
        return await self.find(name)

    async def _runs(self, name: str) -> tuple[Kind, list[Run]]:
        """Return a job's runs, in the order of their days."""
        kind_name, _, run_id = name.partition(".")
        kind = kinds.KINDS.get(kind_name)
        runs: list[Run] = []
        if kind is not None and run_id:
            place = ("dags", kind.dag_id, "dagRuns")
            if kind.is_by_day and kinds.is_ours(run_id):
                query = {"run_id_prefix_pattern": f"{run_id}~", "limit": kinds.MOST_DAYS}
                # Airflow's prefixes are looser than text: punctuation at their end goes.
                runs = [
                    run
                    for run in (await self._airflow.get(*place, **query))["dag_runs"]
                    if run["dag_run_id"].startswith(f"{run_id}~")
                ]
            else:
                try:
                    runs = [await self._airflow.get(*place, run_id)]
                except AirflowError as error:
                    if error.answered != 404:
                        raise
        if kind is None or not runs:
            raise ProblemError(
                404, "unknown_job", f"There is no job {name!r}; GET /v1/jobs lists them."
            )
        return kind, sorted(runs, key=lambda run: run["partition_key"] or "")

    async def _tasks(self, kind: Kind, runs: Sequence[Run]) -> list[Run]:
        tasks: list[Run] = []
        body = {
            "dag_ids": [kind.dag_id],
            "dag_run_ids": [run["dag_run_id"] for run in runs],
            "page_limit": PAGE,
            "order_by": "id",
        }
        place = ("dags", "~", "dagRuns", "~", "taskInstances", "list")
        while True:
            found = await self._airflow.post(*place, body={**body, "page_offset": len(tasks)})
            tasks += found["task_instances"]
            if not found["task_instances"] or len(tasks) >= found["total_entries"]:
                return tasks

    def _job(self, name: str, runs: Sequence[Run]) -> Job:
        return states.job(name, runs, self._place, self._account)


def demand_control(job: Job, whose: Principal) -> None:
    """Raise ``ProblemError`` unless somebody may cancel a job (403) that runs (409)."""
    if not (whose.has("admin") or job.started_by == whose.name):
        raise ProblemError(
            403,
            "not_allowed",
            f"{job.started_by} started this job; they or an admin may cancel it.",
        )
    if job.state in states.ENDED:
        raise ProblemError(409, "job_ended", f"The job has {job.state} already.")


def asks_nothing() -> ProblemError:
    """Return the refusal of an answer that nobody waits for."""
    return ProblemError(409, "asks_nothing", "The job does not wait for an answer.")


def _asking(tasks: Sequence[Run]) -> Run | None:
    return next((task for task in tasks if task["state"] == states.ASKS), None)


def _age(question: Mapping[str, Any]) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(question["created_at"])


def _question(task: Run) -> tuple[str, ...]:
    """Return where Airflow has what a task asks."""
    run = ("dags", task["dag_id"], "dagRuns", task["dag_run_id"])
    return (*run, "taskInstances", task["task_id"], str(task["map_index"]), "hitlDetails")
