"""What is known of a person, a session, an event; and for how long it is kept.

Answers are kept only of what somebody asked for, and not at all once it was erased: a load costs
nothing per event. Keys: ``user:{user_id}:activity``, ``session:{session_id}``,
``cache:event:{event_id}``, each followed by the asker's row policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

import orjson

from millrace.access.roles import Principal
from millrace.api.query.cache.answers import Answers, Kept
from millrace.api.query.cache.generations import Generations
from millrace.api.query.cache.wanted import Wanted
from millrace.api.query.hot.touches import Touches
from millrace.api.query.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import sql

ACTIVITY_SECONDS = 3600.0
SESSION_SECONDS = 1800.0
EVENT_SECONDS = 3600.0


class Entities:
    """A process's; it belongs to the event loop that starts it."""

    def __init__(
        self,
        settings: Settings,
        generations: Generations,
        answers: Answers,
        warehouse: Warehouse,
    ) -> None:
        self._answers = answers
        self._warehouse = warehouse
        self._touches = Touches(settings, generations, warehouse, answers.forget)

    async def activity(self, user_id: int, whose: Principal) -> Kept:
        """Return a person's activity; empty: there is none. Raises as ``Warehouse.ask`` does."""
        key = f"user:{user_id}:activity {whose.row_policy}"

        async def compute() -> bytes:
            values = {"user_id": user_id, **_rights(whose)}
            days = await self._asked("user_days", values, whose)
            if not days:
                return b""
            # Sessions run across sources: of a part of them nobody can tell.
            all_sources = whose.sources is None
            sessions = await self._asked("user_sessions", values, whose) if all_sources else []
            return orjson.dumps(
                {
                    "user_id": user_id,
                    "first_seen_at": min(day["first_at"] for day in days),
                    "last_seen_at": max(day["last_at"] for day in days),
                    "events": sum(day["events"] for day in days),
                    "days": [
                        {name: day[name] for name in ("day", "event_type", "events")}
                        for day in days
                    ],
                    "recent": await self._asked("user_events", values, whose),
                    "sessions": sessions,
                }
            )

        generation = self._touches.of_person(user_id, key)
        return await self._answers.get(
            Wanted(key, generation), compute, seconds=ACTIVITY_SECONDS, stale_seconds=0
        )

    async def session(self, session_id: str, day: date | None, whose: Principal) -> Kept:
        """Return a session with its events; empty: there is none. Raises as ``activity`` does."""
        key = f"session:{session_id} {day or ''} {whose.row_policy}"

        async def compute() -> bytes:
            found = await self._asked("session", {"session_id": session_id, "day": day}, whose)
            if not found:
                return b""
            self._touches.learn(session_id, found[0]["user_id"], key)
            span = {name: found[0][name] for name in ("user_id", "started_at", "ended_at")}
            events = await self._asked("session_events", span, whose)
            return orjson.dumps({**found[0], "timeline": events})

        generation = self._touches.of_session(session_id, key)
        return await self._answers.get(
            Wanted(key, generation), compute, seconds=SESSION_SECONDS, stale_seconds=0
        )

    async def event(self, event_id: UUID, day: date | None, whose: Principal) -> Kept:
        """Return an event; empty: there is none. Raises as ``activity`` does."""

        async def compute() -> bytes:
            values = {"event_id": event_id, "day": day, **_rights(whose)}
            found = await self._placed(values, whose)
            if not found:
                found = await self._asked("event", values, whose, is_placed=False)
            return orjson.dumps(found[0]) if found else b""

        key = f"cache:event:{event_id} {day or ''} {whose.row_policy}"
        generation = self._touches.of_events(key)
        return await self._answers.get(
            Wanted(key, generation), compute, seconds=EVENT_SECONDS, stale_seconds=0
        )

    async def _placed(self, values: Mapping[str, Any], whose: Principal) -> list[dict[str, Any]]:
        """Return an event where the register of ids says that it is; nothing if it does not."""
        for place in await self._asked("event_place", values, whose):
            return await self._asked("event", {**values, **place}, whose, is_placed=True)
        return []

    async def _asked(
        self, name: str, values: Mapping[str, Any], whose: Principal, **variables: Any
    ) -> list[dict[str, Any]]:
        statement = sql.render(f"clickhouse/query/hot/{name}.sql", **variables)
        content = await self._warehouse.formatted(statement, values, "JSON", whose=whose)
        rows: list[dict[str, Any]] = orjson.loads(content)["data"]
        return rows


def _rights(whose: Principal) -> dict[str, Any]:
    """Return what a statement is told of the sources that somebody may see."""
    return {"is_all": whose.sources is None, "sources": sorted(whose.sources or ())}
