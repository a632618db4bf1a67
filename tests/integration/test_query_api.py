"""The query API as a process: it starts, says how it is, and lists its routes."""

from __future__ import annotations

import httpx


def test_it_is_ready_and_describes_itself(query_api: str) -> None:
    with httpx.Client(base_url=query_api) as client:
        assert client.get("/livez").json() == {"status": "ok", "problems": []}
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["problems"]) == (200, [])
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert "Millrace query API" in client.get("/", follow_redirects=True).text
        assert client.get("/").headers["location"] == "/docs"


def test_a_route_that_is_none_is_a_problem(query_api: str) -> None:
    answer = httpx.get(f"{query_api}/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"
    assert httpx.delete(f"{query_api}/livez").json()["code"] == "method_not_allowed"
