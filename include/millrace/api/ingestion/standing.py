"""The gates in force, in memory: what is certain of a source's events, and whom to ask else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg.rows import DictRow

from millrace.api.ingestion.background import Repeated
from millrace.api.ingestion.certificate import Certificate
from millrace.contract.gate import Gate
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import postgres, sql

REFRESH_SECONDS = 1.0


@dataclass(frozen=True)
class Standing:
    """The gate that a source's events go through now, and what is certain by it."""

    fingerprint: str
    gate: Gate
    certificate: Certificate


@dataclass(frozen=True)
class _Known:
    by_source: Mapping[str, Standing] = field(default_factory=dict)


class Gates:
    """The gate of every active source; read again each second, kept while PostgreSQL is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known = _Known()
        self._asked_at = -REFRESH_SECONDS
        self._background = Repeated(settings, "gates", self._read, REFRESH_SECONDS)

    def start(self) -> None:
        """Read them now and from now on, beside what the process does."""
        self._background.start()

    def close(self) -> None:
        """Stop reading them."""
        self._background.stop()

    def refresh(self) -> None:
        """Read them again and wait for it. Raises ``psycopg.Error``."""
        with postgres.connect(self._settings) as connection:
            self._read(connection)

    def of(self, source_id: str) -> Standing | None:
        """Return a source's, unless no gate was made for it or none was read yet."""
        return self._known.by_source.get(source_id)

    async def known(self, source_id: str) -> Standing | None:
        """Return a source's, and look once more for one that may just have been made."""
        found = self.of(source_id)
        now = time.monotonic()
        if found is None and now - self._asked_at > REFRESH_SECONDS:
            self._asked_at = now
            with contextlib.suppress(psycopg.Error):  # the background says so, and goes on trying
                await asyncio.to_thread(self.refresh)
            found = self.of(source_id)
        return found

    def _read(self, connection: psycopg.Connection[DictRow]) -> None:
        rows = connection.execute(sql.render("postgres/rules/gates_in_force.sql")).fetchall()
        found = {}
        for row in rows:
            known = self._known.by_source.get(row["source_id"])
            if known is None or known.fingerprint != row["fingerprint"]:
                known = self._standing(row)
            found[row["source_id"]] = known
        self._known = _Known(found)

    def _standing(self, row: DictRow) -> Standing:
        gate = Gate.from_json(row["definition"])
        made_of = row["rules"]
        certificate = Certificate(
            [Rule(**rule) for rule in made_of["rules"]],
            made_of["event_types"],
            message_max_bytes=gate.message_max_bytes,
            retention_days=self._settings.events_retention_days,
            field_names=dict(row["config"].get("fields", {})),
        )
        return Standing(row["fingerprint"], gate, certificate)
