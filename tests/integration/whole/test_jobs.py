"""Jobs of the query API on a real Airflow: listed, started once, watched, answered, cancelled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.helpers import wait
from tests.integration.whole.airflow_bed import run_only

from millrace.access import tokens
from millrace.access.roles import Role
from millrace.access.tokens import NewToken
from millrace.contract import people
from millrace.lab.simulate import faults, send
from millrace.stack import airflow
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres

Client = Callable[[str], httpx.Client]


@pytest.fixture(scope="module")
def asking(airflow_stack: Stack) -> Iterator[Client]:
    """Return a client of somebody: an operator (ana, ben), an admin, a viewer, or one of a part."""
    people: dict[str, tuple[Role, list[str] | None]] = {
        "ana": ("operator", None),
        "ben": ("operator", None),
        "root": ("admin", None),
        "eve": ("viewer", None),
        "part": ("operator", ["events"]),
    }
    with postgres.connect(airflow_stack.settings) as connection:
        made = {
            name: tokens.add(connection, NewToken(name, role, sources=sources))
            for name, (role, sources) in people.items()
        }
    url = airflow_stack.servers["query-api"].addresses["http"]
    clients = {
        name: httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        for name, token in made.items()
    }
    for client in clients.values():
        wait.until(lambda client=client: client.get("/v1/jobs").status_code != 401, 20)  # type: ignore[misc]
    yield clients.__getitem__
    for client in clients.values():
        client.close()


def body(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"kind": kind, "parameters": parameters}


def ended(client: httpx.Client, job: str, *states: str) -> dict[str, Any]:
    """Wait until a job is in one of some states (by default, has ended); return it."""
    found: dict[str, Any] = {}

    def is_there() -> bool:
        found.update(client.get(f"/v1/jobs/{job}").raise_for_status().json())
        return found["state"] in (states or ("succeeded", "failed", "cancelled"))

    wait.until(is_there, 180)
    return found


def test_kinds_take_what_their_dags_take(asking: Client) -> None:
    listed = asking("ana").get("/v1/jobs").raise_for_status().json()
    kinds = {kind["kind"]: kind for kind in listed["kinds"]}
    assert {"process-data", "cleanup", "export", "replay", "backup", "drill"} <= kinds.keys()
    days = kinds["process-data"]["parameters"]
    assert (sorted(days["properties"]), days["required"]) == (["from", "to"], ["from", "to"])
    export = kinds["export-file"]["parameters"]
    assert export["required"] == ["start", "end"]
    assert export["properties"]["format"]["enum"] == ["Parquet", "CSV", "JSONEachRow"]
    assert export["properties"]["personal_data"]["default"] == "excluded"
    assert kinds["cleanup"]["admin_only"] == ["reason", "user_id"]
    assert kinds["backup"]["description"].startswith("Back up ClickHouse")


def test_days_are_processed_once_however_often_they_are_asked_for(
    airflow_stack: Stack, asking: Client
) -> None:
    run_only(airflow_stack, "rebuild_events")
    ana, key = asking("ana"), {"Idempotency-Key": "two days"}
    today = datetime.now(UTC).date()
    first, last = (str(today - timedelta(days=number)) for number in (9, 8))
    asked = body("process-data", **{"from": first, "to": last})
    started = ana.post("/v1/jobs", json=asked, headers=key)
    again = ana.post("/v1/jobs", json=asked, headers=key)
    assert (started.status_code, again.status_code) == (202, 200)
    job = started.json()["id"]
    assert again.json()["id"] == job == started.headers["location"].rpartition("/")[2]
    other = body("process-data", **{"from": first, "to": first})
    assert ana.post("/v1/jobs", json=other, headers=key).json()["code"] == "idempotency_key_reused"

    told = []
    with ana.stream("GET", f"/v1/jobs/{job}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        for line in events.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
    assert told[-1]["state"] == "succeeded"
    assert told[-1]["progress"] == {"total": 2, "done": 2, "failed": 0, "mapped": {}}
    assert [(task["label"], task["state"]) for task in told[-1]["tasks"]] == [
        (first, "success"),
        (last, "success"),
    ]
    counts = [one["progress"]["done"] for one in told]
    assert counts == sorted(counts)
    assert told[-1]["started_by"] == "token:ana"
    assert told[-1]["parameters"] == {"from": first, "to": last}
    assert job in [one["id"] for one in ana.get("/v1/jobs?kind=process-data").json()["jobs"]]

    with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
        path = "/dags/rebuild_events/dagRuns"
        runs = api.get(path, params={"triggering_user_name_pattern": "query"}).json()["dag_runs"]
    mine = [run for run in runs if run["partition_key"] in (first, last)]
    assert [run["note"] for run in mine] == ["Started by token:ana through the query API"] * 2
    assert audit(airflow_stack, job) == [("INSERT", "token:ana", asked)]


def audit(stack: Stack, job: str) -> list[tuple[str, str, Any]]:
    with postgres.connect(stack.settings) as connection:
        rows = connection.execute(
            "SELECT action, changed_by, new_value FROM audit_logs "
            "WHERE table_name = 'jobs' AND row_key = %s ORDER BY audit_id",
            [job],
        ).fetchall()
    return [(row["action"], row["changed_by"], row["new_value"]) for row in rows]


def test_only_who_started_a_job_or_an_admin_cancels_it(
    airflow_stack: Stack, asking: Client
) -> None:
    run_only(airflow_stack)  # so that it waits
    jobs = [
        asking("ana").post("/v1/jobs", json=body("drill")).raise_for_status().json()["id"]
        for _ in range(2)
    ]
    assert len(set(jobs)) == 2
    refused = asking("ben").delete(f"/v1/jobs/{jobs[0]}")
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    for who, job in zip(("ana", "root"), jobs, strict=True):
        assert asking(who).delete(f"/v1/jobs/{job}").json()["state"] == "cancelled"
        assert ended(asking("ben"), job)["note"] == f"Cancelled by token:{who}"
        assert asking("root").delete(f"/v1/jobs/{job}").json()["code"] == "job_ended"
        assert [row[:2] for row in audit(airflow_stack, job)] == [
            ("INSERT", "token:ana"),
            ("DELETE", f"token:{who}"),
        ]


@pytest.mark.parametrize(
    ("who", "request_body", "status", "said"),
    [
        ("eve", body("backup"), 403, "operator"),
        ("part", body("backup"), 403, "some only"),
        ("ana", body("cleanup", user_id=5), 403, "user_id"),
        ("root", body("cleanup", user_id=2**64), 422, "the maximum of 18446744073709551615"),
        ("ana", body("nothing"), 404, "process-data"),
        ("ana", body("backup", full="yes"), 422, "/body/parameters/full"),
        ("ana", body("backup", fast=True), 422, "fast"),
        ("ana", body("process-data"), 422, "from"),
        ("ana", body("process-data", **{"from": "2026-02-30", "to": "x"}), 422, "is not a 'date'"),
        (
            "ana",
            body("process-data", **{"from": "2999-01-01", "to": "2999-01-01"}),
            422,
            "not after",
        ),
    ],
)
def test_what_may_not_be_started_is_refused_with_the_reason(
    asking: Client, who: str, request_body: dict[str, Any], status: int, said: str
) -> None:
    refused = asking(who).post("/v1/jobs", json=request_body)
    assert refused.status_code == status
    assert said in refused.json()["detail"]


@pytest.mark.parametrize("job", ["backup.nosuch", "nosuch.run", "backup", "process-data.api~0"])
def test_a_job_that_is_none_is_a_problem(asking: Client, job: str) -> None:
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        answer = asking("root").request(method, f"/v1/jobs/{job}{rest}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")


def rejected(client: httpx.Client, job: str) -> dict[str, Any]:
    """Reject what a job asks, and again if it asks again; return the job when it has ended.

    Airflow loses an answer that comes before the scheduler knows that the task waits.
    """
    while True:
        found = ended(client, job, "waiting", "succeeded", "failed")
        if found["state"] != "waiting":
            return found
        answer = client.post(f"/v1/jobs/{job}/answer", json={"option": "Reject"})
        assert answer.is_success or answer.json()["code"] == "asks_nothing"
        wait.until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] != "waiting", 60)


@pytest.mark.timeout(400)
def test_a_replay_waits_for_an_answer(airflow_stack: Stack, asking: Client) -> None:
    settings = airflow_stack.settings
    run_only(airflow_stack, "ingest_events", "replay_rejected_events")
    send.run(
        send.Plan(seed=20, rates=faults.rates({"huge": 0.0}), rate=200, duration=2),
        settings,
        topic=settings.events_topic,
    )
    with clickhouse.connect(settings) as client:
        wait.until(lambda: client.command("SELECT count() FROM rejected_events") > 0, 120)
    ana = asking("ana")
    job = ana.post("/v1/jobs", json=body("replay", limit=1)).raise_for_status().json()["id"]
    waiting = ended(ana, job, "waiting", "failed")
    assert waiting["question"]["subject"] == "Send 1 rejected events again?"
    assert waiting["question"]["options"] == ["Approve", "Reject"]
    unknown = ana.post(f"/v1/jobs/{job}/answer", json={"option": "Perhaps"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_request")
    over = rejected(ana, job)
    assert {task["task"]: task["state"] for task in over["tasks"]}["send"] == "skipped"
    again = ana.post(f"/v1/jobs/{job}/answer", json={"option": "Approve"})
    assert (again.status_code, again.json()["code"]) == (409, "asks_nothing")


def test_a_person_is_erased_by_any_number_or_text(airflow_stack: Stack, asking: Client) -> None:
    settings = airflow_stack.settings
    run_only(airflow_stack, "expire_data")
    by_text = people.number_of(str(2**64), settings.ingest_hash_key.get_secret_value().encode())
    for sent, number in ((2**64 - 1, 2**64 - 1), (str(2**63), 2**63), (str(2**64), by_text)):
        wanted = body("cleanup", user_id=sent, reason="a test")
        job = asking("root").post("/v1/jobs", json=wanted).raise_for_status().json()["id"]
        done = ended(asking("root"), job)
        assert done["parameters"]["user_id"] == sent
        assert {task["task"]: task["state"] for task in done["tasks"]}["erase"] == "success"
        with postgres.connect(settings) as connection:
            erased = "SELECT receipt FROM erasures WHERE user_id = %s AND completed_at IS NOT NULL"
            (row,) = connection.execute(erased, [number]).fetchall()
        assert row["receipt"]["user_id"] == number


def test_a_report_is_made_as_a_job_and_put_down_to_who_asked(
    airflow_stack: Stack, asking: Client
) -> None:
    run_only(airflow_stack, "send_reports")
    ana = asking("ana")
    panels = [{"title": "Views", "question": {"name": "page_views", "range": "1d"}}]
    ana.put("/v1/reports/views", json={"title": "Views", "panels": panels}).raise_for_status()
    job = ana.post("/v1/jobs", json=body("generate-report", report="views")).json()["id"]
    done = ended(ana, job)
    assert (done["state"], done["progress"]["mapped"]) == ("succeeded", {"send": 1})
    assert [task["label"] for task in done["tasks"] if task["map_index"] == 0] == ["views"]
    (run,) = ana.get("/v1/reports/views/runs").json()
    assert (run["requested_by"], run["due"]) == ("token:ana", job.partition(".")[2])
    assert "<h1>Views</h1>" in ana.get(f"/v1/reports/views/runs/{run['run_id']}/page").text
    unknown = ana.post("/v1/jobs", json=body("generate-report", report="nosuch")).json()["id"]
    assert ended(ana, unknown)["state"] == "failed"


def test_the_account_in_airflow_sees_no_secrets(airflow_stack: Stack) -> None:
    settings = airflow_stack.settings
    signed_in = httpx.post(
        f"{settings.airflow_api_url}/auth/token",
        json={
            "username": settings.airflow_query_user,
            "password": settings.airflow_query_password.get_secret_value(),
        },
        timeout=30,
    )
    headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
    with httpx.Client(
        base_url=f"{settings.airflow_api_url}/api/v2", headers=headers, timeout=30
    ) as client:
        assert client.get("/dags").status_code == 200
        for path in ("/connections", "/variables"):
            assert client.get(path).status_code == 403
        pool = {"name": "mine", "slots": 1}
        assert client.post("/pools", json=pool).status_code == 403
