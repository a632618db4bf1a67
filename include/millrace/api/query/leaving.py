"""Who goes away takes their question along: what a read has begun ends with its connection.

Servers tell an application of it only where it listens, and no route does while it computes.
What changes something goes on, so that it is done whole or not at all.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

READ_BY_POST = ("/api/v1/", "/v1/query", "/v1/graphql")
"""Paths that are only read, although by POST."""
GONE: Message = {"type": "http.disconnect"}
NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}


class Leaving:
    """ASGI middleware that cancels a read when its client has gone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not _is_read(scope):
            await self._app(scope, receive, send)
            return
        client = _Client(receive, has_body=scope["method"] != "GET")
        answering = asyncio.ensure_future(self._app(scope, client.receive, send))
        watching = asyncio.ensure_future(client.leaves())
        try:
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
            await asyncio.wait({answering})
            if not answering.cancelled():
                answering.result()
        finally:
            watching.cancel()
            answering.cancel()  # where the server gives up on the request itself


class _Client:
    """What a client sends: its body, and that it has gone."""

    def __init__(self, receive: Receive, *, has_body: bool) -> None:
        self._receive = receive
        self._unread = None if has_body else NO_BODY
        self._whole = asyncio.Event()
        self._gone = asyncio.Event()
        if not has_body:
            self._whole.set()

    async def receive(self) -> Message:
        """Return the next message, as ASGI has it."""
        if self._whole.is_set():
            message, self._unread = self._unread, None
            if message is None:
                await self._gone.wait()
            return message or GONE
        message = await self._receive()
        if message["type"] == GONE["type"]:
            self._gone.set()
        if not message.get("more_body", False):
            self._whole.set()
        return message

    async def leaves(self) -> None:
        """Wait until the client has gone; its body is read by then."""
        await self._whole.wait()
        while not self._gone.is_set():
            if (await self._receive())["type"] == GONE["type"]:
                self._gone.set()


def _is_read(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    path: str = scope["path"]
    return scope["method"] == "GET" or path.startswith(READ_BY_POST)
