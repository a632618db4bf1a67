"""Sending a few events by hand, as any producer sends them: JSON, keyed by user."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from confluent_kafka import KafkaError, Message

from millrace.contract import sources
from millrace.settings import Settings
from millrace.stores import kafka, postgres


class SendError(ValueError):
    """An event was not sent; the message says which, and why."""


@dataclass(frozen=True)
class Sent:
    """An event as it was sent, and where Kafka put it."""

    event: dict[str, Any]
    partition: int
    offset: int


def completed(text: str) -> dict[str, Any]:
    """Read a JSON object; give it an ``event_id`` and a ``timestamp`` where it has none.

    Raises ``SendError`` where the text is none, or holds a number that JSON doesn't know.
    """
    try:
        event = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise SendError(f"{text[:80]!r} is no JSON: {error}") from error
    if not isinstance(event, dict):
        raise SendError(f"{text[:80]!r} is no JSON object")
    made = {"event_id": str(uuid.uuid4()), "timestamp": datetime.now(UTC).isoformat()}
    return {name: value for name, value in made.items() if name not in event} | event


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")


def send(settings: Settings, events: Iterable[dict[str, Any]], topic: str = "") -> list[Sent]:
    """Send events to a source's topic, the default source's if none, and wait for each.

    Raises ``SendError`` where no source reads the topic, or Kafka refuses an event.
    """
    topic = topic or settings.events_topic
    with postgres.connect(settings) as connection:
        read = sorted(source.topic for source in sources.active(connection))
    if topic not in read:
        raise SendError(
            f"no source reads topic {topic!r}; sources read {', '.join(read) or 'none'}"
        )
    sent: list[Sent] = []
    refused: list[str] = []
    producer = kafka.producer(settings, **{"message.timeout.ms": 15_000})

    for event in events:

        def acknowledge(
            error: KafkaError | None, message: Message, event: dict[str, Any] = event
        ) -> None:
            if error is None:
                sent.append(Sent(event, message.partition(), message.offset()))
            else:
                refused.append(f"event {event['event_id']}: {error.str()}")

        value = json.dumps(event, ensure_ascii=False).encode(errors="replace")
        producer.produce(topic, value, str(event.get("user_id", "")), on_delivery=acknowledge)
        producer.poll(0)
    producer.flush()
    if refused:
        raise SendError(f"Kafka refused {len(refused)} of {len(sent) + len(refused)}: {refused[0]}")
    return sent
