"""Sources: the rows of ``data_sources``, each a topic and the table that its events go to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.settings import Settings
from millrace.stores import sql


@dataclass(frozen=True)
class Source:
    """A source of messages. ``source_number`` stands for it where an id takes too much room."""

    source_id: str
    source_number: int
    topic: str
    target_table: str
    config: Mapping[str, Any] = field(default_factory=dict)
    dead_letter_topic: str = ""
    is_active: bool = True

    @property
    def group(self) -> str:
        """The consumer group that the offsets are committed to, for lag tools."""
        return f"millrace.{self.source_id}"

    @property
    def field_names(self) -> dict[str, str]:
        """The JSON keys that this source uses in place of the contract's."""
        return dict(self.config.get("fields", {}))


def every(connection: psycopg.Connection[DictRow]) -> list[Source]:
    """Return all sources, those that are switched off too, by their ids."""
    return [
        Source(**{**row, "config": dict(row["config"])})
        for row in connection.execute(sql.render("postgres/contract/sources.sql"))
    ]


def active(connection: psycopg.Connection[DictRow]) -> list[Source]:
    """Return the sources that are ingested, by their ids."""
    return [source for source in every(connection) if source.is_active]


def find(connection: psycopg.Connection[DictRow], source_id: str) -> Source | None:
    """Return a source, or ``None`` if there is none of that id."""
    return next((one for one in every(connection) if one.source_id == source_id), None)


def default(connection: psycopg.Connection[DictRow], settings: Settings) -> Source:
    """Return the source of ``settings.events_topic``. Raises ``LookupError`` where none is yet."""
    for source in every(connection):
        if source.topic == settings.events_topic:
            return source
    raise LookupError(
        f"no source has topic {settings.events_topic!r}; ./millrace migrate makes the default one"
    )
