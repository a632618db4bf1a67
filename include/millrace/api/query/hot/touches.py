"""Generations of single people: raised only when rows of theirs changed.

A table of events changes every second, and a person's events hardly ever. So of the people that
somebody asks about, a few thousand at most, each load is asked which it touched: their numbers are
read from the parts that it added, and no one else pays for it. When more happened than that rows
came, everyone is taken for touched.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from millrace.api.http import ProblemError
from millrace.api.query.cache.generations import Changes, Generation, Generations
from millrace.api.query.warehouse import StatementError, Warehouse, WarehouseAwayError
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

log = logging.getLogger(__name__)

MOST_PEOPLE = 5_000
"""How many people's touches are told apart; who was asked about longest ago is forgotten first."""
MOST_SESSIONS = 20_000
MOST_EVENTS = 20_000
SESSIONS = "analytics.int_session_versions"


@dataclass
class _Person:
    generation: Generation
    keys: set[str] = field(default_factory=set)


class Touches:
    """A process's; it belongs to the event loop that starts it.

    Args:
        forget: Drops answers that no longer hold, so that what was erased is not kept either.
    """

    def __init__(
        self,
        settings: Settings,
        generations: Generations,
        warehouse: Warehouse,
        forget: Callable[[Iterable[str]], Awaitable[None]],
    ) -> None:
        self._events = f"{clickhouse.database(settings)}.events"
        self._warehouse = warehouse
        self._forget = forget
        self._told_at = 0.0
        self._people: OrderedDict[int, _Person] = OrderedDict()
        self._sessions: OrderedDict[str, int] = OrderedDict()
        self._events_asked: OrderedDict[str, None] = OrderedDict()
        self._removed = Generation("", 0.0)
        generations.watch(self._changed)

    def of_person(self, user_id: int, key: str) -> Generation:
        """Return what changes whenever a person's events or sessions may have.

        ``key`` is that of an answer about them.
        """
        person = self._people.get(user_id)
        if person is None:
            if len(self._people) >= MOST_PEOPLE:
                self._people.popitem(last=False)
            person = self._people[user_id] = _Person(_generation(user_id, self._told_at))
        self._people.move_to_end(user_id)
        person.keys.add(key)
        return person.generation

    def of_session(self, session_id: str, key: str) -> Generation:
        """Return what changes whenever a session may have; while nobody knows whose, always."""
        user_id = self._sessions.get(session_id)
        if user_id is None:
            return _generation(session_id, self._told_at)
        return self.of_person(user_id, key)

    def learn(self, session_id: str, user_id: int, key: str) -> None:
        """Take note of whose a session is; ``key`` is that of an answer about it."""
        if len(self._sessions) >= MOST_SESSIONS:
            self._sessions.popitem(last=False)
        self._sessions[session_id] = user_id
        self.of_person(user_id, key)

    def of_events(self, key: str) -> Generation:
        """Return what changes whenever events that were there may be there no more.

        ``key`` is that of an answer about one.
        """
        if len(self._events_asked) >= MOST_EVENTS:
            self._events_asked.popitem(last=False)
        self._events_asked[key] = None
        return self._removed

    async def _changed(self, changes: Changes, now: float) -> None:
        """Take note of what a look at the tables' parts has shown."""
        self._told_at = now
        touched: set[int] = set()
        keys: list[str] = []
        if changes.get(self._events, []) is None:
            self._removed = Generation(f"events {now}", now)
            keys += self._events_asked
            self._events_asked.clear()
        for table in (self._events, SESSIONS):
            if table in changes and self._people:
                touched |= await self._touched(table, changes[table])
        for user_id in touched & self._people.keys():
            keys += self._people[user_id].keys
            self._people[user_id] = _Person(_generation(user_id, now))
        if keys:
            await self._forget(keys)

    async def _touched(self, table: str, parts: list[str] | None) -> set[int]:
        """Return those of whom rows changed."""
        everyone = set(self._people)
        if parts is None:
            return everyone
        statement = sql.render("clickhouse/query/hot/touched.sql", table=table)
        values = {"user_ids": sorted(everyone), "parts": parts}
        try:
            ((touched, found),) = (await self._warehouse.ask(statement, values)).rows
        except (WarehouseAwayError, ProblemError, StatementError) as error:
            log.info("Whom a load touched is not known: %s", error)
            return everyone
        return set(map(int, touched)) if found == len(parts) else everyone


def _generation(name: object, since: float) -> Generation:
    return Generation(f"{name} {since}", since)
