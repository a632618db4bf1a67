"""Rejected events to Kafka: each once, whole, with the reasons as headers.

The place up to which a partition was relayed is committed in the transaction that carries the
messages, so neither a crash nor a second worker repeats or skips one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaException, TopicPartition
from psycopg.rows import DictRow

from millrace.settings import Settings
from millrace.stores import clickhouse, headers, kafka, postgres, sql
from millrace.stores.transactions import LARGEST_MESSAGE, Item, Stream

log = logging.getLogger(__name__)


def relay(settings: Settings) -> dict[str, int]:
    """Relay what was rejected since the last time, for every active source.

    Returns how many messages each source's dead-letter topic got. One that the topic does not take
    stays in ``rejected_events``, makes an incident, and holds up no other. Raises
    ``confluent_kafka.KafkaException``, after the other sources, when a topic can't be written to;
    run it again to go on.
    """
    with postgres.connect(settings) as connection:
        sources = connection.execute(
            "SELECT source_id, dead_letter_topic FROM data_sources WHERE is_active"
        ).fetchall()
        sent: dict[str, int] = {}
        failed: KafkaException | None = None
        for source in sources:
            name, topic = source["source_id"], source["dead_letter_topic"]
            try:
                sent[name] = _relay_source(settings, connection, name, topic)
            except KafkaException as error:
                log.exception("source %s: its rejected events can't be relayed to %s", name, topic)
                failed = failed or error
        if failed is not None:
            raise failed
        return sent


def _relay_source(
    settings: Settings,
    connection: psycopg.Connection[DictRow],
    source_id: str,
    dead_letter_topic: str,
) -> int:
    stream = Stream(settings, f"millrace.dead_letters.{source_id}")
    client = clickhouse.connect(settings, "loader")
    try:
        judged = connection.execute(
            sql.render("postgres/rules/judged_positions.sql"), [source_id]
        ).fetchall()
        if not judged:
            return 0
        kafka.ensure_topic(
            settings,
            dead_letter_topic,
            partitions=None,
            **{"max.message.bytes": str(LARGEST_MESSAGE)},
        )
        metadata = kafka.admin(settings).list_topics(dead_letter_topic, timeout=30)
        partitions = len(metadata.topics[dead_letter_topic].partitions)
        places = stream.places([TopicPartition(row["topic"], row["partition"]) for row in judged])
        sent = 0
        for row in judged:
            first = places.get((row["topic"], row["partition"]), 0)
            if first < row["judged_offset"]:
                items = _items(client, source_id, dead_letter_topic, partitions, first, row)
                sent += stream.send(items, partial(_say_refused, connection, source_id, row))
        return sent
    finally:
        client.close()
        stream.close()


def _items(
    client: Client,
    source_id: str,
    dead_letter_topic: str,
    partitions: int,
    first: int,
    row: dict[str, Any],
) -> Iterator[Item]:
    """Yield a partition's rejected messages from ``first`` on as far as all are judged."""
    stream = client.query_rows_stream(
        sql.render("clickhouse/rules/dead_letters.sql"),
        parameters={
            "source_id": source_id,
            "topic": row["topic"],
            "incarnation": row["topic_incarnation"],
            "partition": row["partition"],
            "first": first,
            "next": row["judged_offset"],
        },
        column_formats={"key": "bytes", "value": "bytes"},
        settings={"max_block_size": 2_000, "max_threads": 1},
    )
    with stream:
        for offset, key, value, stored, *verdict in stream:
            yield Item(
                topic=dead_letter_topic,
                partition=row["partition"] % partitions,
                key=key or None,
                value=value,
                headers=[
                    *headers.sendable(headers.decode(stored)),
                    *_reasons(source_id, row, offset, *verdict),
                ],
                place=TopicPartition(row["topic"], row["partition"], offset + 1),
            )


def _reasons(
    source_id: str, row: dict[str, Any], offset: int, reason: str, failures: list[str]
) -> list[tuple[str, bytes]]:
    """Return the headers that say what a message was and why it was rejected."""
    said = {
        "reason": reason,
        "failures": json.dumps(failures),
        "source": source_id,
        "topic": row["topic"],
        "partition": row["partition"],
        "offset": offset,
    }
    return [(f"{headers.PREFIX}{name}", str(value).encode()) for name, value in said.items()]


def _say_refused(
    connection: psycopg.Connection[DictRow],
    source_id: str,
    row: dict[str, Any],
    item: Item,
    reason: str,
) -> None:
    """Record that the dead-letter topic does not take a message; it stays where it is."""
    place = item.place
    said = f"{item.topic} does not take the rejected message, which stays in rejected_events"
    log.error("%s/%d@%d: %s: %s", place.topic, place.partition, place.offset - 1, said, reason)
    connection.execute(
        sql.render("postgres/rules/undeliverable.sql"),
        {
            "source_id": source_id,
            "topic": place.topic,
            "incarnation": row["topic_incarnation"],
            "partition": place.partition,
            "offset": place.offset - 1,
            "detail": f"{said}: {reason}",
        },
    )
