"""The client: a bounded queue, and a thread that empties it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Callable, TypeVar

from . import events
from .delivery import Delivery, Failure, Rejection
from .events import Event
from .transport import Transport

log = logging.getLogger("millrace_client")

T = TypeVar("T")


class Client:
    """Sends events to Millrace's ingestion API, at least once, in the order of the calls.

    ``track`` and ``send`` only queue; a thread of the client's own sends. What the API can't take
    now (408, 429, 5xx, no answer) is sent again until it does, for as long as the process lives;
    meanwhile the queue fills. When it is full a new event waits ``block_seconds`` for room and is
    then given to ``on_failed``: what is queued is never thrown away for it.

    Args:
        url: The ingestion API, such as ``https://events.example.com``.
        key: An ingest key: ``./millrace keys add NAME`` prints one.
        batch_events: Most events in a request.
        batch_bytes: Most bytes in a request, before gzip; a larger event goes alone.
        batch_seconds: How long an event waits for company.
        queue_events: Most events that wait.
        queue_bytes: Most bytes that wait.
        block_seconds: How long a call waits for room in a full queue.
        compress: Whether to gzip requests.
        timeout: Seconds until a request counts as unanswered.
        close_seconds: How long ``close``, and the end of the program, waits for the queue to empty.
        on_rejected: Is called with each event that breaks the contract or a rule.
        on_failed: Is called with events that are given up: refused as a whole (401, 400), too
            large on their own, no room in the queue, not delivered before the end.

    The callbacks run in the client's thread (that for a full queue in the caller's).
    """

    _queue: deque[Event]
    _sending: list[Event]
    _flush_to: int
    _is_closed: bool
    _deadline: float | None
    _thread: threading.Thread | None

    def __init__(  # noqa: PLR0913  named options
        self,
        url: str,
        key: str,
        *,
        batch_events: int = 500,
        batch_bytes: int = 1_000_000,
        batch_seconds: float = 1.0,
        queue_events: int = 20_000,
        queue_bytes: int = 32_000_000,
        block_seconds: float = 0.0,
        compress: bool = True,
        timeout: float = 10.0,
        close_seconds: float = 10.0,
        on_rejected: Callable[[Rejection], None] | None = None,
        on_failed: Callable[[Failure], None] | None = None,
    ) -> None:
        self._batch_events, self._batch_bytes = batch_events, batch_bytes
        self._batch_seconds = batch_seconds
        self._queue_events, self._queue_bytes = queue_events, queue_bytes
        self._block_seconds = block_seconds
        self._timeout = timeout
        self._close_seconds = close_seconds
        self._on_rejected, self._on_failed = on_rejected, on_failed
        self._transport = Transport(url, key, compress=compress)
        self._forget()
        atexit.register(_close, weakref.ref(self))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork(weakref.ref(self)))

    def track(
        self,
        event: str,
        user_id: int | str,
        *,
        timestamp: datetime | None = None,
        event_id: str | None = None,
        **fields: Any,
    ) -> str:
        """Queue that a user did something; return the event's id.

        ``timestamp`` is now unless given, ``event_id`` a new UUID; ``fields`` are the contract's
        (``page``, ``country``, ``device``, …) and properties of your own. Raises ``TypeError`` or
        ``ValueError`` where JSON can't say them.
        """
        return self.send(
            {"event": event, "user_id": user_id, "timestamp": timestamp, "event_id": event_id}
            | fields
        )

    def send(self, event: Mapping[str, Any]) -> str:
        """Queue an event of the contract; return its id, which is made if it has none."""
        made = events.make(event, time.monotonic())
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: self._is_closed or self._has_room(made), self._block_seconds
            )
            if has_room and not self._is_closed:
                self._put(made)
                return made.event_id
            detail = "the client is closed" if self._is_closed else "the queue is full"
        self._fail(Failure([made.fields], 0, detail))
        return made.event_id

    def flush(self, seconds: float | None = None) -> bool:
        """Send what is queued now without waiting for company; return whether all has arrived.

        Waits ``seconds`` at most, and ``close_seconds`` if none are given.
        """
        with self._changed:
            goal, given_up = self._put_count, self._given_up
            self._flush_to = max(self._flush_to, goal)
            self._changed.notify_all()
            is_settled = self._changed.wait_for(
                lambda: self._settled_count >= goal,
                self._close_seconds if seconds is None else seconds,
            )
            return is_settled and self._given_up == given_up

    def close(self, seconds: float | None = None) -> bool:
        """Send what is queued and end; return whether all of it has arrived.

        Waits ``seconds`` at most (``close_seconds`` if none are given). What is left then is given
        to ``on_failed``. Closing twice does nothing.
        """
        seconds = self._close_seconds if seconds is None else seconds
        with self._changed:
            given_up = self._given_up
            if not self._is_closed:
                self._is_closed = True
                self._deadline = time.monotonic() + seconds
                self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds + 1.0)  # a request in flight ends by the deadline
        with self._changed:
            left = [*self._sending, *self._queue]
            self._sending, self._queue = [], deque()
        if left:
            detail = "the client was closed before they were acknowledged"
            self._fail(Failure([event.fields for event in left], 0, detail))
        return not left and self._given_up == given_up

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _forget(self) -> None:
        """Start with nothing queued and no thread: at first, and in a forked child.

        What was queued before a fork is the parent's to send.
        """
        self._changed = threading.Condition()
        self._queue = deque()
        self._sending = []
        self._bytes = self._put_count = self._settled_count = self._flush_to = self._given_up = 0
        self._is_closed = False
        self._deadline = None
        self._thread = None
        self._transport.forget()

    def _has_room(self, event: Event) -> bool:
        waiting = self._put_count - self._settled_count
        return waiting == 0 or (
            waiting < self._queue_events and self._bytes + len(event.line) <= self._queue_bytes
        )

    def _put(self, event: Event) -> None:
        self._queue.append(event)
        self._bytes += len(event.line)
        self._put_count += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="millrace-client", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        delivery = Delivery(
            self._transport, self._pause, self._seconds_left, self._reject, self._give_up
        )
        while batch := self._next_batch():
            delivery.deliver(batch)
            with self._changed:
                self._sending = []
                self._bytes -= sum(len(event.line) for event in batch)
                self._settled_count += len(batch)
                self._changed.notify_all()
        self._transport.close()

    def _next_batch(self) -> list[Event]:
        """Wait for a batch that is full, old enough or wanted now; return none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            if self._queue:
                wait = self._queue[0].queued_at + self._batch_seconds - time.monotonic()
                self._changed.wait_for(self._is_batch_due, max(wait, 0.0))
            if self._deadline is not None and time.monotonic() > self._deadline:
                return []  # what is left is the closer's to report
            batch: list[Event] = []
            size = 0
            while self._queue and len(batch) < self._batch_events:
                size += len(self._queue[0].line) + 1
                if batch and size > self._batch_bytes:
                    break
                batch.append(self._queue.popleft())
            self._sending = batch
            return batch

    def _is_batch_due(self) -> bool:
        return (
            self._is_closed
            or self._settled_count < self._flush_to
            or len(self._queue) >= self._batch_events
            or self._bytes >= self._batch_bytes
        )

    def _pause(self, seconds: float) -> bool:
        """Wait before another try; a client that is closing tries once more at once.

        Returns False where the time to close is up.
        """
        until = time.monotonic() + seconds
        with self._changed:
            was_closed = self._is_closed
            if was_closed:
                until = min(until, self._deadline or until)
            self._changed.wait_for(
                lambda: self._is_closed and not was_closed, max(0.0, until - time.monotonic())
            )
            return self._deadline is None or time.monotonic() < self._deadline

    def _seconds_left(self) -> float:
        """Return how long the next request may take."""
        if self._deadline is None:
            return self._timeout
        return max(0.1, min(self._timeout, self._deadline - time.monotonic()))

    def _reject(self, rejection: Rejection) -> None:
        if self._on_rejected is None:
            told = rejection.event.get("event_id"), rejection.reason, rejection.field
            log.warning("event %s was rejected: %s %s %s", *told, rejection.detail)
        else:
            _call(self._on_rejected, rejection)

    def _give_up(self, failure: Failure) -> None:
        self._given_up += len(failure.events)
        self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        if self._on_failed is None:
            log.error(
                "%d events were given up: %s %s",
                len(failure.events), failure.status or "not sent:", failure.detail,
            )  # fmt: skip
        else:
            _call(self._on_failed, failure)


def _call(callback: Callable[[T], None], value: T) -> None:
    """Call what the application gave; its faults must not end the sending."""
    try:
        callback(value)
    except Exception:
        log.exception("a callback of the application failed")


def _close(reference: weakref.ref[Client]) -> None:
    client = reference()
    if client is not None:
        client.close()


def _after_fork(reference: weakref.ref[Client]) -> Callable[[], None]:
    def forget() -> None:
        client = reference()
        if client is not None:
            client._forget()  # noqa: SLF001  the same module's

    return forget
