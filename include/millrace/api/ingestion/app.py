"""The HTTP door: from a request's bytes to the answer that its SDK understands (ASGI)."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from importlib import resources
from typing import Any

import psycopg
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from millrace.access.keys import READ_LIVE, Key
from millrace.api import scrapes
from millrace.api.http import ProblemError, Request, Response
from millrace.api.ingestion import bodies, cors, credentials, families, metrics, openapi
from millrace.api.ingestion.batches import MOST_BYTES, check_count
from millrace.api.ingestion.families.family import Family
from millrace.api.ingestion.intake import Intake
from millrace.api.ingestion.live import MOST_WATCHERS
from millrace.contract.sources import Source

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

KEY_HINT = (
    "Send a key that ./millrace keys add has made, as Authorization: Bearer KEY or where your SDK "
    "has its write key."
)

BODY_SECONDS = 60.0
"""A body that takes longer to come is given up."""

LIVE, SOURCES, DEBUG = "/v1/events/live", "/v1/sources/", "/debug"

LISTS = frozenset({"access-control-request-headers", "content-encoding", "x-forwarded-for"})
"""Headers that may be there several times, which is as if all were in one."""

LONGEST_ADDRESS = 64
"""Characters of an address that a proxy says a request comes from."""

LARGEST_UNDER_WAY = 96 << 20
"""Bytes of bodies that a process holds at once; beyond, it says to come back."""

log = logging.getLogger(__name__)
_tracker = resources.files(__package__).joinpath("static", "m.js").read_bytes()


class App:
    """The ASGI application of one process."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._held = 0
        self._begun, self._numbers = secrets.token_hex(4), itertools.count()
        self._pages: dict[tuple[str, str], Callable[[], Response]] = {
            ("GET", "/livez"): lambda: Response.json(200, {"status": "ok"}),
            ("GET", "/readyz"): self._readyz,
            ("GET", "/healthz"): self._readyz,
            ("GET", "/health"): self._readyz,
            ("GET", "/metrics"): lambda: Response(
                200, scrapes.text(), {"content-type": scrapes.CONTENT_TYPE_LATEST}
            ),
            ("GET", "/openapi.json"): lambda: Response.json(200, openapi.document()),
            ("GET", "/docs"): lambda: Response(
                200,
                openapi.page().encode(),
                {
                    "content-type": "text/html; charset=utf-8",
                    "content-security-policy": openapi.POLICY,
                },
            ),
            ("GET", "/m.js"): lambda: Response(
                200,
                _tracker,
                {
                    "content-type": "text/javascript; charset=utf-8",
                    "cache-control": "public, max-age=3600",
                },
            ),
            ("GET", "/robots.txt"): lambda: Response(
                200, b"User-agent: *\nDisallow: /\n", {"content-type": "text/plain"}
            ),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        is_head = scope["method"] == "HEAD"
        headers = _headers(scope["headers"])
        request = Request(
            method="GET" if is_head else scope["method"],
            path=scope["path"],
            query_string=scope["query_string"],
            headers=headers,
            request_id=f"{self._begun}{next(self._numbers):08x}",
            received_at=time.time_ns() // 1_000_000,
            client=_first_address(headers) or (scope.get("client") or ("",))[0],
        )
        if request.path == LIVE and request.method == "GET":
            await self._stream(request, receive, send, is_head=is_head)
            return
        response = await self._respond(request, receive)
        await self._answer(request, response, send, is_head=is_head)

    async def _answer(
        self, request: Request, response: Response, send: Send, *, is_head: bool = False
    ) -> None:
        headers = {"x-request-id": request.request_id} | response.headers
        if response.status != HTTPStatus.NO_CONTENT:
            headers |= {"content-length": str(len(response.body))}
        if "origin" in request.headers and "access-control-allow-origin" not in headers:
            headers |= cors.answered(request.headers)
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
            }
        )
        await send({"type": "http.response.body", "body": b"" if is_head else response.body})

    async def _respond(self, request: Request, receive: Receive) -> Response:
        method = request.method
        page = self._pages.get((method, request.path))
        if page is not None:
            return page()
        if method == "GET" and _is_watched(request.path):
            return await self._debug(request)
        if cors.is_preflight(request.method, request.headers):
            return Response(204, b"", cors.preflight(request.headers))
        if request.method == "OPTIONS":
            return Response(204, b"", {"allow": cors.METHODS})
        family, path = families.meant(method, request.path)
        if family is None:
            return self._nowhere(request)
        request.path = path
        began = time.monotonic()
        response = await self._answered(family, request, receive)
        seconds = time.monotonic() - began
        metrics.requests(family.name, str(response.status)).observe(seconds)
        return response

    async def _answered(self, family: Family, request: Request, receive: Receive) -> Response:
        """Serve a request for events; whatever goes wrong is an answer, too."""
        try:
            return await self._serve(family, request, receive)
        except ProblemError as problem:
            return family.refuse(request, problem)
        except RecursionError:  # it could just be read, and could not be written again
            detail = "The body is nested too deeply: send objects in fewer levels"
            return family.refuse(request, ProblemError(400, "malformed_json", detail))
        except Exception:
            log.exception("request %s failed", request.request_id)
            failure = ProblemError(500, "internal_error", "The API failed; its log says more.")
            return family.refuse(request, failure)

    async def _serve(self, family: Family, request: Request, receive: Receive) -> Response:
        held = 0
        try:
            body = await self._body(request, receive)
            held = len(body)
            encoding = request.headers.get("content-encoding", "")
            request.body = bodies.as_utf8(
                bodies.unpack(body, encoding, MOST_BYTES),
                request.headers.get("content-type", ""),
                MOST_BYTES,
            )
            self._held += len(request.body) - held
            held = len(request.body)
            answer = family.discovery(request)
            if answer is not None:
                return answer
            key = await self._key(family, request)
            batch = family.read(request, self._intake.ring.account(key))
            check_count(len(batch.events))
            try:
                outcome = await self._intake.take(key, batch, request.request_id)
                response = family.answer(request, outcome)
            except ProblemError as problem:
                response = family.refuse(request, problem)
            response.headers |= self._intake.limits.headers(key)
            return response
        finally:
            self._held -= held

    async def _debug(self, request: Request) -> Response:
        """Show the last events of a source."""
        try:
            source = await self._watched(request)
            named = request.path[len(SOURCES) : -len(DEBUG)]
            if named != source.source_id:
                raise ProblemError(403, "not_allowed", f"The key is not one of source {named}.")
            return Response.json(200, await self._intake.live.debug(source))
        except ProblemError as problem:
            return problem.response(request.request_id)

    async def _stream(
        self, request: Request, receive: Receive, send: Send, *, is_head: bool
    ) -> None:
        """Show what comes, as server-sent events, until the watcher goes."""
        live = self._intake.live
        try:
            source = await self._watched(request)
            if live.watchers >= MOST_WATCHERS:
                raise ProblemError(503, "busy", "Too many watch at once.", retry_after=10)
        except ProblemError as problem:
            refused = problem.response(request.request_id)
            await self._answer(request, refused, send, is_head=is_head)
            return
        headers = cors.answered(request.headers) | {
            "content-type": "text/event-stream",
            "cache-control": "no-store",
            "x-request-id": request.request_id,
        }
        named = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": named})
        if is_head:
            await send({"type": "http.response.body", "body": b""})
            return
        gone = asyncio.create_task(_until_gone(receive))
        try:
            async for part in live.events(source):
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except (psycopg.Error, ClickHouseError, OSError) as error:
            log.warning("a live view ended: %s", error)
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _watched(self, request: Request) -> Source:
        """Return the source that a request may watch. Raises ``ProblemError`` (401, 403, 503)."""
        key = await self._intake.ring.known(credentials.find(request), KEY_HINT)
        if READ_LIVE not in key.scopes:
            raise ProblemError(
                403,
                "not_allowed",
                f"Key {key.name} may not watch: ./millrace keys add NAME --scope {READ_LIVE}",
            )
        cors.check(key, request.headers)
        return self._intake.ring.sources[key.source_id]

    async def _key(self, family: Family, request: Request) -> Key:
        """Return the key that events are sent with. Raises ``ProblemError`` (401, 403, 503)."""
        key = await self._intake.ring.sender(credentials.find(request, family), KEY_HINT)
        cors.check(key, request.headers)
        return key

    async def _body(self, request: Request, receive: Receive) -> bytes:
        """Return the body as it came. Raises ``ProblemError`` where it is too long, or too slow."""
        text = request.headers.get("content-length", "")
        announced = int(text) if text.isdigit() else -1
        if announced > MOST_BYTES:
            raise _too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ProblemError(400, "incomplete_body", "The body ended too early.")
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    self._held += len(chunk)
                    if size > MOST_BYTES:
                        raise _too_large()
                    if self._held > LARGEST_UNDER_WAY:
                        raise ProblemError(
                            503, "busy", "Too much is being received at once.", retry_after=1
                        )
                    chunks.append(chunk)
                    if not message.get("more_body") or size == announced:
                        break  # all of it has come: to be told so would take a turn more
        except BaseException as error:
            self._held -= size
            if isinstance(error, TimeoutError):
                raise ProblemError(408, "slow_body", "The body came too slowly.") from None
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _readyz(self) -> Response:
        wrong = self._intake.readiness()
        content = {
            "status": "unavailable" if wrong else "ok",
            "problems": wrong,
            "warnings": self._intake.delivery.warnings(),
        }
        return Response.json(503 if wrong else 200, content)

    def _nowhere(self, request: Request) -> Response:
        """Return the answer to a request that no route is for."""
        allowed = [
            method
            for method in ("GET", "POST")
            if (method, request.path) in self._pages
            or families.meant(method, request.path)[0]
            or (method == "GET" and (request.path == LIVE or _is_watched(request.path)))
        ]
        if not allowed:
            return ProblemError(
                404, "not_found", f"There is no {request.path[:200]}; POST /v1/events takes events."
            ).response(request.request_id)
        answer = ProblemError(
            405, "method_not_allowed", f"{request.path} takes {' and '.join(allowed)}."
        ).response(request.request_id)
        answer.headers["allow"] = ", ".join(["OPTIONS", *allowed])
        return answer


def _is_watched(path: str) -> bool:
    """Tell whether a path shows the last events of a source."""
    return path.startswith(SOURCES) and path.endswith(DEBUG)


def _first_address(headers: Mapping[str, str]) -> str:
    """Return the address that the first proxy says a request comes from, without a port."""
    said = headers.get("x-forwarded-for", "").partition(",")[0].strip()
    if said[:1] == "[":  # of IPv6, where a port follows
        said = said[1:].partition("]")[0]
    elif said.count(":") == 1:
        said = said.partition(":")[0]
    return said[:LONGEST_ADDRESS]


def _headers(sent: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by their names in lower case; of equal ones the last, of lists all."""
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in sent}
    if len(found) < len(sent):
        for listed in LISTS & found.keys():
            all_of_it = (value for name, value in sent if name.lower() == listed.encode())
            found[listed] = b", ".join(all_of_it).decode("latin-1")
    return found


async def _until_gone(receive: Receive) -> None:
    """Wait until whoever asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large() -> ProblemError:
    return ProblemError(
        413,
        "body_too_large",
        f"The body is longer than {MOST_BYTES >> 20} MiB. Send the events in several requests.",
    )
