"""What a restore meets that lies in neither store, told beforehand; ``restore --dry-run`` says it.

The bucket of exports, Kafka and the receivers of alerts do not go back with PostgreSQL and
ClickHouse. Nothing is changed here: ``millrace.usecases.restore`` brings it into line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import psycopg
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from millrace.exports import reconcile
from millrace.exports.writer import Exporter
from millrace.ingest import topics
from millrace.settings import Settings
from millrace.stores import postgres, sql
from millrace.stores.errors import first_line

SILENT = (psycopg.Error, ClickHouseError, MinioException, HTTPError, OSError)
"""What a store raises that does not answer, or that nothing was set up in yet."""


def of_metadata(settings: Settings, moment: datetime | None) -> Iterator[str]:
    """Say what PostgreSQL would forget by going back to a moment; none is the end of its log."""
    if moment is not None:
        try:
            with postgres.connect(settings) as connection:
                rows = connection.execute(
                    sql.render("postgres/backups/since.sql"), {"since": moment}
                ).fetchall()
            yield from (row["said"] for row in rows)
        except psycopg.Error as error:
            yield f"what PostgreSQL would forget can't be listed: {first_line(error)}"


def of_exports(settings: Settings) -> Iterator[str]:
    """Say where the catalogue of exports and the bucket's manifests differ as they are now."""
    try:
        with Exporter(settings) as exporter:
            yield from (f"exports: {line}" for line in reconcile.differences(exporter))
    except SILENT as error:
        yield f"how the exports' catalogue and bucket differ can't be listed: {first_line(error)}"


def of_kafka(settings: Settings, positions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say what Kafka still has of what came after a backup's ``positions``."""
    by_topic = sorted(positions, key=lambda position: position["topic"])
    try:
        for topic, of_topic in groupby(by_topic, key=lambda position: str(position["topic"])):
            yield from _of_topic(settings, topic, list(of_topic))
    except KafkaException as error:
        yield f"what Kafka still has can't be listed: {first_line(error)}"


def _of_topic(
    settings: Settings, name: str, positions: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    topic = topics.describe(settings, name)
    if topic is None:
        yield f"Kafka has no topic {name}: what came after the backup can't be loaded again"
        return
    if topic.topic_id not in {position["topic_id"] for position in positions}:
        yield (
            f"topic {name} was recreated since: what the former one got after the backup can't be "
            "loaded again; the new one is read from its beginning"
        )
        return
    kept = topics.offsets(settings, name, topic.partitions)
    again = 0
    for position in positions:
        low, high = kept.get(position["partition"], (0, 0))
        first = position["next_offset"]
        if first < low:
            yield (
                f"{name}[{position['partition']}]: Kafka has forgotten {low - first:,} offsets "
                f"from {first:,} on; they can't be loaded again"
            )
        again += max(0, high - max(first, low))
    yield f"{name}: {again:,} offsets that Kafka has since the backup are loaded again"
