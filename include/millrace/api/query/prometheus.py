"""Millrace's metrics as Prometheus' HTTP API answers: PromQL compiled to one statement a question.

https://prometheus.io/docs/prometheus/latest/querying/api/ is what clients expect.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import orjson

from millrace.access.roles import Principal
from millrace.alerts import promql
from millrace.alerts.samples import OWN_PREFIX, TOTAL_SUFFIX, StoredSamples
from millrace.api.query.cache.answers import Kept
from millrace.api.query.warehouse import Warehouse
from millrace.api.query.worth import Worth
from millrace.stores import sql
from millrace.stores.quoting import literal

MOST_STEPS = 11_000
"""Times that a range query asks for at most, as in Prometheus."""
MOST_POINTS = 500_000
"""Points in one answer at most."""
MOST_NAMES = 100_000
"""Series, names or values in one answer at most."""
SOURCE_LABEL = "source_id"
"""Who may see single sources only sees series that name one of them."""
DATASET_LABEL = "dataset"
"""Who may see single datasets only sees Millrace's own series that name one of them."""
_IN_TIME = re.compile(r"\(*\{(?:start|end):Int64\}(?: - \(\d+\)\)*)*")
"""The SQL of a bound that is no later than the times that are asked for."""


@dataclass(frozen=True)
class Times:
    """When an expression is evaluated: from ``start`` to ``end`` by ``step``, in ms since 1970.

    Without a step it is asked for ``start`` alone, which has an answer of another form.
    """

    start: int
    end: int
    step: int = 0
    lookback: timedelta = promql.LOOKBACK


@dataclass(frozen=True)
class Answer:
    """What goes into ``data``, as JSON; ``warnings`` go beside it.

    ``is_of_samples`` tells whether it depends on any number that there is; ``kept`` where these
    were found.
    """

    data: bytes
    warnings: tuple[str, ...] = ()
    is_of_samples: bool = False
    kept: Kept | None = None


class Seen:
    """The samples that somebody may see.

    Args:
        whose: Who asks.
        worth: Knows which datasets published metrics are made from.
    """

    def __init__(self, whose: Principal, worth: Worth) -> None:
        self.whose = whose
        self.ends_in_time = True
        """Whether no sample was asked for that is later than the times of the question."""
        self._stored = StoredSamples()
        self._metrics = frozenset(
            name for name in worth.lineage.models if whose.may_see(worth.datasets_of(name))
        )

    @property
    def _policy(self) -> str:
        """A condition that holds for the labels of every series that they may see."""
        conditions = ["1"]
        if self.whose.sources is not None:
            conditions.append(_is_one(SOURCE_LABEL, self.whose.sources))
        if self.whose.datasets is not None:
            counters = {name + TOTAL_SUFFIX for name in self._metrics}
            published = _is_one("__name__", self._metrics | counters)
            own = _is_one(DATASET_LABEL, self.whose.datasets)
            is_own = f"startsWith(labels['__name__'], {literal(OWN_PREFIX)})"
            conditions.append(f"if({is_own}, {own}, {published})")
        return " AND ".join(conditions)

    def is_listed(self, metric: str, labels: Collection[str]) -> bool:
        """Tell whether a metric with these labels can have series that they may see."""
        if self.whose.sources is not None and SOURCE_LABEL not in labels:
            return False
        if self.whose.datasets is None:
            return True
        is_own = metric.startswith(OWN_PREFIX)
        return DATASET_LABEL in labels if is_own else metric in self._metrics

    def select(self, names: Sequence[str] | None, condition: str, since: str, until: str) -> str:
        """Return the SELECT of samples that ``promql.nodes.Samples`` describes."""
        if not _IN_TIME.fullmatch(until):
            self.ends_in_time = False
        return self._stored.select(names, f"{self._policy} AND ({condition})", since, until)


def _is_one(label: str, values: Collection[str]) -> str:
    """Return the condition that a label is there, and its value is one of some."""
    value = f"labels[{literal(label)}]"
    named = ", ".join(map(literal, sorted(values))) or "''"
    return f"({value} != '' AND {value} IN ({named}))"


Rows = Callable[[str, Times, Seen], Awaitable[Kept]]
"""What gives the rows of a statement at some times, as JSON, for whom it was compiled for."""


