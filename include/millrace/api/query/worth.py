"""What a number is worth: by the ledger, the builds and the audits, never by the clock alone.

A bucket is ``complete`` when its window has closed as ``quality.windows`` has it: everything that
Kafka received until the window's grace was over is loaded, models that dbt builds are built with
it, and the audits of the metric's datasets passed in all of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Literal, Protocol, TypeVar

import psycopg
from confluent_kafka.admin import AdminClient
from psycopg.rows import DictRow

from millrace.api.query.changes import Change, Changes
from millrace.api.query.lineage import Lineage
from millrace.api.query.polling import Polled
from millrace.api.query.received import Marks, Received, moment
from millrace.api.query.verdicts import Verdicts
from millrace.api.query.warehouse import Warehouse
from millrace.contract import ledger
from millrace.quality import suites
from millrace.quality.windows import KINDS
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka, postgres, sql

log = logging.getLogger(__name__)

T = TypeVar("T")
Status = Literal["complete", "provisional", "withheld", "no_data", "future"]
Standing = tuple[Status, str]
WithPostgres = Callable[[Callable[[psycopg.Connection[DictRow]], Any]], Awaitable[Any]]

EVERY_SECONDS = 1.0
RARELY_SECONDS = 10.0
"""How often relations, suites and the definitions of metrics are looked at again."""
CHANGES_SECONDS = 5.0
FIRST_SECONDS = 5.0
"""How long a start waits for the first answers of servers."""
KAFKA_SECONDS = 10.0
LONGEST_GRACE = max(int(kind.grace.total_seconds()) for kind in KINDS.values())
MOST_VERSIONS = 10_000
MOST_SUBJECTS = 1_000
DAY = 86_400

NOT_OVER = "It is not over yet."
NOT_LOADED = "Not everything that was received until its end is loaded yet."
NOT_BUILT = "Its model is not built with everything that is loaded yet."
NOT_JUDGED = "Its audit is still to come."


class Span(Protocol):
    """A bucket: its bounds in UTC."""

    @property
    def start(self) -> datetime:
        """Where it begins."""

    @property
    def end(self) -> datetime:
        """Where it ends; it does not belong to it."""


class Worth:
    """What is known in one process, refreshed every second.

    While a server does not answer, what it vouches for stands still: nothing becomes complete.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = clickhouse.database(settings)
        self._received = Received()
        self._built = Marks()
        self._rebuilt: tuple[int, ...] = ()
        self._is_seeded = False
        self.lineage = Lineage()
        self._changes = Changes(self._base)
        self._state = 0
        self._subjects: dict[tuple[int, str, frozenset[str]], tuple[tuple[str, ...], bool]] = {}
        self._versions: dict[tuple[datetime, datetime], str] = {}
        self._version_of: tuple[Any, ...] = ()
        self.verdicts = Verdicts(self._forget)
        self._polled = [
            Polled("the ledger", self._follow_ledger, EVERY_SECONDS),
            Polled("what Kafka holds", self._follow_kafka, EVERY_SECONDS),
            Polled("builds", self._follow_builds, EVERY_SECONDS),
            Polled("tables and suites", self._follow_relations, RARELY_SECONDS),
            Polled("changes of past numbers", self._follow_changes, CHANGES_SECONDS),
        ]
        self._kafka: AdminClient
        self._with_postgres: WithPostgres
        self._warehouse: Warehouse

    async def start(self, with_postgres: WithPostgres, warehouse: Warehouse) -> None:
        """Begin; no server need answer, but those that do are heard before this returns."""
        self._with_postgres, self._warehouse = with_postgres, warehouse
        self._kafka = kafka.admin(self._settings)
        first = asyncio.gather(
            self._follow_relations(), self._follow_ledger(), return_exceptions=True
        )
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                await first
                await asyncio.gather(
                    self._follow_kafka(), self._follow_builds(), return_exceptions=True
                )
                await asyncio.gather(self._follow_ledger(), return_exceptions=True)
        except TimeoutError:
            log.warning("Servers are slow to say what numbers are worth; going on without them.")
        for polled in self._polled:
            polled.begin()

    async def stop(self) -> None:
        """End."""
        await asyncio.gather(*(polled.stop() for polled in self._polled))

    @property
    def complete_until(self) -> datetime:
        """The moment (UTC) before which everything that Kafka received is in the numbers.

        It is told by when messages were received: events that happened before it may still be sent.
        1970 while it is not known.
        """
        return moment(self._received.until)

    def received_until(self, topic: str = "") -> datetime | None:
        """Return ``complete_until``, of one source's topic or of all; nothing while not known."""
        until = self._received.until_of(topic) if topic else self._received.until
        return moment(until) if until > -inf else None

    def fresh_until(self, relation: str) -> datetime | None:
        """Return up to when everything that was received is in a relation, nothing if unknown."""
        is_built = self.lineage.is_built(self.lineage.tables(relation))
        until = min(self._received.until, self._built.through) if is_built else self._received.until
        return moment(until) if until > -inf else None

    def datasets_of(self, metric: str) -> tuple[str, ...]:
        """Return the datasets whose audits speak of a metric."""
        return self._subject(metric, frozenset())[0]

    def of(
        self,
        metric: str,
        buckets: Sequence[Span],
        now: datetime,
        tables: Collection[str] = (),
    ) -> list[Standing]:
        """Return the status of a metric in each bucket, and the reason where there is one.

        ``tables`` are those that the numbers were read from, with their databases; without them
        they are those of the metric's definition. A ``complete`` bucket without any row is
        ``no_data``, which is decided where the value is known.
        """
        datasets, is_built = self._subject(metric, frozenset(tables))
        return [self._standing(datasets, one, now, is_built=is_built) for one in buckets]

    def _standing(
        self, datasets: tuple[str, ...], bucket: Span, now: datetime, *, is_built: bool
    ) -> Standing:
        if bucket.start >= now:
            return "future", ""
        start, end = int(bucket.start.timestamp()), int(bucket.end.timestamp())
        if reason := self.verdicts.withheld(datasets, start, end):
            return "withheld", reason
        closed = end + _grace(bucket.end - bucket.start)
        if self._received.until < closed:
            return "provisional", NOT_OVER if bucket.end > now else NOT_LOADED
        if is_built and (self._built.through < closed or self._is_rebuilt(start, end)):
            return "provisional", NOT_BUILT
        if not self.verdicts.has_passed(datasets, start, end):
            return "provisional", NOT_JUDGED
        return "complete", ""

    def _is_rebuilt(self, start: int, end: int) -> bool:
        """Tell whether days of a stretch were swapped since all models were built."""
        return any(start < (day + 1) * DAY and end > day * DAY for day in self._rebuilt)

    def version(self, start: datetime, end: datetime) -> str:
        """Return a text that changes whenever what ``of`` says of ``[start, end)`` may.

        It is the same in every process that knows the same.
        """
        minutes = tuple(
            int(at // 60) * 60 if at > -inf else 0
            for at in (datetime.now(UTC).timestamp(), self._received.until, self._built.through)
        )
        known = (self._state, *minutes)
        if known != self._version_of or len(self._versions) > MOST_VERSIONS:
            self._version_of = known
            self._versions.clear()
        if (found := self._versions.get((start, end))) is None:
            found = self._versions[start, end] = self._fingerprint(start, end, minutes)
        return found

    def _fingerprint(self, start: datetime, end: datetime, minutes: tuple[int, ...]) -> str:
        first, last = int(start.timestamp()), int(end.timestamp())
        content = (
            *(min(max(at, first), last + LONGEST_GRACE) for at in minutes[1:]),
            min(max(minutes[0], first), last),
            [day for day in self._rebuilt if day * DAY < last and (day + 1) * DAY > first],
            self.verdicts.within(first, last),
            sorted(self.lineage.models.items()),
        )
        return hashlib.blake2b(repr(content).encode(), digest_size=8).hexdigest()

    async def changes(self, start: datetime, end: datetime) -> list[Change]:
        """Return what changed the numbers of ``[start, end)`` afterwards, the newest first.

        It is told from memory, a few seconds after it happened.
        """
        return self._changes.between(start, end)

    def _subject(self, metric: str, tables: frozenset[str]) -> tuple[tuple[str, ...], bool]:
        """Return the datasets whose verdicts count, and whether dbt builds what is read."""
        key = (self._state, metric, tables)
        if len(self._subjects) > MOST_SUBJECTS:
            self._subjects.clear()
        if (found := self._subjects.get(key)) is None:
            relation = self.lineage.relation(metric)
            read = tables or self.lineage.tables(relation)
            names = {name.rpartition(".")[2] for name in (relation, *read) if name}
            found = (
                self.verdicts.datasets_of(sorted(names)),
                self.lineage.is_built(read),
            )
            self._subjects[key] = found
        return found

    def _forget(self) -> None:
        """Note that what was derived from suites, relations and verdicts is out of date.

        Verdicts are read in a thread: what the event loop derives meanwhile goes with the state
        that it began with.
        """
        self._state += 1

    async def _follow_ledger(self) -> None:
        now = datetime.now(UTC)

        def read(connection: psycopg.Connection[DictRow]) -> tuple[list[DictRow], DictRow]:
            positions = ledger.judged_positions(connection)
            row = postgres.one(connection.execute(sql.render("postgres/query/worth.sql")))
            self.verdicts.read(connection, row["checked_at"], now)
            return positions, row

        positions, row = await self._with_postgres(read)
        self._received.read(positions, row["sources"], now)
        claimed_at = row["claimed_at"]
        newest = -inf if claimed_at is None else claimed_at + 0.001
        self._built.add(newest, self._received.until)

    async def _follow_kafka(self) -> None:
        at, places = datetime.now(UTC), self._received.partitions
        ends = await asyncio.to_thread(
            kafka.ends, self._settings, places, timeout=KAFKA_SECONDS, client=self._kafka
        )
        self._received.hear(ends, at)

    async def _follow_builds(self) -> None:
        rows = (await self._ask("builds")).rows
        built, rebuilt = rows[0]
        if built and not self._is_seeded:
            ((received, events),) = (await self._ask("unbuilt", since=built)).rows
            until = received / 1000 if events else self._received.until
            self._built.add(built / 1000, min(until, self._received.until))
            self._is_seeded = True
        if built:
            self._built.reach(built / 1000)
        if (days := tuple(rebuilt)) != self._rebuilt:
            self._rebuilt = days
            self._forget()

    async def _follow_relations(self) -> None:
        relations = (await self._ask("relations")).rows
        definitions: dict[str, str] = {}
        if any(row[:2] == ["analytics", "metric_definitions"] for row in relations):
            statement = "SELECT metric_name, model FROM analytics.metric_definitions"
            definitions = dict((await self._warehouse.ask(statement)).rows)
        found = Lineage.of(self._base, relations, definitions)
        if found != self.lineage:
            self.lineage = found
            self._forget()
        self.verdicts.use_suites(await asyncio.to_thread(suites.load_suites))
        days = dict((await self._ask("days_with_rows")).rows)
        self.verdicts.use_days(days, self._received.until)

    async def _follow_changes(self) -> None:
        now = datetime.now(UTC)
        read = await self._with_postgres(lambda connection: self._changes.read(connection, now))
        await self._changes.follow(read, self._warehouse)

    async def _ask(self, name: str, **parameters: Any) -> Any:
        statement = sql.render(f"clickhouse/query/{name}.sql", base=self._base)
        return await self._warehouse.ask(statement, parameters)


def _grace(length: timedelta) -> int:
    """Return the seconds after which a window of a length is closed, as the audits have it."""
    kinds = sorted(KINDS.values(), key=lambda kind: kind.length)
    kind = next((kind for kind in kinds if kind.length >= length), kinds[-1])
    return int(kind.grace.total_seconds())
