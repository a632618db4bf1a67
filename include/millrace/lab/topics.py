"""Topics that are deleted, as nothing that ships does."""

from __future__ import annotations

from millrace import waiting
from millrace.settings import Settings
from millrace.stores import kafka

SECONDS = 60.0


def delete(settings: Settings, name: str) -> None:
    """Delete a topic with all that is in it, and wait until the broker knows of it no more.

    Raises ``confluent_kafka.KafkaException`` when there is none, ``TimeoutError`` after a minute.
    """
    admin = kafka.admin(settings)  # lives until the answer is there
    admin.delete_topics([name], operation_timeout=SECONDS / 2)[name].result()
    waiting.until(
        lambda: name not in admin.list_topics(timeout=SECONDS / 2).topics,
        f"Kafka to delete topic {name!r}",
        seconds=SECONDS,
    )
