"""Rejected events to Kafka: each once, whole, with the reasons as headers.

The place up to which a partition was relayed is committed in the transaction that carries the
messages, so neither a crash nor a second worker repeats or skips one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaException, TopicPartition
from psycopg.rows import DictRow

from millrace.contract import ledger, sources
from millrace.settings import Settings
from millrace.stores import clickhouse, headers, kafka, postgres, sql
from millrace.stores.transactions import LARGEST_MESSAGE, Item, Stream

log = logging.getLogger(__name__)

OFFSET_BITS = 40
"""Of a place in a closed log: the partition stands above them."""


def relay(settings: Settings) -> dict[str, int]:
    """Relay what was rejected since the last time, for every active source.

    Returns how many messages each source's dead-letter topic got. One that the topic does not take
    stays in ``rejected_events``, makes an incident, and holds up no other. Raises
    ``confluent_kafka.KafkaException``, after the other sources, when a topic can't be written to;
    run it again to go on.
    """
    with postgres.connect(settings) as connection:
        sent: dict[str, int] = {}
        failed: KafkaException | None = None
        for source in sources.active(connection):
            name, topic = source.source_id, source.dead_letter_topic
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
    with clickhouse.connect(settings, "loader") as client:
        judged = ledger.judged_positions(connection, source_id)
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
        relayed = _Relay(settings, connection, client, source_id, dead_letter_topic, partitions)
        return relayed.earlier() + relayed.current(judged)


class _Relay:
    """The relay of one source to its dead-letter topic.

    Places in the source's topic go when the topic is deleted. PostgreSQL follows them, so that the
    rest of an earlier incarnation is relayed from where the relay stood (should it have died right
    after a commit and the topic be deleted before the next relay, what that commit carried comes
    twice).
    """

    def __init__(
        self,
        settings: Settings,
        connection: psycopg.Connection[DictRow],
        client: Client,
        source_id: str,
        topic: str,
        partitions: int,
    ) -> None:
        self.settings, self.connection, self.client = settings, connection, client
        self.source_id, self.topic, self.partitions = source_id, topic, partitions
        self.known: dict[tuple[str, int, int], DictRow] = {
            (row["topic"], row["topic_incarnation"], row["partition"]): row
            for row in connection.execute(
                sql.render("postgres/rules/dead_letter_places.sql"), [source_id]
            )
        }

    def earlier(self) -> int:
        """Relay what is left of earlier incarnations, in the order of partition and offset."""
        sent = 0
        rows = self._ask("earlier_incarnations").fetchall()
        for row in rows:
            found = self.client.query(
                sql.render("clickhouse/rules/rejected_partitions.sql"),
                parameters={
                    "source_id": self.source_id,
                    "topic": row["topic"],
                    "incarnation": row["topic_incarnation"],
                },
            ).result_rows
            if found:
                sent += self._relay_earlier(row, [partition for (partition,) in found])
            self.connection.execute(
                "INSERT INTO relayed_incarnations VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [self.source_id, row["topic"], row["topic_incarnation"]],
            )
        return sent

    def _relay_earlier(self, row: DictRow, partitions: list[int]) -> int:
        """Relay the rest of a closed log; its place is one number in the dead-letter topic."""
        incarnation = row["topic_incarnation"]
        stream = Stream(self.settings, f"millrace.dead_letters.{self.source_id}.{incarnation}")
        try:
            place = TopicPartition(self.topic, 0)
            reached = stream.places([place]).get((self.topic, 0), 0)
            sent = 0
            for partition in partitions:
                known = self.known.get((row["topic"], incarnation, partition))
                begin = (partition << OFFSET_BITS) + (known["next_offset"] if known else 0)
                end = (partition + 1) << OFFSET_BITS
                if reached < end:
                    span = {**row, "partition": partition, "judged_offset": 1 << OFFSET_BITS}
                    first = max(begin, reached) - (partition << OFFSET_BITS)
                    place_after = partial(_behind, self.topic, 0, partition << OFFSET_BITS)
                    items = self._items(first, span, place_after)
                    refused = partial(self._say_refused, span, partition << OFFSET_BITS)
                    sent += stream.send(items, refused)
            return sent
        finally:
            stream.close()

    def current(self, judged: list[DictRow]) -> int:
        """Relay what was judged of the topic as it is."""
        stream = Stream(self.settings, f"millrace.dead_letters.{self.source_id}")
        try:
            committed = stream.places(
                [TopicPartition(row["topic"], row["partition"]) for row in judged]
            )
            sent = 0
            for row in judged:
                first = self._first(row, committed.get((row["topic"], row["partition"]), -1))
                if first < row["judged_offset"]:
                    place_after = partial(_behind, row["topic"], row["partition"], 0)
                    items = self._items(first, row, place_after)
                    sent += stream.send(items, partial(self._say_refused, row, 0))
                    self._ask("put_dead_letter_place", **row, next_offset=row["judged_offset"])
            return sent
        finally:
            stream.close()

    def _first(self, row: DictRow, committed: int) -> int:
        """Return the offset to relay from; ``committed`` is Kafka's word, -1 if it has none."""
        known = self.known.get((row["topic"], row["topic_incarnation"], row["partition"]))
        if known is None:  # what Kafka has now is of the incarnation before, if there was one
            superseded = committed if row["topic_incarnation"] else -1
            self._ask("begin_dead_letters", **row, superseded=superseded)
            known = {"next_offset": 0, "superseded": superseded}
        if committed == known["superseded"] or committed <= known["next_offset"]:
            return int(known["next_offset"])
        self._ask("put_dead_letter_place", **row, next_offset=committed)
        return committed

    def _ask(self, name: str, **values: Any) -> psycopg.Cursor[DictRow]:
        return self.connection.execute(
            sql.render(f"postgres/rules/{name}.sql"), {**values, "source_id": self.source_id}
        )

    def _say_refused(self, row: dict[str, Any], base: int, item: Item, reason: str) -> None:
        """Record that the dead-letter topic does not take a message; it stays where it is."""
        topic, partition, offset = row["topic"], row["partition"], item.place.offset - 1 - base
        said = f"{item.topic} does not take the rejected message, which stays in rejected_events"
        log.error("%s/%d@%d: %s: %s", topic, partition, offset, said, reason)
        self._ask(
            "undeliverable",
            topic=topic,
            incarnation=row["topic_incarnation"],
            partition=partition,
            offset=offset,
            detail=f"{said}: {reason}",
        )

    def _items(
        self, first: int, row: dict[str, Any], place_after: Callable[[int], TopicPartition]
    ) -> Iterator[Item]:
        """Yield a partition's rejected messages from ``first`` on as far as all are judged."""
        stream = self.client.query_rows_stream(
            sql.render("clickhouse/rules/dead_letters.sql"),
            parameters={
                "source_id": self.source_id,
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
                    topic=self.topic,
                    partition=row["partition"] % self.partitions,
                    key=key or None,
                    value=value,
                    headers=[
                        *headers.sendable(headers.decode(stored)),
                        *_reasons(self.source_id, row, offset, *verdict),
                    ],
                    place=place_after(offset),
                )


def _behind(topic: str, partition: int, base: int, offset: int) -> TopicPartition:
    """Return the place of a stream that has passed an offset."""
    return TopicPartition(topic, partition, base + offset + 1)


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
