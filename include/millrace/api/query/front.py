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
from millrace.api.query.asked import Manner, is_unchanged, read_manner, unchanged
from millrace.api.query.questions import Question, read_query
from millrace.api.query.service import Service

PATH = "/v1/metrics"
MOST_READ = 20_000
"""Requests whose reading a process keeps."""


class Front:
    """ASGI middleware in front of the route ``GET /v1/metrics``."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._read: OrderedDict[tuple[Any, ...], tuple[Question, Manner]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "GET":
            began = time.perf_counter()
            headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
            }
            try:
                found = await self._kept(scope["query_string"], headers, began)
            except ProblemError:
                found = None  # the application says what is wrong
            if found is not None:
                scope["answered_as"] = PATH
                status, content, shown = found
                raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in shown.items()]
                raw.append((b"content-length", b"%d" % len(content)))
                await send({"type": "http.response.start", "status": status, "headers": raw})
                await send({"type": "http.response.body", "body": content})
                return
        await self._app(scope, receive, send)

    async def _kept(
        self, query: bytes, headers: Mapping[str, str], began: float
    ) -> tuple[int, bytes, dict[str, str]] | None:
        """Return status, content and headers of an answer that is kept. Raises ``ProblemError``."""
        if "authorization" not in headers:
            return None
        whose = self._service.recognition.principal_of(headers["authorization"])
        if whose is None:
            return None
        question, manner = self._question(query, headers, whose)
        asked = self._service.asked
        state = asked.state(question, manner)
        still = unchanged(state, manner)
        if is_unchanged(headers.get("if-none-match", ""), still["etag"]):
            return 304, b"", still | (await self._service.requests.take(whose)).headers()
        body, layer = asked.kept(question, manner, state), {}
        if body is not None:
            content, layer = body.again(began), {"x-cache": "process"}
        elif (body := await asked.coming(question, manner, state, whose)) is not None:
            content = body.content
        else:
            return None
        standing = await self._service.requests.take(whose)
        return 200, content, body.headers | standing.headers() | layer

    def _question(
        self, query: bytes, headers: Mapping[str, str], whose: Principal
    ) -> tuple[Question, Manner]:
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
            found = (
                read_query(parameters, registry, moment, whose),
                read_manner(parameters, headers),
            )
            self._read[key] = found
            if len(self._read) > MOST_READ:
                self._read.popitem(last=False)
        return found
