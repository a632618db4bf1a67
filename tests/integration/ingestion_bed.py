"""A test bed for the ingestion API: a source with a topic of its own, and a key for it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
from tests.integration.ingest_bed import Bed

from millrace import waiting
from millrace.access import keys
from millrace.rules import gate
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres


def event(**fields: Any) -> dict[str, Any]:
    """A good event, but for what is said of it."""
    whole = {
        "event_id": str(uuid.uuid4()),
        "event": "page_view",
        "timestamp": datetime.now(UTC).isoformat(),
        "user_id": 424242,
        "country": "DE",
    }
    return {name: value for name, value in (whole | fields).items() if value is not None}


def known_to_all(url: str, method: str, path: str, key: str) -> None:
    """Wait until every worker knows a key: each new connection goes to any of them."""
    headers = {"authorization": f"Bearer {key}"}

    def is_known() -> bool:
        return all(
            httpx.request(method, f"{url}{path}", content=b"[]", headers=headers).is_success
            for _ in range(12)
        )

    waiting.until(is_known, "every worker to know the key", seconds=60, every=0.2)


class Sender:
    """A source of its own, a key for it, and a client."""

    def __init__(
        self, settings: Settings, url: str, unseen_names: str = "take", **fields: str
    ) -> None:
        self.bed = Bed(settings)
        self.settings = settings
        with postgres.connect(settings) as connection:
            connection.execute(
                "UPDATE data_sources SET config = %s WHERE source_id = %s",
                [
                    json.dumps({"ingestion": {"unseen_names": unseen_names}, "fields": fields}),
                    self.bed.name,
                ],
            )
            gate.compile_all(connection, settings)
            self.key = keys.add(connection, keys.NewKey(self.bed.name, self.bed.name))
        self.client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {self.key}"})
        known_to_all(url, "POST", "/v1/events", self.key)

    def send(self, body: Any, **options: Any) -> httpx.Response:
        """Send to our own route; what is no bytes as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post("/v1/events", content=content, **options)


def rows(sender: Sender, table: str, columns: str) -> list[tuple[Any, ...]]:
    """What a table has of the sender's source."""
    with clickhouse.connect(sender.settings) as client:
        found = client.query(
            f"SELECT {columns} FROM {table} WHERE topic = %(topic)s",
            parameters={"topic": sender.bed.name},
        )
    return [tuple(row) for row in found.result_rows]
