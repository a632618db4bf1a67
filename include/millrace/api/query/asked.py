"""A request for numbers, from its parameters to the bytes that are sent, by whichever route."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from millrace.access.roles import Principal
from millrace.api.query import cursors, rendering
from millrace.api.query.answer import Answer
from millrace.api.query.answering import Answering
from millrace.api.query.bodies import Bodies, Body
from millrace.api.query.cache.flights import Flights
from millrace.api.query.parameters import MOST_AGE
from millrace.api.query.questions import MOST_GROUPS, Question
from millrace.api.query.ranges import invalid

FORMATS = {"json": rendering.JSON, "csv": rendering.CSV, "arrow": rendering.ARROW}
LEAST_AGE = 0.001
"""For how many seconds rows that came may be missing at least, where that is asked."""


@dataclass(frozen=True)
class Manner:
    """How an answer is wanted.

    Args:
        output: One of ``FORMATS``.
        max_age: For how many seconds rows that came may be missing.
        cursor: What the page before gave as ``next``.
        is_fresh: Whether it is computed whatever is kept.
    """

    output: str = "json"
    max_age: float = 0.0
    cursor: str = ""
    is_fresh: bool = False


@dataclass(frozen=True)
class Inquiry:
    """A question, and how its answer is wanted; what follows from them is told once."""

    question: Question
    manner: Manner

    @cached_property
    def key(self) -> tuple[str, ...]:
        """What its answers are kept under."""
        manner = self.manner
        return self.question.key, manner.output, f"{manner.max_age:g}", manner.cursor

    @cached_property
    def computed(self) -> Question:
        """The question with a group more than is shown, which tells whether more follow.

        Raises ``ProblemError`` (400) where the cursor is of another question.
        """
        question = self.question
        shown = cursors.position(self.manner.cursor, question.key)
        if not question.group_by:
            return question
        return replace(question, limit=min(shown + question.limit + 1, MOST_GROUPS))


def read_manner(parameters: Mapping[str, str], headers: Mapping[str, str]) -> Manner:
    """Return how an answer is wanted. Raises ``ProblemError`` (400)."""
    output = parameters.get("format", "")
    accepted = headers.get("accept", "")
    if not output:
        output = next(
            (name for name, kind in FORMATS.items() if kind.partition(";")[0] in accepted), "json"
        )
    if output not in FORMATS:
        raise invalid("format", f"one of {', '.join(FORMATS)}.")
    try:
        max_age = float(parameters.get("max_age") or 0)
    except ValueError:
        max_age = -1.0
    if not (max_age == 0 or LEAST_AGE <= max_age <= MOST_AGE):
        raise invalid("max_age", f"seconds: 0, or from {LEAST_AGE:g} to {MOST_AGE:g}.")
    is_fresh = "no-cache" in headers.get("cache-control", "")
    return Manner(output, max_age, parameters.get("cursor", ""), is_fresh)


class Asked:
    """What answers requests for numbers."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._bodies = Bodies()
        self._flights: Flights[Body] = Flights()

    def state(self, inquiry: Inquiry) -> str:
        """Return what changes when the answer does. Raises as ``Answering.state`` does."""
        return self._answering.state(inquiry.computed, inquiry.manner.max_age)

    def kept(self, inquiry: Inquiry, state: str) -> Body | None:
        """Return the answer as it was sent before, where nothing has changed since."""
        return None if inquiry.manner.is_fresh else self._bodies.get(inquiry.key, state)

    async def coming(self, inquiry: Inquiry, state: str, whose: Principal) -> Body | None:
        """Return the answer that is being made for others with the same limits, if it is."""
        if inquiry.manner.is_fresh:
            return None
        return await self._flights.joined((*inquiry.key, state, whose.role))

    async def body(self, inquiry: Inquiry, state: str, whose: Principal) -> Body:
        """Return the answer as it is sent, made once for all of a role who ask at once.

        ``state`` is what it was when they asked. Raises ``ProblemError``.
        """
        if inquiry.manner.is_fresh:
            return await self._body(inquiry, whose)
        return await self._flights.join(
            (*inquiry.key, state, whose.role), lambda: self._body(inquiry, whose)
        )

    async def _body(self, inquiry: Inquiry, whose: Principal) -> Body:
        began = time.perf_counter()
        manner = inquiry.manner
        answer = await self._answering.answer(
            inquiry.computed, whose, max_age=manner.max_age, is_fresh=manner.is_fresh
        )
        answer = page(answer, inquiry)
        if manner.output == "csv":
            content = rendering.as_csv(answer)
        elif manner.output == "arrow":
            content = rendering.as_arrow(answer)
        else:
            content = rendering.as_json(answer, time.perf_counter() - began)
        body = Body(answer.generation, content, self._headers(answer, manner))
        if answer.cost.layer != "stale":
            self._bodies.put(inquiry.key, body)
        return body

    @staticmethod
    def _headers(answer: Answer, manner: Manner) -> dict[str, str]:
        age = max(0, int((datetime.now(UTC) - answer.cost.computed_at).total_seconds()))
        headers = {
            "content-type": FORMATS[manner.output],
            **unchanged(answer.generation, manner),
            "age": str(age),
            "x-cache": answer.cost.layer,
        }
        if answer.following:
            headers["x-next-cursor"] = answer.following
        return headers


def page(answer: Answer, inquiry: Inquiry) -> Answer:
    """Return the groups of one page of an answer to ``inquiry.computed``."""
    question = inquiry.question
    if not question.group_by:
        return answer
    shown = cursors.position(inquiry.manner.cursor, question.key)
    end = shown + question.limit
    more = end < MOST_GROUPS and any(len(metric.series) > end for metric in answer.metrics)
    metrics = [replace(metric, series=metric.series[shown:end]) for metric in answer.metrics]
    following = cursors.cursor(end, question.key) if more else None
    return replace(answer, metrics=metrics, following=following)


def unchanged(state: str, manner: Manner) -> dict[str, str]:
    """Return the headers of an answer that say whether it still holds."""
    return {
        "etag": f'"{state}-{manner.output}"',
        # Whoever keeps it asks whether it still holds: that is cheap, and never wrong.
        "cache-control": "private, no-cache",
        "vary": "authorization, accept",
    }


def is_unchanged(shown: str, etag: str) -> bool:
    """Tell whether the asker has this answer already, by its header If-None-Match."""
    known = {one.strip().removeprefix("W/") for one in shown.split(",")}
    return bool(shown) and (etag in known or "*" in known)
