"""Jobs of the query API while there is no Airflow; with one: whole/test_jobs.py."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs/backup.run"),
        ("DELETE", "/v1/jobs/backup.run"),
        ("GET", "/v1/jobs/backup.run/events"),
        ("POST", "/v1/jobs/backup.run/answer"),
    ],
)
def test_without_airflow_jobs_are_unavailable_and_nothing_else_is(
    query_clients: Mapping[str, httpx.Client], method: str, path: str
) -> None:
    content = None
    if method == "POST":
        content = {"option": "Approve"} if path.endswith("answer") else {"kind": "backup"}
    answer = query_clients["operator"].request(method, path, json=content)
    assert (answer.status_code, answer.json()["code"]) == (503, "airflow_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert query_clients["operator"].get("/readyz").status_code == 200
    assert query_clients["analyst"].request(method, path, json=content).status_code == 403
