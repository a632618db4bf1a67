"""A worker's session in ClickHouse, whose temporary tables hold one micro-batch at a time."""

from __future__ import annotations

import time
import uuid

from clickhouse_connect.driver.client import Client

from millrace.contract.erasures import Orders
from millrace.contract.fields import COLUMNS
from millrace.contract.sources import Source
from millrace.ingest.model import Batch, SessionLostError
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

LIFE_SECONDS = clickhouse.SESSION_SECONDS
"""A server ends a session that was idle for so long; its temporary tables go with it."""

TABLES = ("incoming", "staged", "refused", "present")


class Session:
    """Opens a session where there is none, or where the server has ended the last one.

    A new one is empty. So whoever needs what was staged asks for the client that is ``holding`` it:
    who waited long for a lock would else publish nothing, and count it as published.

    ``orders`` are the erasures that it knows of.
    """

    def __init__(self, settings: Settings, source: Source, incarnation: int) -> None:
        self.settings = settings
        self.source = source
        self.incarnation = incarnation
        self.orders: Orders | None = None
        self._client: Client | None = None
        self._used_at = 0.0
        self._held: int | None = None

    def client(self) -> Client:
        """Return a client that has the tables; they may be empty."""
        client = self._client
        if client is None or self._has_ended(client):
            self.close()
            client = self._client = self._open()
        self._used_at = time.monotonic()
        return client

    def hold(self, batch: Batch) -> None:
        """Empty the tables for a micro-batch."""
        client = self.client()
        for table in TABLES:
            client.command(f"TRUNCATE TABLE {table}")
        self._held = batch.batch_id

    def holds(self, batch: Batch) -> bool:
        """Tell whether the tables are those that were emptied for a micro-batch."""
        self.client()
        return self._held == batch.batch_id

    def holding(self, batch: Batch) -> Client:
        """Return the client whose tables hold a micro-batch.

        Raises ``SessionLostError`` when the session that they were in has ended.
        """
        client = self.client()
        if self._held != batch.batch_id:
            raise SessionLostError(
                f"micro-batch {batch.batch_id}: the session that it was staged in has ended"
            )
        return client

    def close(self) -> None:
        """Forget the session; the server drops its temporary tables."""
        if self._client is not None:
            self._client.close()
        self._client = self._held = self.orders = None

    def _has_ended(self, client: Client) -> bool:
        if time.monotonic() - self._used_at < LIFE_SECONDS / 2:
            return False
        return not client.command("EXISTS TEMPORARY TABLE staged")

    def _open(self) -> Client:
        client = clickhouse.connect(
            self.settings,
            "loader",
            session_id=f"ingest-{uuid.uuid4().hex}",
            session_seconds=LIFE_SECONDS,
        )
        tables = sql.render_all(
            "clickhouse/ingest/session.sql",
            topic=self.source.topic,
            incarnation=self.incarnation,
            target=self.source.target_table,
            source_number=self.source.source_number,
            columns=COLUMNS,
        )
        for table in tables:
            client.command(table)
        return client
