"""Sending a few events by hand, as any producer sends them: JSON, keyed by user."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from millrace.contract import json_text, sources
from millrace.settings import Settings
from millrace.stores import kafka, postgres

SHOWN = 20
"""So many events that were not sent are named."""


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

    It is read as the gate reads it, and no value changes. Raises ``SendError`` where it is none.
    """
    try:
        event = json_text.read(text.strip())
    except (ValueError, RecursionError) as error:
        raise SendError(f"{text[:80]!r} is no JSON object: {error}") from error
    made = {"event_id": str(uuid.uuid4()), "timestamp": datetime.now(UTC).isoformat()}
    return {name: value for name, value in made.items() if name not in event} | event


def send(settings: Settings, events: Iterable[dict[str, Any]], topic: str = "") -> list[Sent]:
    """Send events to a source's topic, the default source's if none, and wait for each.

    None is sent before all are there. Raises ``SendError`` where no source reads the topic, or
    Kafka refuses an event; it names those that were not sent.
    """
    ready = list(events)
    topic = topic or settings.events_topic
    with postgres.connect(settings) as connection:
        read = sorted(source.topic for source in sources.active(connection))
    if topic not in read:
        raise SendError(
            f"no source reads topic {topic!r}; sources read {', '.join(read) or 'none'}"
        )
    sent: list[Sent] = []
    refused: dict[str, str] = {}
    producer = kafka.producer(settings, **{"message.timeout.ms": 15_000})

    for event in ready:

        def acknowledge(
            error: KafkaError | None, message: Message, event: dict[str, Any] = event
        ) -> None:
            if error is None:
                sent.append(Sent(event, message.partition(), message.offset()))
            else:
                refused[str(event["event_id"])] = error.str()

        value = json_text.dump(event)
        key = str(event.get("user_id", "")).encode(errors="replace")
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=acknowledge)
            except BufferError:  # as many wait as it takes at a time
                producer.poll(0.1)
                continue
            except KafkaException as error:  # one that is too large is refused at once
                refused[str(event["event_id"])] = error.args[0].str()
            break
        producer.poll(0)
    producer.flush()
    if refused:
        raise SendError(_refusal(refused, len(sent)))
    return sent


def _refusal(refused: dict[str, str], sent: int) -> str:
    """Say which events were not sent, and why the first was not."""
    names = [*list(refused)[:SHOWN], *(["…"] if len(refused) > SHOWN else [])]
    why = next(iter(refused.values()))
    return (
        f"Kafka refused {len(refused)} of {sent + len(refused)}: {why}. The others were sent; send "
        f"these again, with their event_id: {', '.join(names)}"
    )
