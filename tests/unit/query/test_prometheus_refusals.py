"""What routes of Prometheus' form say of a refusal: a kind that its clients know."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

from millrace.api.http import ProblemError
from millrace.api.query.routes.prometheus import PrometheusRoute


@pytest.mark.parametrize(
    ("status", "code", "answered_with", "kind"),
    [
        (401, "not_signed_in", 401, "unauthorized"),
        (403, "not_allowed", 403, "forbidden"),
        (413, "too_large", 413, "too_large_entry"),
        (429, "too_many_requests", 429, "too_many_requests"),
        (500, "internal_error", 500, "internal"),
        (503, "unavailable", 503, "unavailable"),
        (504, "too_slow", 503, "timeout"),
    ],
)
def test_a_refusal_is_called_as_clients_know_it(
    status: int, code: str, answered_with: int, kind: str
) -> None:
    router = APIRouter(route_class=PrometheusRoute)

    @router.get("/refused")
    def refused() -> None:
        raise ProblemError(status, code, "why", retry_after=7)

    app = FastAPI()
    app.include_router(router)
    answer = TestClient(app).get("/refused")
    assert answer.status_code == answered_with
    assert answer.json() == {"status": "error", "errorType": kind, "error": "why"}
    if status == 429:
        assert answer.headers["retry-after"] == "7"
