"""What was loaded lately, message by message, with what the gate said of each: the live debugger.

It costs nothing unless somebody looks: whoever does asks the ledger which micro-batches were loaded
since, and reads the ends of their ranges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg.rows import DictRow

from millrace.contract import json_text
from millrace.contract.fields import FIELDS
from millrace.contract.sources import Source
from millrace.ingest.model import Range, any_of, ranges_condition
from millrace.stores import postgres, sql

MOST = 1_000
"""Messages that are shown at once, the last ones."""

MOST_BATCHES = 16
REDACTED = "[redacted]"
LONGEST = 200
"""Characters of a value that are shown."""


class Judged:
    """Follows what is loaded, of a source or of all; each look brings what came since the last.

    ``connection`` and ``client`` are its own. Personal data is redacted.
    """

    def __init__(
        self,
        connection: psycopg.Connection[DictRow],
        client: Client,
        sources: Sequence[Source],
        source_id: str | None = None,
    ) -> None:
        self._connection = connection
        self._client = client
        self._sources = {source.source_id: source for source in sources}
        self._source_id = source_id
        self._seen: deque[int] = deque(maxlen=10_000)

    def look(self, seconds: float = 10, most: int = MOST) -> list[dict[str, Any]]:
        """Return the messages of micro-batches loaded in the last seconds and not yet looked at.

        The last ``most`` of each, the oldest first. Raises ``psycopg.Error`` and
        ``clickhouse_connect.driver.exceptions.Error``.
        """
        batches = self._connection.execute(
            sql.render("postgres/ingest/loaded_lately.sql"),
            {
                "seconds": seconds,
                "source_id": self._source_id,
                "seen": list(self._seen),
                "most": MOST_BATCHES,
            },
        ).fetchall()
        found: list[dict[str, Any]] = []
        for batch in reversed(batches):
            source = self._sources.get(batch["source_id"])
            if source is not None:
                found += self._messages(source, batch["ranges"], most)
            self._seen.append(batch["batch_id"])
        return found

    def _messages(
        self, source: Source, ranges: Sequence[Sequence[Any]], most: int
    ) -> list[dict[str, Any]]:
        within = any_of(
            f"topic_incarnation = {incarnation} AND ("
            f"{ranges_condition([Range(partition, max(first, following - most), following)])})"
            for _topic, incarnation, partition, first, following in ranges
        )
        statement = sql.render("clickhouse/ingest/last_messages.sql", within=within)
        bound = {"source_id": source.source_id, "topic": ranges[0][0], "most": most}
        rows = self._client.query(statement, parameters=bound).named_results()
        return [entry(source, row) for row in rows]


def entry(source: Source, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as it is shown: what speaks against it, and what it says, redacted."""
    message = redacted(source, row["value"])
    hidden = {field.name for field in FIELDS if field.is_personal}
    is_rejected = bool(row["reason"])
    return {
        "received_at": row["received_at"],
        "source_id": source.source_id,
        "stage": "gate",
        "verdict": "rejected" if is_rejected else "accepted",
        "event_id": str(message.get("event_id", "")),
        "event": str(message.get("event", "")),
        "reason": row["reason"],
        "field": row["field"],
        "rule": row["rule"],
        "detail": REDACTED if row["detail"] and row["field"] in hidden else row["detail"],
        "message": message,
    }


def redacted(source: Source, value: str | bytes) -> dict[str, Any]:
    """Return a message under the contract's names, without what tells who someone is.

    It is read as the gate reads it. Of personal fields, and of those that the contract does not
    name, only the names are left; a message that is no JSON object is not shown at all.
    """
    try:
        text = value if isinstance(value, str) else value.decode("utf-8-sig")
        message = json_text.fields(text)
    except (ValueError, RecursionError):
        return {}
    names = {source.field_names.get(field.name, field.name): field for field in FIELDS}
    shown: dict[str, Any] = {}
    for name, (item, written) in message.items():
        field = names.get(name)
        if field is None or field.is_personal:
            shown[field.name if field else name[:LONGEST]] = REDACTED
        else:
            shown[field.name] = (item if isinstance(item, str) else written)[:LONGEST]
    fit: dict[str, Any] = postgres.fit(shown)  # half a surrogate pair can't be sent to anybody
    return fit