async def evaluate(rows_of: Rows, query: str, times: Times, seen: Seen, limit: int = 0) -> Answer:
    """Return what an expression gives; of more than ``limit`` series so many, with a warning.

    Raises ``promql.UnsupportedError`` for what is no PromQL, or is not covered, and what
    ``Warehouse.ask`` raises.
    """
    expression = promql.parse(query)
    compiled = expression.compiled(seen, lookback=times.lookback)
    is_instant = not times.step
    if not is_instant and compiled.kind in ("string", "matrix"):
        kind = {"string": "string", "matrix": "range vector"}[compiled.kind]
        raise promql.UnsupportedError(
            f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector'
        )
    if compiled.kind == "string":
        return Answer(_data("string", orjson.dumps([times.start / 1000, compiled.text])))
    statement = sql.render(
        "clickhouse/query/prometheus/answer.sql",
        statement=compiled.text,
        kind=compiled.kind,
        is_instant=is_instant,
        order=expression.order if is_instant else "",
        most_points=MOST_POINTS,
        limit=limit,
    )
    kept = await rows_of(statement, times, seen)
    rows = kept.value.splitlines()
    if compiled.kind == "scalar" and is_instant:
        return Answer(_data("scalar", orjson.dumps(orjson.loads(rows[0])["value"])), kept=kept)
    warnings: tuple[str, ...] = ()
    if 0 < limit < len(rows):
        warnings += ("results truncated due to limit",)
    if kept.layer == "stale":
        warnings += (f"ClickHouse does not answer: this was so at {kept.computed_at:%FT%TZ}",)
    kind = compiled.kind if is_instant else "matrix"
    data = _data(kind, b"[" + b",".join(rows[: limit or None]) + b"]")
    return Answer(data, warnings, bool(expression.shape.queries), kept)


def _data(kind: str, result: bytes) -> bytes:
    return b'{"resultType":"%b","result":%b}' % (kind.encode(), result)


async def discover(
    warehouse: Warehouse,
    wanted: str,
    selectors: Sequence[str],
    times: Times,
    seen: Seen,
    limit: int,
    label: str = "",
) -> list[Any]:
    """Return the series that selectors find between two times: ``wanted`` says what of them.

    That is ``series``, their labels; ``names``, those of their labels; or ``values``, those of
    ``label``. Without a selector it is every series. Raises as ``evaluate`` does.
    """
    bounds = "{start:Int64}", "{end:Int64}"
    parts = [promql.parse(selector).samples(seen, *bounds) for selector in selectors]
    statement = sql.render(
        "clickhouse/query/prometheus/series.sql",
        parts=parts or [seen.select(None, "1", *bounds)],
        wanted=wanted,
        limit=min(limit, MOST_NAMES) if limit else MOST_NAMES,
    )
    values = {"start": times.start, "end": times.end, "label": label}
    answer = await warehouse.ask(statement, values, whose=seen.whose)
    return [row[0] for row in answer.rows]


Kind = Literal["counter", "gauge", "unknown"]


@dataclass(frozen=True)
class Described:
    """A metric: its type as Prometheus has it, what it means, its unit, and its labels."""

    name: str
    kind: Kind
    meaning: str
    unit: str
    labels: frozenset[str]


async def described(warehouse: Warehouse, seen: Seen) -> list[Described]:
    """Return every metric that may be asked, its counters included, by name."""
    statement = sql.render("clickhouse/query/prometheus/metadata.sql")
    found = []
    for name, meaning, unit, kind, dimensions in (
        await warehouse.ask(statement, whose=seen.whose)
    ).rows:
        labels = frozenset(dimensions) - {"__name__"}
        if not seen.is_listed(name, labels):
            continue
        own_kind: Kind = "counter" if name.endswith(TOTAL_SUFFIX) else "unknown"
        found.append(Described(name, own_kind if kind == "own" else "gauge", meaning, unit, labels))
        if kind == "sum":
            running = f"{meaning}: running total of the UTC day"
            found.append(Described(name + TOTAL_SUFFIX, "counter", running, unit, labels))
    return sorted(found, key=lambda metric: metric.name)
