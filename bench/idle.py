"""What a stack costs while nothing happens: CPU and memory by server.

``./millrace bench idle`` observes the running stack that ``MILLRACE_HOME`` names (``./millrace up``
first, and let it settle). Tasks that Airflow starts count as the scheduler's, as they are its
children. The baseline is the cost of Airflow's and the stores' processes with every DAG paused,
measured in the same run.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import typer

from bench import bed
from millrace import waiting
from millrace.settings import Settings
from millrace.stack import report
from millrace.stack.stack import Stack

INGEST = "ingest_events"

app = typer.Typer(help=__doc__)


@app.command()
def idle(
    seconds: Annotated[float, typer.Option(help="How long each state is observed.")] = 300,
) -> None:
    """Observe the stack with its DAGs paused, then at work on nothing."""
    stack = Stack()
    api = client(stack.settings)
    paused = [dag["dag_id"] for dag in api.get("dags").json()["dags"] if not dag["is_paused"]]
    try:
        for dag_id in paused:
            api.patch(f"dags/{dag_id}", json={"is_paused": True}).raise_for_status()
        await_quiet(api)
        baseline = observe(stack, seconds / 2)
    finally:
        for dag_id in paused:
            api.patch(f"dags/{dag_id}", json={"is_paused": False}).raise_for_status()
    await_caught_up(api)
    idle = observe(stack, seconds)
    bed.write(
        "idle",
        {
            "dags_paused": baseline,
            "idle": idle,
            "ratio_of_cores": round(idle["cores"] / baseline["cores"], 1),
        },
    )


def client(settings: Settings) -> httpx.Client:
    """Return a client of Airflow's REST API, logged in."""
    stack = Stack()
    token = httpx.post(
        f"{settings.airflow_url}/auth/token",
        json={"username": "admin", "password": stack.secrets["MILLRACE_AIRFLOW_PASSWORD"]},
    ).json()["access_token"]
    return httpx.Client(
        base_url=f"{settings.airflow_url}/api/v2/",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )


def await_quiet(api: httpx.Client) -> None:
    """Wait until no task is under way; ingest's runs are ended, since they last for minutes.

    A run of a paused DAG goes on being called running as long as it has tasks left.
    """
    for run in runs_that_are(api, "running"):
        if run["dag_id"] == INGEST:
            path = f"dags/{INGEST}/dagRuns/{run['dag_run_id']}"
            api.patch(path, json={"state": "failed"}).raise_for_status()
    under_way = {"state": ["running", "queued"]}

    def is_quiet() -> bool:
        found = api.get("dags/~/dagRuns/~/taskInstances", params=under_way)
        return found.raise_for_status().json()["total_entries"] == 0

    waiting.until(is_quiet, "the tasks of paused DAGs to end", seconds=600, every=5)


def await_caught_up(api: httpx.Client) -> None:
    """Wait until the runs that came due while the DAGs were paused have ended."""

    def has_caught_up() -> bool:
        now = datetime.now(UTC)
        dags = api.get("dags", params={"paused": False, "limit": 100}).json()["dags"]
        dues = [dag["next_dagrun_run_after"] for dag in dags if dag["dag_id"] != INGEST]
        if any(due and datetime.fromisoformat(due) <= now for due in dues):
            return False
        return {run["dag_id"] for run in runs_that_are(api, "queued", "running")} == {INGEST}

    waiting.until(has_caught_up, "the runs that were due to end", seconds=600, every=0.5)


def runs_that_are(api: httpx.Client, *states: str) -> list[dict[str, Any]]:
    """Return the runs in one of some states; a paused DAG's stay queued."""
    answer = api.get("dags/~/dagRuns", params={"state": list(states), "limit": 50})
    runs: list[dict[str, Any]] = answer.raise_for_status().json()["dag_runs"]
    return runs


def observe(stack: Stack, seconds: float) -> dict[str, Any]:
    """Return cores used and memory held (MiB), in all and by server."""
    pids = {name: stack.pid(name) for name in stack.servers}
    before = {name: bed.cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    spent = {name: bed.cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    memory = {name: report.memory(pid) / 2**20 for name, pid in pids.items()}
    return {
        "seconds": seconds,
        "cores": round(sum(spent.values()) / seconds, 3),
        "memory_mib": round(sum(memory.values())),
        "cores_by_server": {name: round(value / seconds, 3) for name, value in spent.items()},
        "memory_mib_by_server": {name: round(value) for name, value in memory.items()},
    }


if __name__ == "__main__":
    app()
