"""POST /v1/graphql and GET /v1/live give the numbers that GET /v1/metrics gives."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import Any

from fastapi.testclient import TestClient
from tests.integration.numbers_bed import DAYS, ask
from tests.integration.transform_bed import Bench


def graph(api: TestClient, query: str, **variables: Any) -> Any:
    answer = api.post("/v1/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_graphql_gives_what_the_route_gives(api: TestClient) -> None:
    query = """
        query ($range: String!) {
            answer(metrics: ["events"], range: $range, interval: "1d", groupBy: ["country"],
                   filter: {dimension: "device", value: "mobile"}) {
                start end completeUntil rollup
                metrics { name unit series { group total points { start value status } } }
            }
            definitions { name dimensions }
        }
    """
    found = graph(api, query, range=DAYS)
    assert "errors" not in found
    asked = {"range": DAYS, "interval": "1d", "group_by": "country", "filter": "device:mobile"}
    plain = ask(api, name="events", **asked)
    (metric,), (theirs,) = plain["metrics"], found["data"]["answer"]["metrics"]
    assert (theirs["name"], theirs["unit"]) == ("events", metric["unit"])
    assert [
        (one["group"], one["total"], [(p["value"], p["status"]) for p in one["points"]])
        for one in theirs["series"]
    ] == [
        (one["group"], one["total"], [(p["value"], p["status"]) for p in one["points"]])
        for one in metric["series"]
    ]
    moment = datetime.fromisoformat(found["data"]["answer"]["start"])
    assert moment == datetime.fromisoformat(plain["range"]["start"])
    assert "country" in {
        name
        for definition in found["data"]["definitions"]
        if definition["name"] == "events"
        for name in definition["dimensions"]
    }


def test_graphql_refuses_with_the_codes_of_the_route(api: TestClient) -> None:
    for parameters in ({"name": "nosuch"}, {"name": "events", "range": "soon"}):
        plain = api.get("/v1/metrics", params=parameters).json()
        names = f'metrics: ["{parameters["name"]}"], range: "{parameters.get("range", "7d")}"'
        (error,) = graph(api, f"{{ answer({names}) {{ generation }} }}")["errors"]
        assert error["extensions"]["code"] == plain["code"]
        assert error["message"] == plain["detail"]


@contextmanager
def watching(api: TestClient, query: str) -> Iterator[Queue[str]]:
    """Stream ``/v1/live`` until the end of the block, when the watcher goes."""
    events: Queue[str] = Queue()
    gone = threading.Event()
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": "/v1/live", "raw_path": b"/v1/live",
        "root_path": "", "query_string": query.encode(), "server": ("testserver", 80),
        "client": ("127.0.0.1", 1), "state": {},
        "headers": [(b"authorization", api.headers["authorization"].encode())],
    }  # fmt: skip
    sent = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        if (message := next(sent, None)) is not None:
            return message
        while not gone.is_set():
            await asyncio.sleep(0.02)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            events.put(message["body"].decode())

    async def serve() -> None:
        await api.app(scope, receive, send)

    assert api.portal is not None
    task = api.portal.start_task_soon(serve)
    try:
        yield events
    finally:
        gone.set()
        task.result(timeout=20)


def test_live_numbers_are_asked_for_as_others_are(api: TestClient) -> None:
    query = f"name=events&range={DAYS}&interval=1h&compare=1d&complete_only=true&max_age=5"
    with watching(api, query) as events:
        kind, *_, data = events.get(timeout=60).strip().splitlines()
    assert kind == "event: numbers"
    told = json.loads(data.removeprefix("data: "))
    assert told["compared"] is not None
    statuses = {point["status"] for one in told["metrics"][0]["series"] for point in one["points"]}
    assert "provisional" not in statuses
    for parameter in ("cursor", "format", "nosuch"):
        refused = api.get("/v1/live", params={"name": "events", parameter: "json"})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_parameter")
        assert "max_age" in refused.json()["detail"]


def watchers(api: TestClient) -> float:
    (line,) = [
        line
        for line in api.get("/metrics").text.splitlines()
        if line.startswith("millrace_query_live_watchers ")
    ]
    return float(line.split()[1])


def test_live_numbers_follow_each_load_until_the_watcher_goes(
    api: TestClient, bench: Bench
) -> None:
    def total(event: str) -> float:
        kind, *_, data = event.strip().splitlines()
        assert kind == "event: numbers"
        (metric,) = json.loads(data.removeprefix("data: "))["metrics"]
        return sum(point["value"] or 0 for point in metric["series"][0]["points"])

    query = "name=events&range=2h&interval=1h"
    with watching(api, query) as one, watching(api, query) as other:
        before = total(one.get(timeout=60))
        assert total(other.get(timeout=60)) == before
        assert watchers(api) == 2
        now = datetime.now(UTC)
        bench.publish(bench.make(7, now - timedelta(minutes=1), now))
        for events in (one, other):
            while total(events.get(timeout=60)) != before + 7:
                pass
    assert watchers(api) == 0
