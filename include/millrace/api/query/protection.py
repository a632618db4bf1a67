"""What every answer is given: an id, headers that browsers obey, and leave for other origins.

It wraps the whole application, so that errors have them, too.
"""

from __future__ import annotations

import re
import secrets

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


def _limited(receive: Receive, scope: Scope) -> Receive:
    """Return a ``receive`` that refuses bodies above ``LARGEST`` before they fill the memory."""
    told = dict(scope["headers"]).get(b"content-length", b"")
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
        self._always = {
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
            b"cross-origin-resource-policy": b"same-site",
            b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
        }
        if settings.query_url.startswith("https:"):
            self._always[b"strict-transport-security"] = b"max-age=31536000"
        self._policy = f"default-src 'none'; {framed}".encode()
        self._docs_policy = (
            "default-src 'none'; base-uri 'none'; connect-src 'self'; form-action 'none'; "
            f"img-src 'self' data:; script-src 'self'; style-src 'self'; {framed}"
        ).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id
        receive = _limited(receive, scope)
        policy = self._docs_policy if scope["path"] == "/docs" else self._policy

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                standing = scope.get("state", {}).get("standing")
                ours = self._always | {b"x-request-id": request_id.encode()}
                if standing is not None:
                    ours |= {k.encode(): v.encode() for k, v in standing.headers().items()}
                given = message["headers"]
                unless = {b"content-security-policy": policy, b"cache-control": b"no-store"}
                for name, _ in given:
                    unless.pop(name.lower(), None)
                message["headers"] = [
                    *(pair for pair in given if pair[0].lower() not in ours),
                    *ours.items(),
                    *unless.items(),
                ]
            await send(message)

        await self._app(scope, receive, send_protected)
