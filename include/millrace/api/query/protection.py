"""What every answer is given: an id, headers that browsers obey, and leave for other origins.

It wraps the whole application, so that errors have them, too.
"""

from __future__ import annotations

import re
import secrets

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millrace.api.query.bodies import Headers
from millrace.settings import Settings

_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{8,64}")
EXPOSED = (
    "ETag", "Link", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Cache",
    "X-Request-Id",
)  # fmt: skip
ALLOWED = (
    "Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key",
    "Last-Event-ID", "X-Request-Id",
)  # fmt: skip


LARGEST = 2 << 20
"""Bytes of a request's body."""


def protected(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return an application whose answers are protected.

    Pages of ``query_origins`` may ask with a token; cookies stay on our own site.
    """
    wrapped: ASGIApp = _Headers(app, settings)
    if settings.query_origins:
        wrapped = CORSMiddleware(
            wrapped,
            allow_origins=settings.query_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=ALLOWED,
            expose_headers=EXPOSED,
            max_age=3600,
        )
    return wrapped


def _limited(receive: Receive, told: bytes) -> Receive:
    """Return a ``receive`` that refuses bodies above ``LARGEST`` before they fill the memory.

    ``told`` is what the request says of its length; empty: nothing.
    """
    received = int(told) if told.isdigit() and len(told) < 20 else 0

    async def receive_limited() -> Message:
        nonlocal received
        if received > LARGEST:
            raise HTTPException(413, f"A body has at most {LARGEST:,} bytes")
        message = await receive()
        if message["type"] == "http.request" and not told:
            received += len(message.get("body", b""))
            if received > LARGEST:
                raise HTTPException(413, f"A body has at most {LARGEST:,} bytes")
        return message

    return receive_limited


class _Headers:
    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        framed = f"frame-ancestors 'self' {settings.airflow_url}"
        always = {
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
            b"cross-origin-resource-policy": b"same-site",
            b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
        }
        if settings.query_url.startswith("https:"):
            always[b"strict-transport-security"] = b"max-age=31536000"
        self._always = list(always.items())
        self._ours = always.keys() | {b"x-request-id", b"ratelimit-policy", b"ratelimit"}
        self._policy = f"default-src 'none'; {framed}".encode()
        self._docs_policy = (
            "default-src 'none'; base-uri 'none'; connect-src 'self'; form-action 'none'; "
            f"img-src 'self' data:; script-src 'self'; style-src 'self'; {framed}"
        ).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = dict(scope["headers"])
        given = asked.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._protected(message["headers"], scope)
            await send(message)

        told = asked.get(b"content-length", b"")
        await self._app(scope, _limited(receive, told), send_protected)

    def _protected(self, given: Headers, scope: Scope) -> Headers:
        """Return an answer's headers with those that it has to have."""
        headers = [pair for pair in given if pair[0] not in self._ours]
        names = {name for name, _ in headers}
        headers += self._always
        headers.append((b"x-request-id", scope["request_id"].encode()))
        if (standing := scope.get("state", {}).get("standing")) is not None:
            headers += standing.headers()
        if b"content-security-policy" not in names:
            policy = self._docs_policy if scope["path"] == "/docs" else self._policy
            headers.append((b"content-security-policy", policy))
        if b"cache-control" not in names:
            headers.append((b"cache-control", b"no-store"))
        return headers
