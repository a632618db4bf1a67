"""Deliver what waits in the outbox, every route on its own.

What cannot be sent is kept and tried again, later each time, and in order within its group. A
route that hangs or fails holds up no other: each has a thread, a time limit, and leases that run
out if its process dies.
"""

from __future__ import annotations

import logging
import math
import random
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from psycopg.types.json import Jsonb

from millrace.alerts import chart, repository
from millrace.alerts.evaluation import Evaluator
from millrace.alerts.model import Route
from millrace.settings import Settings
from millrace.stores import postgres

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=90)
FIRST_RETRY_SECONDS = 5.0
LAST_RETRY_SECONDS = 600.0
LONGEST_WISH_SECONDS = 3_600.0
FAILURE_LIMIT = 3
"""Failures after which a route is left alone until the next run: its channel is down."""
_SECONDS = re.compile(r"\d{1,9}(\.\d+)?", re.ASCII)
KEPT_FOR = timedelta(days=7)
"""A notification that could not be sent for this long is dropped, and says so."""


class DeliveryError(Exception):
    """A channel did not take a message. ``retry_after`` is the channel's own wish, in seconds."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Message:
    """A notification on its way through one route.

    ``is_repeated_attempt`` says that an earlier attempt may have arrived. ``thread`` is the receipt
    of the incident's first message. ``chart`` returns a PNG, or None.
    """

    notification_id: int
    route: Route
    event: str
    dedup_key: str
    content: dict[str, Any]
    is_repeated_attempt: bool = False
    thread: dict[str, Any] | None = None
    chart: Callable[[], bytes | None] = field(default=lambda: None)

    def picture(self) -> bytes | None:
        """Return the chart of what begins or changes; a message without it is better than none."""
        if self.event not in ("trigger", "update"):
            return None
        try:
            return self.chart()
        except Exception as error:  # noqa: BLE001  a picture is never worth a message
            log.warning("the message goes without its chart: %s", error)
            return None


class Sender(Protocol):
    """Sends one message; returns a receipt (such as a Slack timestamp) as JSON can hold it.

    Raises ``DeliveryError``; any other error counts as one without a wish.
    """

    def __call__(self, message: Message) -> dict[str, Any]:
        """Send a message."""


@dataclass
class Delivery:
    """What a run of ``deliver`` did, by route."""

    sent: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        sent = ", ".join(f"{count} to {name}" for name, count in self.sent.items()) or "nothing"
        failed = "".join(f"; {name} failed: {reason}" for name, reason in self.failed.items())
        hanging = "".join(f"; {name} did not finish" for name in self.unfinished)
        return f"sent {sent}{failed}{hanging}"


def wish_of(headers: Mapping[str, str] | None) -> float | None:
    """Return the seconds that an answer's Retry-After asks for; dates, which few send, are none."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after" and _SECONDS.fullmatch(value):
            return float(value)
    return None


def backoff(attempts: int) -> float:
    """Return seconds to wait after that many failed attempts: doubling, with jitter, capped."""
    exponential = FIRST_RETRY_SECONDS * 2.0 ** min(attempts - 1, 10)
    return min(exponential, LAST_RETRY_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311


def pause(error: Exception, attempts: int) -> timedelta:
    """Return how long a failed message waits: its channel's wish, up to an hour, or longer."""
    wish = error.retry_after if isinstance(error, DeliveryError) else None
    if wish is None or not math.isfinite(wish):
        wish = 0.0
    return timedelta(seconds=max(min(wish, LONGEST_WISH_SECONDS), backoff(attempts)))


def deliver(
    settings: Settings, senders: Mapping[str, Sender], budget_seconds: float = 40
) -> Delivery:
    """Send what is due on every route; ``senders`` are by kind of route.

    Routes that take longer than ``budget_seconds`` are left behind; what they were sending is
    tried again when its lease ends.
    """
    with postgres.connect(settings) as connection:
        connection.execute(repository.query("drop_superseded"), {"kept_for": KEPT_FOR})
        routes = [Route(**row) for row in connection.execute(repository.query("routes_waiting"))]
    delivery = Delivery()
    threads = [
        threading.Thread(
            target=_deliver_route,
            args=(settings, route, senders, delivery),
            name=f"route-{route.name}",
            daemon=True,  # a channel that hangs must not keep the process
        )
        for route in routes
    ]
    for thread in threads:
        thread.start()
    ends = threading.Event()
    timer = threading.Timer(budget_seconds, ends.set)
    timer.daemon = True
    timer.start()
    for thread in threads:
        while thread.is_alive() and not ends.is_set():
            thread.join(0.2)
    timer.cancel()
    delivery.unfinished = [
        route.name for route, thread in zip(routes, threads, strict=True) if thread.is_alive()
    ]
    return delivery


def _deliver_route(
    settings: Settings, route: Route, senders: Mapping[str, Sender], delivery: Delivery
) -> None:
    """Send a route's notifications, and keep why that failed as a whole, as without PostgreSQL."""
    try:
        _send_all(settings, route, senders, delivery)
    except Exception as error:  # a thread's error reaches nobody else
        log.exception("%s: what waits for it was not sent", route.name)
        delivery.failed[route.name] = f"{type(error).__name__}: {error}"[:500]


def _send_all(
    settings: Settings, route: Route, senders: Mapping[str, Sender], delivery: Delivery
) -> None:
    """Send a route's notifications until none is due or ``FAILURE_LIMIT`` of them failed."""
    failures = 0
    with postgres.connect(settings) as connection:
        while failures < FAILURE_LIMIT:
            row = connection.execute(
                repository.query("claim_notification"), {"route": route.name, "lease": LEASE}
            ).fetchone()
            if row is None:
                return
            try:
                sender = senders.get(route.kind)
                if sender is None:
                    raise DeliveryError(f"no sender for routes of kind {route.kind}")
                receipt = sender(_message(settings, connection, route, row))
            except Exception as error:  # noqa: BLE001  whatever a channel raises, it is tried again
                wait = pause(error, row["attempts"])
                reason = f"{type(error).__name__}: {error}"[:500]
                log.warning("%s not sent, again in %s: %s", route.name, wait, reason)
                connection.execute(
                    repository.query("keep_notification"),
                    {
                        "reason": reason,
                        "pause": wait,
                        "notification_id": row["notification_id"],
                    },
                )
                delivery.failed[route.name] = reason
                failures += 1
                continue
            connection.execute(
                repository.query("mark_sent"),
                {"receipt": Jsonb(receipt), "notification_id": row["notification_id"]},
            )
            delivery.sent[route.name] = delivery.sent.get(route.name, 0) + 1


def _message(
    settings: Settings, connection: repository.Connection, route: Route, row: dict[str, Any]
) -> Message:
    thread = connection.execute(
        repository.query("thread_of_incident"),
        {"route": route.name, "dedup_key": row["dedup_key"]},
    ).fetchone()
    content: dict[str, Any] = row["content"]
    rules = {rule.name: rule for rule in repository.load_rules(connection)}

    def picture() -> bytes | None:
        alerts = content.get("firing") or content.get("resolved") or []
        rule = rules.get(alerts[0]["rule"]) if alerts else None
        if rule is None:
            return None
        with Evaluator(settings, threads=1) as evaluator:
            return chart.of_rule(evaluator, rule, alerts[0], row["evaluated_at"])

    return Message(
        row["notification_id"],
        route,
        row["event"],
        row["dedup_key"],
        content,
        is_repeated_attempt=row["attempts"] > 1,
        thread=thread["receipt"] if thread else None,
        chart=picture,
    )
