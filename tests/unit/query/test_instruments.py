"""What is counted of requests, by labels that nobody outside can add to."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from starlette.testclient import TestClient

from millrace.api.query.instruments import Timed


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/items/7", ("/items/{number}", "GET", "200")),
        ("DELETE", "/items/7", ("/items/{number}", "DELETE", "405")),
        ("BREW", "/items/7", ("/items/{number}", "none", "405")),
        ("GET", "/guessed", ("none", "none", "404")),
    ],
)
def test_requests_are_counted_by_route_method_and_status(
    method: str, path: str, labels: tuple[str, str, str]
) -> None:
    app = FastAPI()
    app.add_middleware(Timed)

    @app.get("/items/{number}")
    def item(number: int) -> int:
        return number

    def counted() -> float:
        named = dict(zip(("route", "method", "status"), labels, strict=True))
        return REGISTRY.get_sample_value("millrace_query_request_seconds_count", named) or 0.0

    before = counted()
    TestClient(app).request(method, path)
    assert counted() == before + 1
