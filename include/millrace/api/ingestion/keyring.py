"""The keys in memory: no request waits for PostgreSQL to be let in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

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

NEW_SECONDS = 3.0
"""How long who shows an unknown key waits for PostgreSQL to say whether it was just made."""

MOST_WAITING = 256
"""Who may wait for that at once: strangers must not hold what others need."""

MOST_STRANGERS = 10_000
"""How many texts are remembered that are no keys."""


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
    Nobody is told to be a stranger by what was read before they came: an SDK that is told so throws
    its events away, and its key may have been made just now.
    Raises ``MissingSettingError`` where there is no ``MILLRACE_INGEST_HASH_KEY``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hash_key = settings.ingest_hash_key.get_secret_value().encode()
        if not self._hash_key:
            raise MissingSettingError("MILLRACE_INGEST_HASH_KEY")
        self._known: _Known | None = None
        self._strangers: set[str] = set()
        self._waiting: list[Future[None]] = []
        self._waiting_lock = Lock()
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

    async def known(self, text: str | None, hint: str) -> Key:
        """Return the key of a text, were it made just now.

        Raises ``ProblemError``: 401 with ``hint``, 503 while it can't be told.
        """
        if not self.is_loaded:
            raise _untold()
        if not text:
            raise ProblemError(401, "missing_key", hint)
        key = self.find(text)
        if key is None and keys.TEXT.fullmatch(text) and text not in self._strangers:
            await self._read_again()
            key = self.find(text)
            if key is None:
                if len(self._strangers) >= MOST_STRANGERS:
                    self._strangers.clear()
                self._strangers.add(text)
        if key is None:
            raise ProblemError(401, "unknown_key", hint)
        return key

    async def sender(self, text: str | None, hint: str) -> Key:
        """Return a key that events may be sent with. Raises ``ProblemError`` (401, 403, 503)."""
        key = await self.known(text, hint)
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

    async def _read_again(self) -> None:
        """Wait until the keys were read that are there now. Raises ``ProblemError`` (503)."""
        read: Future[None] = Future()
        with self._waiting_lock:
            if len(self._waiting) >= MOST_WAITING:
                raise _untold()
            self._waiting.append(read)
        try:
            async with asyncio.timeout(NEW_SECONDS):
                await asyncio.wrap_future(read)
        except TimeoutError:
            raise _untold() from None
        finally:
            with self._waiting_lock:
                if read in self._waiting:
                    self._waiting.remove(read)

    def _read(self, connection: psycopg.Connection[DictRow]) -> None:
        with self._waiting_lock:
            waiting = list(self._waiting)
        self._read_keys(connection)
        for read in waiting:
            if read.set_running_or_notify_cancel():
                read.set_result(None)

    def _read_keys(self, connection: psycopg.Connection[DictRow]) -> None:
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


def _untold() -> ProblemError:
    return ProblemError(
        503, "unavailable", "PostgreSQL has not told yet who may send.", retry_after=1
    )
