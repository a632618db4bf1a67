"""Whoever goes away takes a read along, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive, Scope, Send

from millrace.api.query.leaving import GONE, Leaving


class Route:
    """An application that reads its request, and computes until it is told to answer."""

    def __init__(self, *, reads: bool) -> None:
        self.reads = reads
        self.begun = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.body = b""
        self.outcome = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        more = self.reads
        while more:
            message = await receive()
            self.body += message["body"]
            more = message["more_body"]
        self.begun.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.outcome = "cancelled"
            raise
        self.outcome = "answered"


def part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def asked(
    route: Route, method: str, path: str, messages: Iterable[Message], *, answers: bool
) -> None:
    """Ask, and go away when the route computes."""
    waiting = iter(messages)

    async def receive() -> Message:
        if (message := next(waiting, None)) is not None:
            return message
        await route.begun.wait()
        return GONE

    async def send(_message: Message) -> None:
        raise AssertionError("nothing is sent to nobody")

    scope = {"type": "http", "method": method, "path": path}
    asking = asyncio.create_task(Leaving(route)(scope, receive, send))
    if answers:
        await route.begun.wait()
        for _ in range(100):  # in which it would have been cancelled
            await asyncio.sleep(0)
        route.may_answer.set()
    await asking


async def outcome(
    method: str, path: str, *messages: Message, reads: bool = True, answers: bool = False
) -> tuple[str, bytes]:
    """Return how it ended, and what the route read; it answers if it may."""
    route = Route(reads=reads)
    async with asyncio.timeout(10):
        await asked(route, method, path, messages, answers=answers)
    return route.outcome, route.body


def test_a_read_ends_with_its_connection() -> None:
    body = part(b"one ", more=True), part(b"two", more=False)
    for reads in (True, False):
        asking = outcome("GET", "/v1/metrics", part(b"", more=False), reads=reads)
        assert asyncio.run(asking) == ("cancelled", b"")
    for path in ("/v1/query", "/api/v1/query_range", "/v1/graphql"):
        assert asyncio.run(outcome("POST", path, *body)) == ("cancelled", b"one two")


def test_what_changes_something_is_done_whole() -> None:
    body = part(b"one ", more=True), part(b"two", more=False)
    for method, path in (("POST", "/v1/jobs"), ("PUT", "/v1/reports/daily")):
        asking = outcome(method, path, *body, answers=True)
        assert asyncio.run(asking) == ("answered", b"one two")


def test_errors_are_those_of_the_application() -> None:
    async def fails(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("a fault")

    async def test() -> None:
        async def receive() -> Message:
            await asyncio.sleep(60)
            return GONE

        async def send(_message: Message) -> None:
            pass

        await Leaving(fails)({"type": "http", "method": "GET", "path": "/"}, receive, send)

    with pytest.raises(ValueError, match="a fault"):
        asyncio.run(test())
