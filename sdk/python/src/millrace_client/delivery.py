"""A batch on its way: sent, repeated, split, until each of its events has an end."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .events import Event
from .transport import Answer, Transport

log = logging.getLogger("millrace_client")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 300.0
"""Seconds; a server that asks for more is asked again after these."""

TOO_LARGE = 413


@dataclass(frozen=True)
class Rejection:
    """An event that arrived and breaks the contract or a rule.

    ``reason`` is from Millrace's docs/rejection-reasons.md; ``field`` is the one to blame.
    """

    event: Mapping[str, Any]
    reason: str
    field: str
    detail: str


@dataclass(frozen=True)
class Failure:
    """Events that were given up, and why; ``status`` is HTTP's, and 0 where there is none."""

    events: Sequence[Mapping[str, Any]]
    status: int
    detail: str


class Delivery:
    """Brings batches to their end.

    Args:
        transport: Where they go.
        pause: Waits so many seconds; returns False where there is no time left for another try.
        seconds_left: Bounds the next request.
        rejected: Is told of events that the API's answer names.
        failed: Is told of events that are given up.
    """

    def __init__(
        self,
        transport: Transport,
        pause: Callable[[float], bool],
        seconds_left: Callable[[], float],
        rejected: Callable[[Rejection], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._transport = transport
        self._pause = pause
        self._seconds_left = seconds_left
        self._rejected = rejected
        self._failed = failed

    def deliver(self, batch: Sequence[Event]) -> None:
        """Return when every event of the batch is acknowledged, rejected or given up."""
        parts = [list(batch)]
        while parts:
            part = parts.pop()
            answer = self._send(part)
            if _is_acknowledgement(answer, len(part)):
                for rejection in _rejections(answer.document, part):
                    self._rejected(rejection)
            elif answer.status == TOO_LARGE and len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]  # the first half is popped first
            else:
                self._failed(Failure([e.fields for e in part], answer.status, answer.detail))

    def _send(self, part: Sequence[Event]) -> Answer:
        """Send until there is an answer that another try would not change."""
        body = b"\n".join(event.line for event in part)
        attempt = 0
        while True:
            answer = self._transport.post(body, self._seconds_left())
            if not _is_passing(answer, len(part)):
                return answer
            seconds = _pause_before(attempt, answer.retry_after)
            log.warning(
                "%d events not acknowledged (%s %s); again in %.1f s",
                len(part), answer.status or "no answer:", answer.detail, seconds,
            )  # fmt: skip
            if not self._pause(seconds):
                return answer
            attempt += 1


def _is_acknowledgement(answer: Answer, count: int) -> bool:
    """Return whether Millrace itself says so: a page of a proxy with status 200 is no promise."""
    return (
        200 <= answer.status < 300
        and isinstance(answer.document, dict)
        and answer.document.get("count") == count
    )


def _is_passing(answer: Answer, count: int) -> bool:
    """Return whether the same request may be answered otherwise later."""
    if 200 <= answer.status < 300:
        return not _is_acknowledgement(answer, count)
    return answer.status in (0, 408, 429) or answer.status >= 500


def _pause_before(attempt: int, retry_after: float | None) -> float:
    """Return seconds: what the server asks for, else twice as long each time, with jitter."""
    if retry_after is not None:
        return min(retry_after, LONGEST_RETRY_AFTER)
    longest = min(FIRST_PAUSE * 2.0 ** min(attempt, 16), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads clients; keeps no secret


def _rejections(document: Mapping[str, Any], part: Sequence[Event]) -> Iterator[Rejection]:
    for entry in document.get("rejected") or ():
        event = part[entry["index"]]
        yield Rejection(
            event.fields, entry["reason"], entry.get("field") or "", entry.get("detail") or ""
        )
