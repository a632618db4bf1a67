"""Sources of events: made with their topics and gate, switched on and off."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from millrace.contract import sources
from millrace.rules import gate, store
from millrace.settings import Settings
from millrace.stores import kafka, postgres, sql
from millrace.usecases import prepare

MOST = 255
"""Sources that a ledger numbers."""


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


def every(settings: Settings) -> list[dict[str, Any]]:
    """Return every source with its topic, owner and state."""
    with postgres.connect(settings) as connection:
        return connection.execute(sql.render("postgres/contract/sources_overview.sql")).fetchall()


def add(settings: Settings, new: NewSource) -> bool:
    """Make a source; its events are loaded from the next run of ingest on.

    Returns whether its topic had to be made. Raises ``SourceError``.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new.source_id):
        raise SourceError(
            f"{new.source_id!r} can't name a source: lower-case letters, digits and underscores, "
            "the first a letter"
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", new.topic) or new.topic in {".", ".."}:
        raise SourceError(
            f"{new.topic!r} can't name a topic: letters, digits, '.', '_' and '-', 249 at most"
        )
    with postgres.connect(settings) as connection:
        known = sources.every(connection)
        for source in known:
            if source.source_id == new.source_id:
                raise SourceError(f"there is a source {new.source_id} already, of {source.topic}")
            if new.topic in (source.topic, source.dead_letter_topic):
                raise SourceError(f"topic {new.topic} is source {source.source_id}'s already")
        if len(known) >= MOST:
            raise SourceError(f"there are {MOST} sources, which is the most")
        is_new = kafka.ensure_topic(settings, new.topic, partitions=new.partitions)
        prepare.make_topics(settings)  # the dead-letter topic, which all share
        values = vars(new) | {"dead_letter_topic": settings.dead_letter_topic}
        with store.change(connection):
            connection.execute(sql.render("postgres/contract/add_source.sql"), values)
            gate.compile_all(connection, settings)
        return is_new


def switch(settings: Settings, source_id: str, *, is_active: bool) -> None:
    """Have a source's events loaded, or wait in Kafka. Raises ``SourceError`` if it is unknown."""
    with postgres.connect(settings) as connection, store.change(connection):
        if sources.find(connection, source_id) is None:
            known = ", ".join(source.source_id for source in sources.every(connection))
            raise SourceError(f"there is no source {source_id!r}; there are {known}")
        connection.execute(
            "UPDATE data_sources SET is_active = %s WHERE source_id = %s", [is_active, source_id]
        )
        gate.compile_all(connection, settings)
