"""The families' routes without what is behind them: what was taken is kept here.

One front stands for one case of one client: it answers the first requests with its ``problems``,
in the family's words, and what comes after as the API does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from tests.helpers.proxy import Reply, Sent

from millrace.api.http import ProblemError, Request, Response
from millrace.api.ingestion import bodies, credentials, families
from millrace.api.ingestion.batches import Outcome, Rejection
from millrace.api.ingestion.families.family import Account, Family

KEY = "mr_conforms_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
GOOD, BAD = "conformance_purchase", "conformance_unregistered"
ACCOUNT = Account("conformance", {}, b"a key that hashes ids")
LIMIT = 20 << 20

CUT = "cut"
"""In place of a problem: the events are taken, and the answer is lost."""


def route(sent: Sent) -> tuple[Request, Family]:
    """Return a request as the API reads it, and whose it is."""
    path, _, query = sent.path.partition("?")
    body = bodies.unpack(sent.raw, sent.headers.get("content-encoding", ""), LIMIT)
    request = Request(
        sent.method, unquote(path), query.encode(), sent.headers, body, "request",
        int(time.time() * 1000), "127.0.0.1",
    )  # fmt: skip
    family = families.find(sent.method, request.path)
    assert family is not None, f"{sent.method} {sent.path} is nobody's"
    return request, family


def translated(request: Request, family: Family) -> list[Any]:
    """Return the events of a request as the topic gets them."""
    return [
        one if isinstance(one, Mapping) else msgspec.json.decode(one)
        for one in family.read(request, ACCOUNT).events
    ]


class Front:
    """Takes events, but for the ``problems`` that it has first."""

    def __init__(self, problems: list[ProblemError | str]) -> None:
        self.problems = problems
        self.taken: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.requests: list[tuple[str, int]] = []

    def answer(self, sent: Sent) -> Reply:
        """Answer as the API does."""
        if sent.method == "OPTIONS":
            return Reply(204)
        request, family = route(sent)
        known = family.discovery(request)
        if known is not None:
            return _reply(known)
        problem = self.problems.pop(0) if self.problems else None
        try:
            if isinstance(problem, ProblemError):
                raise problem
            if credentials.find(request, family) != KEY:
                raise ProblemError(401, "unknown_key", "No key of that text is known")
            events = translated(request, family)
            rejections = self._take(events)
            answer = family.answer(request, Outcome(len(events), rejections))
        except ProblemError as error:
            answer = family.refuse(request, error)
        self.requests.append((request.path, 0 if problem == CUT else answer.status))
        return Reply(cut=True) if problem == CUT else _reply(answer)

    def _take(self, events: list[Any]) -> list[Rejection]:
        rejections = []
        for index, event in enumerate(events):
            if event["event"] == BAD:
                rejections.append(
                    Rejection(index, event["event_id"], "unknown_event_type", "event", BAD)
                )
                self.rejected.append(event)
            else:
                self.taken.append(event)
        return rejections


def _reply(answer: Response) -> Reply:
    headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-type"}
    kind = answer.headers.get("content-type", "text/plain")
    return Reply(answer.status, text=answer.body, headers=headers, kind=kind)
