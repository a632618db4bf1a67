"""What Kafka says of a topic: its own id, its partitions, and how far each reaches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec

from millrace.ingest.model import PlanOutdatedError
from millrace.settings import Settings
from millrace.stores import kafka


@dataclass(frozen=True)
class Topic:
    """A topic as it is now; ``topic_id`` tells it from an earlier one of the same name."""

    name: str
    topic_id: str
    partitions: tuple[int, ...]


def describe(
    settings: Settings, name: str, *, timeout: float = 10, client: AdminClient | None = None
) -> Topic | None:
    """Return the topic, or ``None`` if there is none.

    Who asks often brings a client. Raises ``confluent_kafka.KafkaException`` when no broker
    answers.
    """
    admin = client or kafka.admin(settings)
    asked = admin.describe_topics(TopicCollection([name]), request_timeout=timeout)
    try:
        found = asked[name].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    return Topic(name, str(found.topic_id), tuple(sorted(p.id for p in found.partitions)))


class Identity:
    """Which topic a name stands for; asked often, so it keeps its client."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._client = kafka.admin(settings)

    def demand(self, topic_id: str) -> None:
        """See that all that was read so far is of the topic ``topic_id``: an id never comes back.

        Raises ``PlanOutdatedError`` when the name stands for another topic or none,
        ``confluent_kafka.KafkaException`` when no broker answers.
        """
        topic = describe(self._settings, self._name, client=self._client)
        if topic is None or topic.topic_id != topic_id:
            raise PlanOutdatedError(f"topic {self._name} was deleted or recreated")


def offsets(
    settings: Settings, topic: str, partitions: Iterable[int], *, timeout: float = 10
) -> dict[int, tuple[int, int]]:
    """Return each partition's first offset and the one after its last."""
    admin = kafka.admin(settings)
    asked = [TopicPartition(topic, partition) for partition in partitions]
    watermarks = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        answer = admin.list_offsets(dict.fromkeys(asked, spec), request_timeout=timeout)
        watermarks.append({p.partition: f.result().offset for p, f in answer.items()})
    return {p: (watermarks[0][p], watermarks[1][p]) for p in watermarks[0]}


def is_compacted(settings: Settings, topic: str, *, timeout: float = 10) -> bool:
    """Tell whether Kafka may drop single messages of a topic; so it may where it does not say.

    Raises ``confluent_kafka.KafkaException`` when no broker answers.
    """
    admin = kafka.admin(settings)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    asked = admin.describe_configs([resource], request_timeout=timeout)
    try:
        found = asked[resource].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return True
        raise
    return "compact" in found["cleanup.policy"].value
