"""Ingest and the models through Airflow's own scheduler, held against what was sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.helpers import embedded, wait

from millrace.simulate import faults, send
from millrace.stack import airflow
from millrace.stack.stack import Stack
from millrace.stores import clickhouse
from millrace.verify import simulation


@pytest.fixture(scope="module")
def airflow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack with Airflow; taken down at once, so that other tests have the machine."""
    home = tmp_path_factory.mktemp("airflow")
    short = {"MILLRACE_INGEST_RUN_SECONDS": "15"}  # so that runs of ingest_events end
    with embedded.running(home, with_airflow=True, **short) as started:
        yield started


def outcome(stack: Stack, dag_id: str, since: datetime, seconds: float = 240) -> dict[str, str]:
    """Wait for the first run of a DAG that began after a moment to end; return it."""
    runs: list[dict[str, str]] = []
    params = {
        "start_date_gte": since.isoformat(),
        "state": ["success", "failed"],
        "order_by": "start_date",
    }

    def has_ended() -> bool:
        with airflow.api(stack.settings, stack.secrets) as api:
            answer = api.get(f"/dags/{dag_id}/dagRuns", params=params).raise_for_status()
        runs[:] = answer.json()["dag_runs"]
        return bool(runs)

    wait.until(has_ended, seconds)
    return runs[0]


def run_only(stack: Stack, *wanted: str) -> None:
    """Leave the machine to the DAGs that a test is about; the others are paused."""
    with airflow.api(stack.settings, stack.secrets) as api:
        dags = api.get("/dags", params={"limit": 100}).raise_for_status().json()["dags"]
        for dag in dags:
            change = {"is_paused": dag["dag_id"] not in wanted}
            api.patch(f"/dags/{dag['dag_id']}", json=change).raise_for_status()


def has_succeeded(stack: Stack, dag_id: str, task_id: str, since: datetime) -> bool:
    """Whether a task ended well after a moment, in whichever run."""
    params: dict[str, str | int] = {"state": "success", "end_date_gte": since.isoformat()}
    with airflow.api(stack.settings, stack.secrets) as api:
        path = f"/dags/{dag_id}/dagRuns/~/taskInstances"
        answer = api.get(path, params=params | {"limit": 100, "order_by": "-end_date"})
    ended = answer.raise_for_status().json()["task_instances"]
    return task_id in {task["task_id"] for task in ended}


def shows(stack: Stack, dag_id: str, task_id: str) -> bool:
    """Whether a DAG has a task, as Airflow knows it now."""
    with airflow.api(stack.settings, stack.secrets) as api:
        tasks = api.get(f"/dags/{dag_id}/tasks").raise_for_status().json()["tasks"]
    return task_id in {task["task_id"] for task in tasks}


@pytest.mark.timeout(600)
def test_what_is_sent_is_ingested_and_rolled_up_by_the_scheduler(airflow_stack: Stack) -> None:
    settings = airflow_stack.settings
    run_only(airflow_stack, "ingest_events")
    wait.until(lambda: shows(airflow_stack, "build_models", "models.sessions.test"), 90)
    plan = send.Plan(seed=11, rates=faults.rates({"huge": 0.0}), rate=1000, duration=8)
    manifest = send.run(plan, settings, topic=settings.events_topic)

    ingested = outcome(airflow_stack, "ingest_events", datetime.now(UTC))
    assert ingested["state"] == "success"
    run_only(airflow_stack, "ingest_events", "build_models")
    since = datetime.now(UTC)
    wait.until(
        lambda: has_succeeded(airflow_stack, "build_models", "models.sessions.test", since), 240
    )

    report = simulation.verify(manifest, settings, wait_seconds=60)
    assert [check.name for check in report.checks if check.skipped] == []
    assert report.differences == 0
    client = clickhouse.connect(settings)
    totals = [
        client.query(f"SELECT sum(events) FROM analytics.{rollup}").result_rows[0][0]
        for rollup in ("metrics_1min", "metrics_5min", "metrics_1h")
    ]
    client.close()
    assert totals == [manifest.accepted] * 3


def test_a_run_that_was_marked_failed_is_followed_at_once(airflow_stack: Stack) -> None:
    run_only(airflow_stack, "ingest_events")
    path, since = "/dags/ingest_events/dagRuns", datetime.now(UTC)

    def runs(**wanted: str) -> list[dict[str, str]]:
        with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
            found: list[dict[str, str]] = api.get(path, params=wanted).json()["dag_runs"]
        return found

    def loads(run_id: str) -> set[str]:
        with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
            tasks = api.get(f"{path}/{run_id}/taskInstances").json()["task_instances"]
        return {task["state"] for task in tasks if task["task_id"] == "load"}

    def stopped_one_that_loads() -> bool:
        """Mark the newest run failed; its tasks may have ended just before."""
        newest = runs(state="running", order_by="-start_date")[:1]
        if not newest or "running" not in loads(run_id := newest[0]["dag_run_id"]):
            return False
        with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
            api.patch(f"{path}/{run_id}", json={"state": "failed"}).raise_for_status()
        return "failed" in loads(run_id)

    wait.until(stopped_one_that_loads, 120)
    asked_for = {"run_type": "asset_triggered", "start_date_gte": since.isoformat()}
    wait.until(lambda: bool(runs(**asked_for)), 120)
