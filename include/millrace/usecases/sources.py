"""Sources of events: made with their topics and gate, switched on and off."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from millrace.contract import sources
from millrace.rules import gate, store
from millrace.rules.store import Connection
from millrace.settings import Settings
from millrace.stores import kafka, sql
from millrace.usecases import prepare

MOST = 255
"""Sources that a ledger numbers."""

REFUSALS = (
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)
"""What Kafka says of a topic that it will never make."""

LONGEST = 63
"""Characters of a source's id."""


class SourceError(ValueError):
    """A source can't be made or changed; the message says why."""


@dataclass(frozen=True)
class NewSource:
    """What a source is made of; ``partitions`` are those of a topic that has to be made."""

    source_id: str
    topic: str
    owner: str
    description: str
    partitions: int | None = None


def every(connection: Connection) -> list[dict[str, Any]]:
    """Return every source with its topic, owner and state."""
    return connection.execute(sql.render("postgres/contract/sources_overview.sql")).fetchall()


def add(connection: Connection, settings: Settings, new: NewSource) -> bool:
    """Make a source; its events are loaded from the next run of ingest on.

    Returns whether its topic had to be made. Raises ``SourceError``.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new.source_id) or len(new.source_id) > LONGEST:
        raise SourceError(
            f"{new.source_id[:40]!r} can't name a source: lower-case letters, digits and "
            f"underscores, the first a letter, {LONGEST} at most"
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", new.topic) or new.topic in {".", ".."}:
        raise SourceError(
            f"{new.topic[:40]!r} can't name a topic: letters, digits, '.', '_' and '-', 249 at most"
        )
    known = sources.every(connection)
    for source in known:
        if source.source_id == new.source_id:
            raise SourceError(f"there is a source {new.source_id} already, of {source.topic}")
        if new.topic in (source.topic, source.dead_letter_topic):
            raise SourceError(f"topic {new.topic} is source {source.source_id}'s already")
    if len(known) >= MOST:
        raise SourceError(f"there are {MOST} sources, which is the most")
    try:
        is_new = kafka.ensure_topic(settings, new.topic, partitions=new.partitions)
    except KafkaException as error:
        if error.args[0].code() not in REFUSALS:
            raise
        raise SourceError(f"topic {new.topic}: Kafka refuses it: {error.args[0].str()}") from error
    prepare.make_topics(settings)  # the dead-letter topic, which all share
    values = vars(new) | {"dead_letter_topic": settings.dead_letter_topic}
    with store.change(connection):
        connection.execute(sql.render("postgres/contract/add_source.sql"), values)
        gate.compile_all(connection, settings)
    return is_new


def change(
    connection: Connection, settings: Settings, source_id: str, wanted: Mapping[str, object]
) -> None:
    """Set ``description``, ``owner`` or ``is_active`` of a source; the rest of it stays.

    Events of a source that is not active wait in Kafka. Raises ``SourceError`` if it is unknown.
    """
    values = {"description": None, "owner": None, "is_active": None, **wanted}
    with store.change(connection):
        if sources.find(connection, source_id) is None:
            known = ", ".join(source.source_id for source in sources.every(connection))
            raise SourceError(f"there is no source {source_id!r}; there are {known}")
        connection.execute(
            sql.render("postgres/contract/change_source.sql"), values | {"source_id": source_id}
        )
        gate.compile_all(connection, settings)
