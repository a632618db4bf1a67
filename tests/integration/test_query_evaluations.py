"""What Prometheus' API tells of times that are over is kept until their samples change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx
from tests.helpers.wait import until

from millrace.settings import Settings
from millrace.stores import clickhouse

BEGIN = (int(time.time()) // 3600 - 4) * 3600
NAMES = ["timestamp", "metric_name", "value", "dimensions"]


def test_what_is_over_is_kept_until_its_samples_change(
    query_clients: Mapping[str, httpx.Client], settings: Settings
) -> None:
    def ask(query: str = "sum(millrace_kept)", end: float = BEGIN + 3600) -> httpx.Response:
        times = {"start": BEGIN, "end": end, "step": 600}
        answer = query_clients["viewer"].get("/api/v1/query_range", params={"query": query} | times)
        return answer.raise_for_status()

    def sums() -> list[Any]:
        return [one["values"] for one in ask().json()["data"]["result"]]

    with clickhouse.connect(settings) as client:

        def happens(value: float) -> None:
            row = [BEGIN + 1800, "millrace_kept", value, {"of": str(value)}]
            client.insert("pipeline_metrics", [row], column_names=NAMES)

        happens(3.0)
        until(lambda: ask().headers["x-cache"] == "process", 20)
        assert sums() == [[[BEGIN + 1800, "3"]]]
        happens(4.0)
        until(lambda: sums() == [[[BEGIN + 1800, "7"]]], 10)
        for later in (
            lambda: ask(end=time.time()),
            lambda: ask("sum(millrace_kept offset -1h)"),
        ):
            assert [later().headers["x-cache"] for _ in range(2)] == ["computed"] * 2
        client.command("DELETE FROM pipeline_metrics WHERE metric_name = 'millrace_kept'")
        until(lambda: not sums(), 10)
