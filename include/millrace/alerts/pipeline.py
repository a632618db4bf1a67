"""Sample the pipeline's own state into ``pipeline_metrics``, once a minute.

| metric | dimensions | what |
|---|---|---|
| `millrace_kafka_up` | | 1 if the brokers answered |
| `millrace_ingest_lag_messages` | source_id, topic, partition | in Kafka, claimed by no batch |
| `millrace_ingest_freshness_seconds` | source_id | 0 without lag, else age of the last load |
| `millrace_ingest_messages_total` | source_id | counter: messages loaded |
| `millrace_ingest_rejected_events_total` | source_id | counter: messages rejected |
| `millrace_ingest_recent_incidents` | source_id, kind | of the last 10 minutes, or unjudged |
| `millrace_withdrawn_views` | view, rollups, error | views that threw, until they are mended |
| `millrace_published_windows_withheld` | dataset | windows of the last hour that failed an audit |
| `millrace_alert_oldest_notification_seconds` | route | how long the oldest one has waited |
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from millrace.alerts import repository
from millrace.contract import metrics
from millrace.contract.metrics import Sample
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka, postgres

log = logging.getLogger(__name__)

KAFKA_TIMEOUT_SECONDS = 5.0


def collect(settings: Settings, at: datetime) -> int:
    """Write samples that hold for ``at``; return how many. A repeat writes them once.

    Raises the stores' own errors when PostgreSQL or ClickHouse does not answer; Kafka not answering
    is a sample.
    """
    with postgres.connect(settings) as connection:
        state = connection.execute(repository.query("pipeline_state")).fetchall()
        positions = connection.execute(repository.query("ingest_positions")).fetchall()
    samples: list[Sample] = [
        (row["metric_name"], row["value"], {k: str(v) for k, v in row["dimensions"].items()})
        for row in state
    ]
    samples += _lag(settings, positions)
    write(settings, at, samples)
    return len(samples)


def write(settings: Settings, at: datetime, samples: Iterable[Sample]) -> None:
    """Insert samples of one moment into ``pipeline_metrics``."""
    with clickhouse.connect(settings, "alerts") as client:
        metrics.write(client, at, samples)


def _lag(settings: Settings, positions: list[dict[str, Any]]) -> list[Sample]:
    """Return how far each partition and source is behind Kafka."""
    places = {TopicPartition(p["topic"], p["partition"]): p for p in positions}
    try:
        admin = kafka.admin(settings)  # which refuses settings that are none, as of a connection
        admin.list_topics(timeout=KAFKA_TIMEOUT_SECONDS)
        wanted = dict.fromkeys(places, OffsetSpec.latest())
        answers = admin.list_offsets(wanted, request_timeout=KAFKA_TIMEOUT_SECONDS)
    except KafkaException as error:
        log.warning("Kafka does not answer: %s", error)
        return [("millrace_kafka_up", 0.0, {})]
    ends = {}
    for place, answer in answers.items():
        try:
            ends[place] = answer.result().offset
        except KafkaException as error:  # that partition's, such as of a topic that is gone
            log.warning("Kafka does not say where %s ends: %s", place, error)
    samples: list[Sample] = [("millrace_kafka_up", 1.0, {})]
    behind: dict[str, float] = {}
    for place, end in ends.items():
        position = places[place]
        lag = float(max(0, end - position["next_offset"]))
        source = position["source_id"]
        behind[source] = max(behind.get(source, 0.0), position["seconds_since_load"] * (lag > 0))
        labels = {
            "source_id": source,
            "topic": position["topic"],
            "partition": str(position["partition"]),
        }
        samples.append(("millrace_ingest_lag_messages", lag, labels))
    samples += [
        ("millrace_ingest_freshness_seconds", seconds, {"source_id": source})
        for source, seconds in behind.items()
    ]
    return samples
