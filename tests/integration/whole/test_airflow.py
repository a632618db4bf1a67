"""A whole Airflow at work: ingest and models, rebuilds, and the connections that direct it."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.helpers import documentation, wait
from tests.integration.whole.airflow_bed import run_only

from millrace.lab import stacks
from millrace.lab.simulate import faults, send
from millrace.lab.verify import simulation
from millrace.stack import airflow, connections, postgres
from millrace.stack.stack import Stack
from millrace.stores import clickhouse


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


@pytest.mark.timeout(1500)
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
        lambda: has_succeeded(airflow_stack, "build_models", "models.sessions.test", since), 300
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
    assert all(re.fullmatch(r"events [\d,-]+", name) for name in load_names(airflow_stack))
    with airflow.api(settings, airflow_stack.secrets) as api:
        variables = api.get("/variables").raise_for_status().json()["variables"]
    assert variables == []


def test_a_dag_that_is_taken_for_running_goes_on(airflow_stack: Stack) -> None:
    """So Airflow leaves one whose file it read while its last run ended."""
    run_only(airflow_stack, "ingest_events")
    url = postgres.airflow_url(airflow_stack.settings, airflow_stack.secrets)
    with psycopg.connect(url.replace("+psycopg2", ""), autocommit=True) as connection:
        column = "exceeds_max_non_backfill"
        connection.execute(f"UPDATE dag SET {column} = true WHERE dag_id = 'drill_restore'")
        query = f"SELECT {column} FROM dag WHERE dag_id = 'drill_restore'"
        wait.until(lambda: connection.execute(query).fetchall() == [(False,)], 120)


def load_names(stack: Stack) -> list[str]:
    """Return how Airflow names the tasks that loaded, in every run."""
    with airflow.api(stack.settings, stack.secrets) as api:
        path = "/dags/ingest_events/dagRuns/~/taskInstances"
        tasks = api.get(path, params={"task_id": "load", "limit": 100}).raise_for_status().json()
    loaded = [task for task in tasks["task_instances"] if task["state"] == "success"]
    names = [task["rendered_map_index"] for task in loaded]
    assert names
    return names


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


def test_a_backfill_rebuilds_the_selected_days_whatever_ran_before(airflow_stack: Stack) -> None:
    run_only(airflow_stack, "rebuild_events")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first, last = today - timedelta(days=3), today - timedelta(days=2)
    request = {
        "dag_id": "rebuild_events",
        "from_date": first.isoformat(),
        "to_date": last.isoformat(),
        "reprocess_behavior": "none",  # the dialog's default, "Missing runs"
    }
    for times in (1, 2):
        with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
            answer = api.post("/backfills", json=request).raise_for_status().json()
        wait.until(lambda times=times: have_ended(airflow_stack, 2 * times), 180)  # type: ignore[misc]
        # Airflow looks every 30 s which backfills are complete, and takes no other before.
        with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
            completed = api.put(f"/backfills/{answer['id']}/cancel")
        assert completed.status_code in (httpx.codes.OK, httpx.codes.CONFLICT), completed.text
        assert Counter(rebuilt_days(airflow_stack)) == {
            f"{first:%Y-%m-%d}": times,
            f"{last:%Y-%m-%d}": times,
        }


def have_ended(stack: Stack, count: int) -> bool:
    """Whether there are so many runs of `rebuild_events`, and each has ended."""
    with airflow.api(stack.settings, stack.secrets) as api:
        answer = api.get("/dags/rebuild_events/dagRuns").raise_for_status().json()
    ended = [run for run in answer["dag_runs"] if run["state"] in ("success", "failed")]
    return len(ended) == count


def rebuilt_days(stack: Stack) -> list[str]:
    """Return the days that runs of `rebuild_events` say they rebuilt."""
    with airflow.api(stack.settings, stack.secrets) as api:
        path = "/dags/rebuild_events/dagRuns"
        runs = api.get(path, params={"limit": 100}).raise_for_status().json()["dag_runs"]
        assert {run["state"] for run in runs} <= {"success"}
        results = [
            api.get(f"{path}/{run['dag_run_id']}/taskInstances/rebuild/xcomEntries/return_value")
            for run in runs
        ]
    return [result.raise_for_status().json()["value"]["day"] for result in results]


def test_a_run_by_hand_rebuilds_the_day_that_was_written(airflow_stack: Stack) -> None:
    run_only(airflow_stack, "rebuild_events")
    day = (datetime.now(UTC) - timedelta(days=5)).replace(hour=10)
    written = [
        {"logical_date": day.isoformat()},
        {"logical_date": None, "partition_key": f"{day - timedelta(days=1):%Y-%m-%d}"},
    ]
    before = Counter(rebuilt_days(airflow_stack))
    for body in written:
        since = datetime.now(UTC)
        with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
            api.post("/dags/rebuild_events/dagRuns", json=body).raise_for_status()
        assert outcome(airflow_stack, "rebuild_events", since)["state"] == "success"
    assert Counter(rebuilt_days(airflow_stack)) - before == {
        f"{day:%Y-%m-%d}": 1,
        f"{day - timedelta(days=1):%Y-%m-%d}": 1,
    }


def test_a_form_that_asks_for_what_cannot_be_fails_once_and_alerts_nobody(
    airflow_stack: Stack,
) -> None:
    run_only(airflow_stack, "export_on_demand")
    since = datetime.now(UTC)
    form = {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
    with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
        path = "/dags/export_on_demand/dagRuns"
        run = api.post(path, json={"logical_date": None, "conf": form}).raise_for_status().json()
        assert outcome(airflow_stack, "export_on_demand", since)["state"] == "failed"
        task = api.get(f"{path}/{run['dag_run_id']}/taskInstances/make_file").json()
    assert (task["state"], task["try_number"]) == ("failed", 1)
    with clickhouse.connect(airflow_stack.settings) as client:
        counted = "SELECT count() FROM pipeline_metrics WHERE labels['dag_id'] = 'export_on_demand'"
        assert client.command(counted) == 0


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Stack]:
    """Another warehouse, ledger, broker and object storage."""
    with stacks.running(tmp_path, with_airflow=False) as started:
        yield started


def test_an_edited_connection_redirects_the_next_run(
    airflow_stack: Stack, elsewhere: Stack
) -> None:
    there = elsewhere.settings
    edited = connections.wanted(there)
    login, password = clickhouse.credentials(there)  # one that does everything
    edited["clickhouse_default"] |= {"login": login, "password": password}
    with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
        for name, connection in edited.items():
            body = {"connection_id": name, **connection}
            tested = api.post("/connections/test", json=body).raise_for_status().json()
            assert tested["status"] is True, f"{name}: {tested['message']}"
            api.patch(f"/connections/{name}", json=body).raise_for_status()
    assert connections_made(airflow_stack) == []

    run_only(airflow_stack, "ingest_events")
    plan = send.Plan(seed=12, rates=faults.rates({"huge": 0.0}), rate=500, duration=4)
    manifest = send.run(plan, there, topic=there.events_topic)
    report = simulation.verify(manifest, there, wait_seconds=180)
    assert report.differences == 0

    run_only(airflow_stack)
    with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
        for name, connection in connections.wanted(airflow_stack.settings).items():
            body = {"connection_id": name, **connection}
            api.patch(f"/connections/{name}", json=body).raise_for_status()


def connections_made(stack: Stack) -> list[str]:
    """Return the connections that another ``up`` would make or change."""
    with airflow.api(stack.settings, stack.secrets) as api:
        return connections.ensure(api, stack.settings)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("clickhouse_default", {"password": "wrong"}),
        ("postgres_default", {"password": "wrong"}),
        ("kafka_default", {"extra": '{"bootstrap.servers": "127.0.0.1:9"}'}),
        ("s3_default", {"schema": "no-such-bucket"}),
    ],
)
def test_a_connection_that_leads_nowhere_fails_its_test(
    airflow_stack: Stack, name: str, wrong: dict[str, str]
) -> None:
    body = {"connection_id": name, **connections.wanted(airflow_stack.settings)[name]}
    with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
        for changes, status in (({}, True), (wrong, False)):
            tested = api.post("/connections/test", json=body | changes).raise_for_status().json()
            assert tested["status"] is status, tested["message"]


@pytest.mark.parametrize(
    "line", [c.text for c in documentation.commands() if c.words[0] == "airflow"]
)
def test_airflows_own_command_line_runs_as_documented(airflow_stack: Stack, line: str) -> None:
    run_only(airflow_stack)
    settings = airflow_stack.settings
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=documentation.ROOT,
        env=os.environ
        | {"MILLRACE_HOME": str(settings.home), "MILLRACE_PORT_BASE": str(settings.port_base)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
