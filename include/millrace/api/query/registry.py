"""What may be asked: metrics, their dimensions, and the rollups that hold them.

It is read from ``analytics.metric_definitions`` and ``metric_rollups``, where dbt models and
aggregation rules write it, so that a metric that is new there is served without a line of Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.api.http import ProblemError
from millrace.api.query.polling import Polled
from millrace.api.query.warehouse import StatementError, Warehouse, WarehouseAwayError
from millrace.stores import sql

REFRESH_SECONDS = 5.0


@dataclass(frozen=True)
class Rollup:
    """A table or view that a metric can be computed from.

    Args:
        name: The dbt model's, or the base table's.
        relation: As SQL has it.
        grain_seconds: Its windows' length, from 1970 on; 0 where rows have times of their own.
        time: Its column of time.
        value: The aggregate that is the metric's value over any set of its rows.
        condition: Which rows count; empty: all.
        present: Which groups have a value at all; empty: all.
        dimensions: Expressions of the dimensions that it has.
        source: Its column of the source that rows came through; empty if it has none.
        is_divisible: Whether windows and dimensions can be put together; else each is by itself.
        tables: The tables that its content depends on, qualified; views are resolved.
        kept_days: For how long its rows are kept; 0: for ever.
    """

    name: str
    relation: str
    grain_seconds: int
    time: str
    value: str
    condition: str = ""
    present: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    is_divisible: bool = True
    tables: tuple[str, ...] = ()
    kept_days: int = 0

    def kept_since(self, now: datetime) -> datetime:
        """Return the moment from which on it has all its rows."""
        if not self.kept_days:
            return datetime(1970, 1, 1, tzinfo=UTC)
        return now - timedelta(days=self.kept_days)


@dataclass(frozen=True)
class Metric:
    """A metric; its rollups are in the order in which they are to be asked, cheapest first."""

    name: str
    meaning: str
    unit: str
    kind: str
    rollups: tuple[Rollup, ...]

    @property
    def dimensions(self) -> tuple[str, ...]:
        """By which dimensions it can be asked."""
        return tuple(sorted({name for rollup in self.rollups for name in rollup.dimensions}))

    @property
    def adds_up(self) -> bool:
        """Whether values of windows and groups can be added."""
        return self.kind == "sum"


@dataclass(frozen=True)
class Registry:
    """What may be asked, as it was at a moment."""

    metrics: Mapping[str, Metric]
    read_at: datetime

    def metric(self, name: str) -> Metric:
        """Return a metric. Raises ``ProblemError`` (422) that lists those there are."""
        if name in self.metrics:
            return self.metrics[name]
        raise ProblemError(
            422,
            "unknown_metric",
            f"There is no metric {name[:100]!r}. There are: {', '.join(self.metrics)}.",
            extra={"metrics": list(self.metrics)},
        )


class Registries:
    """Keeps the newest registry."""

    def __init__(self) -> None:
        self._current: Registry | None = None
        self._reason = "it is being read"
        self._polled = Polled("metrics", self._read, REFRESH_SECONDS)

    async def start(self, warehouse: Warehouse) -> None:
        """Read it, and go on reading; ClickHouse need not answer yet."""
        self._warehouse = warehouse
        await self._polled.start()

    async def stop(self) -> None:
        """End."""
        await self._polled.stop()

    @property
    def current(self) -> Registry:
        """The newest that could be read. Raises ``ProblemError`` (503) if there was none yet."""
        if self._current is None:
            raise ProblemError(
                503,
                "unavailable",
                f"What may be asked is not known yet: {self._reason}.",
                retry_after=5,
            )
        return self._current

    async def _read(self) -> None:
        try:
            self._current = await read(self._warehouse)
        except WarehouseAwayError:
            self._reason = "ClickHouse does not answer"
            raise
        except (StatementError, ProblemError):
            self._reason = "./millrace dbt deploy makes the tables that say so"
            raise


async def read(warehouse: Warehouse) -> Registry:
    """Return what may be asked now. Raises as ``Warehouse.ask`` does."""
    now = datetime.now(UTC)
    tables = await warehouse.ask(sql.render("clickhouse/query/tables.sql"))
    rollups = await warehouse.ask(sql.render("clickhouse/query/metrics.sql"))
    return of_rows(tables.rows, rollups.rows, now)


def of_rows(tables: list[list[Any]], rollups: list[list[Any]], now: datetime) -> Registry:
    """Return the registry that the rows of ``tables.sql`` and ``metrics.sql`` make."""
    places = {name: (qualified, int(days)) for name, qualified, days in tables}
    found: dict[str, list[Rollup]] = {}
    about: dict[str, tuple[str, str, str]] = {}
    for name, meaning, unit, kind, *row in rollups:
        (model, grain, time, value, condition, present, dimensions, source, divisible, of) = row
        about[name] = (meaning, unit, kind)
        held = found.setdefault(name, [])
        if model not in places or any(one not in places for one in of):
            continue  # a model that is not deployed yet
        days = [places[one][1] for one in of if places[one][1]]
        held.append(
            Rollup(
                name=model,
                relation=places[model][0],
                grain_seconds=int(grain),
                time=time,
                value=value,
                condition=condition,
                present=present,
                dimensions=dict(dimensions),
                source=source,
                is_divisible=bool(divisible),
                tables=tuple(places[one][0] for one in of),
                kept_days=min(days, default=0),
            )
        )
    metrics = {
        name: Metric(name, *about[name], tuple(held))
        for name, held in sorted(found.items())
        if held
    }
    return Registry(metrics, now)
