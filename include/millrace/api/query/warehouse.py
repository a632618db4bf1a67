"""ClickHouse as the query API asks it: by HTTP, within limits, in turns, not while it is away.

A statement ends with the task that asks it: its connection is closed, and the profile ``query`` has
``cancel_http_readonly_queries_on_client_close``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from clickhouse_connect.driver.binding import bind_query

from millrace.access.roles import Principal, Role
from millrace.api.http import ProblemError
from millrace.api.query.instruments import STATEMENTS
from millrace.api.query.turns import Turns
from millrace.settings import Settings
from millrace.stores import clickhouse
from millrace.stores.errors import first_line

AT_ONCE = 16
"""Statements of one process that run at once, those that it asks for itself besides."""
AGAIN_SECONDS = 2.0
"""How long nothing is asked of a server that did not answer."""
CONNECT_SECONDS = 2.0
BUFFER_BYTES = 4 << 20
"""Answers are held back until they are whole: so many bytes in memory, the rest in a file."""


@dataclass(frozen=True)
class Limits:
    """What a role's statements may take: seconds, bytes, rows read, and how many run at once."""

    seconds: int
    memory: int
    rows_to_read: int
    at_once: int


LIMITS: Mapping[Role, Limits] = {
    "viewer": Limits(10, 512 << 20, 500_000_000, 4),
    "analyst": Limits(30, 1 << 30, 2_000_000_000, 4),
    "operator": Limits(30, 1 << 30, 2_000_000_000, 6),
    "admin": Limits(60, 2 << 30, 2_000_000_000, 8),
}

SYSTEM = Principal("millrace", "admin")
"""The API itself, when nobody asks."""


@dataclass(frozen=True)
class Result:
    """What a statement gave, and what it cost."""

    rows: list[list[Any]]
    rows_read: int = 0
    bytes_read: int = 0
    elapsed_seconds: float = 0.0


class WarehouseAwayError(Exception):
    """ClickHouse does not answer; the last answer that is kept may do instead."""


class Warehouse:
    """A process's connections to ClickHouse; it belongs to the event loop that calls it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turns = Turns(AT_ONCE)
        # Whether answers still hold is asked all the time: were it kept waiting by slow questions,
        # nothing could be given again that is kept, and every question would be a slow one.
        self._own_turns = Turns(LIMITS[SYSTEM.role].at_once)
        self._away_until = 0.0
        self._answered_at = 0.0
        self._session: aiohttp.ClientSession

    async def start(self) -> None:
        """Begin; ClickHouse need not answer yet."""
        url = urlsplit(self._settings.clickhouse_url)
        self._url = f"{url.scheme}://{url.hostname}:{url.port or 8123}/"
        user, password = clickhouse.credentials(self._settings, "query")
        self._session = aiohttp.ClientSession(
            headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password},
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=8),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )

    async def stop(self) -> None:
        """End."""
        await self._session.close()

    async def ask(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        whose: Principal = SYSTEM,
    ) -> Result:
        """Return the rows of a SELECT whose parameters are bound by the server (``{name:Type}``).

        Raises ``WarehouseAwayError``; ``ProblemError`` where the statement exceeds what the asker
        may take (422), or waited too long for its turn (503).
        """
        content = await self.formatted(statement, parameters, "JSONCompact", whose=whose)
        found = orjson.loads(content)
        cost = found["statistics"]
        return Result(found["data"], cost["rows_read"], cost["bytes_read"], cost["elapsed"])

    async def formatted(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None,
        output_format: str,
        *,
        whose: Principal = SYSTEM,
    ) -> bytes:
        """Return what a SELECT gives in one of ClickHouse's formats; raises as ``ask`` does."""
        limits = LIMITS[whose.role]
        own = whose is SYSTEM  # what the API itself must know waits behind nobody's questions
        async with nullcontext() if own else self._turns.taken(whose.name, limits.at_once):
            if time.monotonic() < self._away_until:
                raise WarehouseAwayError
            began, outcome = time.monotonic(), "cancelled"
            try:
                found = await self._send(statement, dict(parameters or {}), output_format, limits)
                outcome = "answered"
            except (ProblemError, StatementError):
                outcome = "refused"
                raise
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                outcome = "away"
                is_timeout = isinstance(error, TimeoutError)
                if is_timeout and time.monotonic() < self._answered_at + CONNECT_SECONDS:
                    raise _busy() from error  # others are answered: it is there, and slow
                self._away_until = time.monotonic() + AGAIN_SECONDS
                raise WarehouseAwayError(str(error)) from error
            finally:
                STATEMENTS.labels(outcome).observe(time.monotonic() - began)
            return found

    async def _send(
        self, statement: str, values: dict[str, Any], output_format: str, limits: Limits
    ) -> bytes:
        text, bound = bind_query(statement, values, None)
        options = {
            "database": clickhouse.database(self._settings),
            "default_format": output_format,
            "wait_end_of_query": "1",
            "http_response_buffer_size": str(BUFFER_BYTES),
            "max_execution_time": str(limits.seconds),
            "max_memory_usage": str(limits.memory),
            "max_rows_to_read": str(limits.rows_to_read),
            **bound,
        }
        async with asyncio.timeout(limits.seconds + 5):
            answer = await self._session.post(self._url, params=options, data=text)
            async with answer:
                content = await answer.read()
        self._answered_at = time.monotonic()
        if answer.status == 200:
            return content
        raise _problem(int(answer.headers.get("X-ClickHouse-Exception-Code", 0)), content, limits)

    async def problems(self) -> list[str]:
        """Say what keeps statements from being answered."""
        try:
            await self.ask("SELECT 1")
        except WarehouseAwayError as error:
            return [f"ClickHouse does not answer: {error}"]
        except ProblemError as error:
            return [error.detail]
        return []


def _problem(code: int, content: bytes, limits: Limits) -> Exception:
    """Return what an error of ClickHouse means to whoever asked."""
    said = first_line(content.decode("utf-8", "replace"))
    if code in (159, 160):
        return ProblemError(
            422,
            "too_slow",
            f"The answer would take longer than your {limits.seconds} s: ask for a shorter range.",
        )
    if code in (158, 241, 307, 396):
        return ProblemError(
            422,
            "too_large",
            "The answer would read or hold more than you may: ask for a shorter range, or fewer "
            "groups.",
        )
    if code in (60, 81):
        return ProblemError(
            503,
            "unavailable",
            "A table that is asked is not there. ./millrace dbt deploy makes those of the models.",
            retry_after=30,
        )
    if code == 202:
        return _busy()
    return StatementError(code, said)


def _busy() -> ProblemError:
    return ProblemError(503, "busy", "ClickHouse is busy; try again.", retry_after=2)


class StatementError(Exception):
    """ClickHouse refused a statement that is at fault itself; ``code`` and ``said`` are its own."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"ClickHouse refused a statement ({code}): {said}")
        self.code = code
        self.said = said
