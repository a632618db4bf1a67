"""Producers of events, and what their errors mean."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Producer

from millrace.settings import Settings
from millrace.stores import kafka

UNKNOWN = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
"""Errors that say that there is no such topic; a broker that has just started may err."""
REFUSED = UNKNOWN | {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_RECORD,
}
"""Errors that say that Kafka does not take a record, however often it is sent."""


def producer(settings: Settings, **overrides: object) -> Producer:
    """Return a producer for events: little CPU first, then little latency."""
    return kafka.producer(
        settings,
        **{
            "compression.type": "lz4",
            "linger.ms": 2,
            "message.max.bytes": kafka.LARGEST_MESSAGE_BYTES,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1 << 20,
            "reconnect.backoff.max.ms": 1_000,
            "log_level": 2,
            **overrides,
        },
    )


def cause(error: Exception) -> KafkaError:
    """Return what an exception of a producer is about."""
    if isinstance(error, KafkaException):
        (found,) = error.args
        return found
    return KafkaError(KafkaError._QUEUE_FULL)
