"""What a stack costs while nothing happens: CPU and memory by server.

``python -m bench.idle`` observes the running stack that ``MILLRACE_HOME`` names (``./millrace up``
first, and let it settle). Tasks that Airflow starts count as the scheduler's, as they are its
children. The baseline is the cost of Airflow's and the stores' processes with every DAG paused,
measured in the same run.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import httpx
import typer
from tests.helpers import wait

from bench import bed
from millrace.settings import Settings
from millrace.stack import report
from millrace.stack.stack import Stack

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
    time.sleep(60)  # unpausing starts runs that were due
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
    """Wait until no run is under way; ingest's is ended, since it lasts for minutes."""

    def is_quiet() -> bool:
        runs = api.get("dags/~/dagRuns", params={"state": "running", "limit": 50}).json()
        for run in runs["dag_runs"]:
            if run["dag_id"] == "ingest_events":
                path = f"dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}"
                api.patch(path, json={"state": "failed"}).raise_for_status()
        return not runs["dag_runs"]

    wait.until(is_quiet, 600)


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
