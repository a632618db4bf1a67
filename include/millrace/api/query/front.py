"""What was asked before and has not changed is answered ahead of the application, in microseconds.

It answers nothing by itself: whoever is not known, asks for the first time, or asks wrongly goes on
to the application, which answers the same question alike.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.asked import Inquiry, is_unchanged, read_manner, unchanged
from millrace.api.query.bodies import Headers, raw
from millrace.api.query.questions import read_query
from millrace.api.query.service import Service

PATH = "/v1/metrics"
READ = {
    name.encode(): name for name in ("accept", "authorization", "cache-control", "if-none-match")
}
"""The headers that an answer depends on."""
MOST_READ = 20_000
"""Requests whose reading a process keeps."""


class Front:
    """ASGI middleware in front of the route ``GET /v1/metrics``."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._read: OrderedDict[tuple[Any, ...], Inquiry] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "GET":
            began = time.perf_counter()
            try:
                found = await self._kept(scope, began)
            except ProblemError:
                found = None  # the application says what is wrong
            if found is not None:
                scope["answered_as"] = PATH
                status, content, headers = found
                length = (b"content-length", b"%d" % len(content))
                start = {"status": status, "headers": [*headers, length]}
                await send({"type": "http.response.start", **start})
                await send({"type": "http.response.body", "body": content})
                return
        await self._app(scope, receive, send)

    async def _kept(self, scope: Scope, began: float) -> tuple[int, bytes, Headers] | None:
        """Return status, content and headers of an answer that is kept. Raises ``ProblemError``."""
        headers = {
            READ[name]: value.decode("latin-1") for name, value in scope["headers"] if name in READ
        }
        if "authorization" not in headers:
            return None
        whose = self._service.recognition.principal_of(headers["authorization"])
        if whose is None:
            return None
        inquiry = self._inquiry(scope["query_string"], headers, whose)
        asked = self._service.asked
        state = asked.state(inquiry)
        shown = headers.get("if-none-match", "")
        found: tuple[int, bytes, Headers]
        if shown and is_unchanged(shown, (still := unchanged(state, inquiry.manner))["etag"]):
            found = 304, b"", raw(still)
        elif (body := asked.kept(inquiry, state)) is not None:
            found = 200, body.again(began), body.headers_again
        elif (body := await asked.coming(inquiry, state, whose)) is not None:
            found = 200, body.content, raw(body.headers)
        else:
            return None
        scope.setdefault("state", {})["standing"] = await self._service.requests.take(whose)
        return found

    def _inquiry(self, query: bytes, headers: Mapping[str, str], whose: Principal) -> Inquiry:
        """Return what a request asks; it is read once a minute, since ranges follow the clock."""
        now = time.time()
        key = (
            query, headers.get("accept"), headers.get("cache-control"), whose.row_policy,
            int(now // 60),
        )  # fmt: skip
        found = self._read.get(key)
        if found is None:
            parameters = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
            moment = datetime.fromtimestamp(now, UTC)
            registry = self._service.answering.registry_of(whose)
            question = read_query(parameters, registry, moment, whose)
            found = self._read[key] = Inquiry(question, read_manner(parameters, headers))
            if len(self._read) > MOST_READ:
                self._read.popitem(last=False)
        return found
