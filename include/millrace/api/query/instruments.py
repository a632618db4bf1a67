"""What the API counts of itself, for Prometheus: requests, and the statements that they cost."""

from __future__ import annotations

import time
from functools import lru_cache

from prometheus_client import Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = Histogram(
    "millrace_query_request_seconds",
    "Seconds from a request's head to the head of its answer.",
    ["route", "method", "status"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
STATEMENTS = Histogram(
    "millrace_query_statement_seconds",
    "Seconds that statements took in ClickHouse, by how they ended; waiting for a turn is not in.",
    ["outcome"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
WATCHERS = Gauge(
    "millrace_query_live_watchers", "Open streams of live numbers.", multiprocess_mode="livesum"
)

NONE = "none"
"""The label of a path that no route answers, and of a method that HTTP does not have: what
strangers think up is no label of its own."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
GONE = 499
"""The status that proxies, too, count where the client went away before it was answered."""


class Timed:
    """ASGI middleware that times every request by its route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        seconds: float | None = None
        status = GONE

        async def answer(message: Message) -> None:
            nonlocal seconds, status
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - began
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            status = 500 if seconds is None else status
            raise
        finally:
            route = scope.get("answered_as") or getattr(scope.get("route"), "path_format", NONE)
            method = scope["method"] if route != NONE and scope["method"] in METHODS else NONE
            took = time.perf_counter() - began if seconds is None else seconds
            _requests(route, method, status).observe(took)


@lru_cache(1_000)
def _requests(route: str, method: str, status: int) -> Histogram:
    return REQUESTS.labels(route, method, str(status))
