"""Generations: in which state the content of tables is, told from the tables' own parts.

No writer takes part. ClickHouse is asked every second which parts its tables consist of
(``content`` says what follows from them), so whatever changes rows raises the generation of what
it touched: a load, a late batch, a rebuild, a deployment, an erasure, a restore, an expiry, and
what somebody does by hand.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from millrace.api.query.cache.content import Part, State, Table, joined
from millrace.api.query.polling import Polled
from millrace.api.query.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

POLL_SECONDS = 0.8
"""From one look to the next."""
CURRENT_SECONDS = 2.0
"""What was learned longer ago is not taken for how things are."""
UNWATCHED_SECONDS = 60
"""How long an answer holds that depends on what has no parts: a dictionary, a clock."""
MOST_KNOWN = 20_000
"""How many generations are kept until something changes, so that they need not be made again."""
MERGED_SECONDS = 10
"""Parts that were merged since so many seconds are read, too."""
MOST_NAMED = 200
"""Of how many groups of partitions parts are asked for by name; of more, all parts are read."""
RECENT_DAYS = 40
"""Older partitions are looked at by months, so that a look costs the same after years."""

Changes = Mapping[str, list[str] | None]
"""What changed, by table: the names of the parts that came, or ``None``: more than rows came."""

Span = tuple[frozenset[str], float, float]
"""Tables, and from when to before when, in seconds since 1970."""

_NAMES = re.compile(r"`?(\w+)`?\.`?(\w+)`?")
_RESTLESS = re.compile(
    r"\b(now|now64|today|yesterday|rand\w*|currentUser|postgresql|mysql|mongodb|redis|odbc|jdbc|s3|"
    r"s3Cluster|url|file|remote|remoteSecure|cluster|clusterAllReplicas|merge|dictionary)\(",
    re.IGNORECASE,
)
"""What gives other rows at other times while no table changes."""


class Generation(str):
    """A text that changes whenever rows may have.

    Args:
        text: The text.
        since: By ClickHouse's clock, in seconds since 1970: what was computed from a state not
            older than this is as good as what is computed now.
        grown_since: By the same clock: what was computed from a state not older than this lacks
            rows that came at most, and has none that went or became another.
        of: The tables and the span of time that it is of.
        is_exact: Whether the text would change with every change of rows; else it does so each
            minute, because nobody can tell.
    """

    __slots__ = ("grown_since", "is_exact", "of", "since")
    since: float
    grown_since: float
    of: Span | None
    is_exact: bool

    def __new__(
        cls,
        text: str,
        since: float,
        of: Span | None = None,
        *,
        grown_since: float | None = None,
        is_exact: bool = False,
    ) -> Generation:
        """Return a generation; without ``grown_since``, any change is one of more than growth."""
        made = super().__new__(cls, text)
        made.since, made.of, made.is_exact = since, of, is_exact
        made.grown_since = since if grown_since is None else grown_since
        return made


def span(tables: Collection[str], start: datetime, end: datetime) -> Span:
    """Return what a generation is of: rows of tables from ``start`` to before ``end``."""
    return frozenset(tables), start.timestamp(), end.timestamp()


class Generations:
    """What the content of tables is; it belongs to the event loop that starts it."""

    def __init__(self, settings: Settings, *, poll_seconds: float = POLL_SECONDS) -> None:
        base = clickhouse.database(settings)
        self._databases = [base, "analytics", "published"]
        self._loads = (f"{base}.events", f"{base}.rejected_events")
        self._tables: dict[str, Table] = {}
        self._views: dict[str, frozenset[str]] = {}
        self._restless: set[str] = set()
        self._digests: dict[tuple[str, str], int] = {}
        self._known: dict[Span, Generation] = {}
        self._loaded = Generation("", 0.0)
        self._named = 0.0
        self._clock = 0.0
        self._clock_read = 0.0
        self._asked = float("-inf")
        self._watchers: list[Callable[[Changes, float], Awaitable[None]]] = []
        self._polled = asyncio.Condition()
        self._poller = Polled("generations", self._poll, poll_seconds)
        self._warehouse: Warehouse

    async def start(self, warehouse: Warehouse) -> None:
        """Begin to watch; ClickHouse need not answer yet."""
        self._warehouse = warehouse
        await self._poller.start()

    async def stop(self) -> None:
        """Watch no longer."""
        await self._poller.stop()

    @property
    def is_current(self) -> bool:
        """Whether what is told was so within the last two seconds."""
        return time.monotonic() - self._asked <= CURRENT_SECONDS

    def now(self) -> float:
        """Return ClickHouse's clock in seconds since 1970, never ahead of it; 0: not known yet."""
        return self._clock + time.monotonic() - self._clock_read if self._clock else 0.0

    def of(self, tables: Collection[str], start: datetime, end: datetime) -> Generation:
        """Return the generation of rows of tables and views (``analytics.metrics_1h``).

        It changes whenever rows with a time from ``start`` to before ``end`` may have changed, by
        the column that a table is partitioned by; where that is none, whenever any row may have.
        Read it before the statement runs whose answer it is for.
        """
        return self.of_span(span(tables, start, end))

    def of_span(self, span: Span) -> Generation:
        """Return the same of what ``span`` gave."""
        if (known := self._known.get(span)) is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[span] = self._made(span)
        return known

    def again(self, generation: Generation) -> Generation:
        """Return what became of a generation: an equal one if nothing has changed."""
        return self.of_span(generation.of) if generation.of else self._loaded

    def loaded(self) -> Generation:
        """Return what changes with every load, and with whatever else changes numbers."""
        return self._loaded

    def watch(self, watcher: Callable[[Changes, float], Awaitable[None]]) -> None:
        """Have changes told as they are noticed, with a moment after they happened."""
        self._watchers.append(watcher)

    async def polled(self) -> None:
        """Wait until ClickHouse was asked again, from now on."""
        moment = time.monotonic()
        async with self._polled:
            await self._polled.wait_for(lambda: self._asked >= moment)

    def base_tables(self, tables: Iterable[str]) -> frozenset[str]:
        """Return the names given, and all that views among them read, however deep."""
        found: set[str] = set()
        pending = list(tables)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += self._views.get(name, ())
        return frozenset(found)

    def _made(self, span: Span) -> Generation:
        tables, start, end = span
        states, is_exact = {}, True
        for name in sorted(self.base_tables(tables)):
            table = self._tables.get(name)
            if table is None:
                states[f"{name} "] = State("is not there", self._named, self._named)
            elif name in self._restless or not table.is_watched:
                minute = self._clock // UNWATCHED_SECONDS
                moment = minute * UNWATCHED_SECONDS
                states[f"{name} "] = State(f"at minute {minute}", moment, moment)
                is_exact = False
            else:
                states[f"{name} "] = table.within(start, end)
        whole = joined(states, "\n")
        return Generation(
            _digest(whole.text),
            whole.since,
            span,
            grown_since=whole.grown_since,
            is_exact=is_exact,
        )

    async def _poll(self) -> None:
        asked = time.monotonic()
        tables = await self._ask("content_tables", databases=self._databases)
        answered = time.monotonic()
        clock = float(tables[0][3])
        recent = f"{datetime.fromtimestamp(clock, UTC) - timedelta(days=RECENT_DAYS):%Y%m%d}"
        groups = await self._ask("content_groups", databases=self._databases, recent=recent)
        digests = {(table, group): int(digest) for table, group, digest in groups}
        changed = {
            key
            for key in self._digests.keys() | digests.keys()
            if self._digests.get(key) != digests.get(key)
        }
        parts = await self._parts(changed, recent) if changed else []
        if time.monotonic() - self._asked > MERGED_SECONDS - 1:
            parts = [row for row in parts if row[-1]]
        views = [
            name
            for name, identity, engine, _ in tables
            if engine == "View" and self._identity(name) != identity
        ]
        texts = await self._ask("content_views", names=views) if views else []
        now = clock + time.monotonic() - asked

        told: dict[str, list[str] | None] = dict.fromkeys(self._name(tables, now))
        self._read_views(texts)
        for name, added in self._observe(changed, recent, parts, now).items():
            told.setdefault(name, added)
        if told or clock // UNWATCHED_SECONDS != self._clock // UNWATCHED_SECONDS:
            self._known.clear()
        if any(name in self._loads or name.startswith("analytics.") for name in told):
            self._loaded = Generation(_digest(f"{self._loaded} {sorted(digests.items())}"), now)
        self._clock, self._clock_read = clock, answered
        for watcher in self._watchers if told else ():
            await watcher(told, now)
        self._asked = asked
        async with self._polled:
            self._polled.notify_all()

    async def _ask(self, name: str, **values: Any) -> list[list[Any]]:
        return (await self._warehouse.ask(sql.render(f"clickhouse/query/{name}.sql"), values)).rows

    async def _parts(self, groups: Collection[tuple[str, str]], recent: str) -> list[list[Any]]:
        is_all = len(groups) > MOST_NAMED
        return await self._ask(
            "content_parts",
            databases=self._databases,
            recent=recent,
            seconds=MERGED_SECONDS,
            is_all=is_all,
            groups=[] if is_all else [" ".join(names) for names in groups],
        )

    def _identity(self, name: str) -> str:
        table = self._tables.get(name)
        return table.identity if table else ""

    def _name(self, tables: list[list[Any]], now: float) -> list[str]:
        """Take note of which tables there are; return those that came, went or were altered."""
        standing = {name: (identity, engine) for name, identity, engine, _ in tables}
        gone = [name for name in self._tables if name not in standing]
        for name in gone:
            del self._tables[name]
            self._views.pop(name, None)
            self._digests = {key: held for key, held in self._digests.items() if key[0] != name}
        new = []
        for name, (identity, engine) in standing.items():
            if self._identity(name) != identity:
                new.append(name)
                known = self._tables.get(name)
                self._tables[name] = Table(identity, engine, now, known.partitions if known else {})
        if gone:
            self._named = now
        return gone + new

    def _read_views(self, texts: list[list[Any]]) -> None:
        """Take note of what views read."""
        for name, text in texts:
            pairs = _NAMES.findall(text)
            self._views[name] = frozenset(
                f"{database}.{table}" for database, table in pairs if database in self._databases
            )
            (self._restless.add if _RESTLESS.search(text) else self._restless.discard)(name)

    def _observe(
        self, changed: Collection[tuple[str, str]], recent: str, rows: list[list[Any]], now: float
    ) -> dict[str, list[str] | None]:
        """Take note of the parts of partitions; return what changed, by table (``Changes``)."""
        found: dict[tuple[str, str], list[Part]] = {
            (name, partition): []
            for name in {name for name, _ in changed} & self._tables.keys()
            for partition in self._tables[name].partitions
            if (name, _group(partition, recent)) in changed
        }
        merged: dict[tuple[str, str], list[Part]] = {}
        for table, partition, path, *values, is_active in rows:
            folder, _, name = path.rstrip("/").rpartition("/")
            if table in self._tables and (table, _group(partition, recent)) in changed:
                of = found if is_active else merged
                part = Part(folder, name, *map(int, values))
                of.setdefault((table, partition), []).append(part)
        for key in changed:
            self._digests.pop(key, None)
        told: dict[str, list[str] | None] = {}
        for (name, partition), parts in found.items():
            if parts:
                key = (name, _group(partition, recent))
                total = self._digests.get(key, 0) + sum(part.digest for part in parts)
                self._digests[key] = total % (1 << 64)
            lately = merged.get((name, partition), [])
            touched = self._tables[name].observe(partition, parts, lately, now)
            if touched:
                # Of a mutated part that is new, rows may have gone before anybody saw them.
                is_mutated = any(part.mutation for part in touched)
                is_added = set(touched) <= set(parts) and not is_mutated
                names = told.setdefault(name, [])
                if names is not None:
                    told[name] = names + [part.name for part in touched] if is_added else None
        return told


def _group(partition: str, recent: str) -> str:
    """Return what a partition is counted to: those of old days to their month."""
    return partition[:6] if len(partition) == 8 and partition < recent else partition


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()
