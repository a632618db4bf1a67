"""What the audits say of every dataset, kept in memory as stretches of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.api.query import spans
from millrace.api.query.spans import Spans
from millrace.quality.suites import Suite
from millrace.quality.windows import KINDS
from millrace.stores import sql

OVERLAP = timedelta(minutes=1)
"""How much later than its moment a verdict may be committed."""
ALL_AGAIN = timedelta(minutes=1)
"""How often every verdict is read again, for those that went: of a PostgreSQL that was set back."""
DAY = 86_400
EVENTS = "events"
"""The dataset that vouches for what no suite of its own is published of."""


@dataclass(frozen=True)
class Withheld:
    """A stretch of a dataset that failed, in seconds since 1970, and why."""

    start: int
    end: int
    reason: str


class Verdicts:
    """Of all datasets; ``changed`` is called when anything of it did."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._suites: dict[str, Suite] = {}
        self._passed: dict[str, Spans] = {}
        self._withheld: dict[str, tuple[Withheld, ...]] = {}
        self._failed: dict[str, Spans] = {}
        self._empty: dict[str, Spans] = {}
        self._covered: dict[str, Spans] = {}
        self._checked_at: datetime | None = None
        self._read_at: datetime | None = None

    def use_suites(self, suites: Iterable[Suite]) -> None:
        """Take over what is expected of datasets, which says what they are made from."""
        found = {suite.dataset: suite for suite in suites}
        if found != self._suites:
            self._suites = found
            self._settle()

    def use_days(self, days: Mapping[str, Sequence[int]], until: float) -> None:
        """Take over which days, since 1970, hold rows of base tables: others need no audit.

        ``until`` is the moment before which everything that was received is loaded.
        """
        empty = {}
        for table in (EVENTS, "rejected_events"):
            last = int(max(until, 0) // DAY)
            held = [day for day in days.get(table, ()) if day < last]
            bounds = [0, *(day * DAY + edge for day in held for edge in (0, DAY)), last * DAY]
            empty[table] = spans.spans(zip(bounds[::2], bounds[1::2], strict=True))
        if empty != self._empty:
            self._empty = empty
            self._settle()

    def read(
        self,
        connection: psycopg.Connection[DictRow],
        checked_at: datetime | None,
        now: datetime,
    ) -> None:
        """Read the verdicts that are new; ``checked_at`` is when a window was last judged."""
        is_all = self._read_at is None or now - self._read_at > ALL_AGAIN
        if checked_at == self._checked_at and not is_all:
            return
        since = datetime.min if is_all or not self._checked_at else self._checked_at - OVERLAP
        rows = connection.execute(
            sql.render("postgres/query/judged_datasets.sql"), {"since": since.replace(tzinfo=UTC)}
        ).fetchall()
        datasets = sorted(row["dataset"] for row in rows)
        passed = _spans(connection, "passed", datasets)
        withheld = _spans(connection, "withheld", datasets)
        new_passed = {
            name: spans.spans((r["first_second"], r["end_second"]) for r in passed.get(name, ()))
            for name in datasets
        }
        new_withheld = {
            name: tuple(
                Withheld(r["first_second"], r["end_second"], r["reason"])
                for r in withheld.get(name, ())
            )
            for name in datasets
        }
        if not is_all:
            new_passed = self._passed | new_passed
            new_withheld = self._withheld | new_withheld
        if (new_passed, new_withheld) != (self._passed, self._withheld):
            self._passed, self._withheld = new_passed, new_withheld
            self._settle()
        self._checked_at = checked_at
        self._read_at = now if is_all else self._read_at

    def _settle(self) -> None:
        self._covered = {name: self._coverage(suite) for name, suite in self._suites.items()}
        self._failed = {
            name: spans.spans((one.start, one.end) for one in found)
            for name, found in self._withheld.items()
        }
        self._changed()

    def _coverage(self, suite: Suite) -> Spans:
        """Return the stretches that passed, or will be audited by nobody.

        Windows are audited for as long as they are looked back to; older ones are vouched for by
        what the dataset is made from, of which days are audited however old they are. A day
        without any row needs no audit.
        """
        own = self._passed.get(suite.dataset, ())
        sources = suite.made_from
        base = sources[0] if sources and sources[0] in self._empty else EVENTS
        empty = self._empty.get(suite.dataset, self._empty.get(base, ()))
        if suite.dataset in (EVENTS, "rejected_events"):
            return spans.union(own, empty)
        behind = spans.common([self._passed.get(name, ()) for name in sources or (EVENTS,)])
        if suite.publishes and behind:
            reach = max(
                KINDS[kind].lookback + KINDS[kind].length + KINDS[kind].grace
                for kind in suite.windows
            )
            behind = spans.before(behind, behind[-1] - int(reach.total_seconds()))
        return spans.union(own, behind, empty)

    def datasets_of(self, tables: Iterable[str]) -> tuple[str, ...]:
        """Return the datasets whose verdicts speak of tables, named without their database.

        Without a suite of their own, they are what the events say.
        """
        found: dict[str, None] = {}
        for table in tables:
            suites = [one for one in self._suites.values() if one.table.rpartition(".")[2] == table]
            for suite in suites:
                if suite.publishes:
                    found[suite.dataset] = None
                for name in suite.made_from:
                    found[name] = None
        return tuple(found) or (EVENTS,)

    def withheld(self, datasets: Iterable[str], start: int, end: int) -> str:
        """Return why any of the datasets is withheld anywhere in ``[start, end)``, or nothing."""
        reasons = [
            f"{name}: {one.reason}" for name in datasets for one in self._failures(name, start, end)
        ]
        return "; ".join(dict.fromkeys(reasons))

    def _failures(self, dataset: str, start: int, end: int) -> list[Withheld]:
        if not spans.meet(self._failed.get(dataset, ()), start, end):
            return []
        return [
            one for one in self._withheld.get(dataset, ()) if one.start < end and one.end > start
        ]

    def has_passed(self, datasets: Iterable[str], start: int, end: int) -> bool:
        """Tell whether each of the datasets passed in all of ``[start, end)``."""
        return all(spans.cover(self._covered.get(name, ()), start, end) for name in datasets)

    @property
    def suites(self) -> list[Suite]:
        """What is expected of each dataset."""
        return list(self._suites.values())

    def newest(self, dataset: str, most: int) -> tuple[datetime | None, list[Withheld]]:
        """Return when the last window that passed ends, and the newest that are withheld."""
        passed = self._passed.get(dataset, ())
        until = datetime.fromtimestamp(passed[-1], UTC) if passed else None
        return until, list(self._withheld.get(dataset, ()))[: -most - 1 : -1]

    def within(self, start: int, end: int) -> list[Any]:
        """Return everything that ``withheld`` and ``has_passed`` say of ``[start, end)``."""
        return [
            (
                name,
                spans.within(covered, start, end),
                self._failures(name, start, end),
            )
            for name, covered in sorted(self._covered.items())
        ]


def _spans(
    connection: psycopg.Connection[DictRow], name: str, datasets: list[str]
) -> dict[str, list[DictRow]]:
    found: dict[str, list[DictRow]] = {}
    for row in connection.execute(sql.render(f"postgres/query/{name}.sql"), {"datasets": datasets}):
        found.setdefault(row["dataset"], []).append(row)
    return found
