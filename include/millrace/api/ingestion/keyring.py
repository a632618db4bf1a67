"""The keys in memory: no request waits for PostgreSQL to be let in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
from psycopg.rows import DictRow

from millrace.access import keys
from millrace.access.keys import INGEST, Key
from millrace.api.http import ProblemError
from millrace.api.ingestion.background import Repeated
from millrace.api.ingestion.families.family import Account
from millrace.contract import sources
from millrace.contract.sources import Source
from millrace.settings import MissingSettingError, Settings
from millrace.stores import postgres

REFRESH_SECONDS = 1.0
"""How often the keys are read again: well below the 5 s in which a revocation must hold."""


@dataclass(frozen=True)
class _Known:
    """What PostgreSQL said last; replaced as a whole.

    ``by_text`` remembers the texts of keys that were used since: a digest costs more than the rest.
    """

    keys: Mapping[bytes, Key] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    by_text: dict[str, Key] = field(default_factory=dict)


class KeyRing:
    """The keys that may be used, with the sources that they write to.

    It reads them again every second, and goes on with those it knows while PostgreSQL is away.
    Raises ``MissingSettingError`` where there is no ``MILLRACE_INGEST_HASH_KEY``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hash_key = settings.ingest_hash_key.get_secret_value().encode()
        if not self._hash_key:
            raise MissingSettingError("MILLRACE_INGEST_HASH_KEY")
        self._known: _Known | None = None
        self._background = Repeated(settings, "keys", self._read, REFRESH_SECONDS)

    def start(self) -> None:
        """Read the keys now and from now on, beside what the process does."""
        self._background.start()

    def close(self) -> None:
        """Stop reading them."""
        self._background.stop()

    @property
    def is_loaded(self) -> bool:
        """Whether the keys were ever read: until then nobody can be told to be a stranger."""
        return self._known is not None

    def refresh(self) -> None:
        """Read the keys again and wait for it. Raises ``psycopg.Error``."""
        with postgres.connect(self._settings) as connection:
            self._read(connection)

    def find(self, text: str) -> Key | None:
        """Return the key of a text, unless there is none, or it expired or was revoked."""
        known = self._now()
        key = known.by_text.get(text)
        if key is None and (key := known.keys.get(keys.digest(text))) is not None:
            known.by_text[text] = key
        if key is None or key.expires_at is None:
            return key
        return key if key.is_usable(datetime.now(UTC)) else None

    def known(self, text: str | None, hint: str) -> Key:
        """Return the key of a text. Raises ``ProblemError``: 401 with ``hint``, 503 at first."""
        if not self.is_loaded:
            raise ProblemError(503, "unavailable", "The keys are not known yet.", retry_after=1)
        key = self.find(text) if text else None
        if key is None:
            raise ProblemError(401, "unknown_key" if text else "missing_key", hint)
        return key

    def sender(self, text: str | None, hint: str) -> Key:
        """Return a key that events may be sent with. Raises ``ProblemError`` (401, 403, 503)."""
        key = self.known(text, hint)
        if INGEST not in key.scopes:
            raise ProblemError(403, "not_allowed", f"Key {key.name} may not send events.")
        return key

    def account(self, key: Key) -> Account:
        """Return whom a key that was found stands for."""
        return self._now().accounts[key.source_id]

    def topic(self, source_id: str) -> str:
        """Return the topic of a source. Raises ``KeyError`` where there is no such source."""
        return self._now().sources[source_id].topic

    @property
    def sources(self) -> Mapping[str, Source]:
        """All sources, by their ids."""
        return self._now().sources

    def _now(self) -> _Known:
        return self._known or _Known()

    def _read(self, connection: psycopg.Connection[DictRow]) -> None:
        with connection.transaction():
            found = keys.usable(connection)
            known = {source.source_id: source for source in sources.every(connection)}
        self._known = _Known(
            {key.digest: key for key in found if key.source_id in known},
            known,
            {
                name: Account(
                    name,
                    source.config.get("ingestion", {}),
                    self._hash_key,
                    source.field_names,
                )
                for name, source in known.items()
            },
        )
