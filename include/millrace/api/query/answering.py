"""From a question to its answer: numbers from the cache or the warehouse, and what each is worth.

A question's range is cut into pieces, so that what is over stays in the cache while the hour that
runs changes with every load. A piece is kept under the generation of the rows that it is of, which
is read before the statement runs: it can be newer than its generation says, never older.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query import filters
from millrace.api.query.answer import Answer, Cost, MetricAnswer, Point, Series
from millrace.api.query.cache.answers import Answers
from millrace.api.query.cache.generations import Generations
from millrace.api.query.plans import Plan, plan
from millrace.api.query.questions import Question, comparison
from millrace.api.query.registry import Metric, Registries, Registry
from millrace.api.query.warehouse import Warehouse, WarehouseAwayError
from millrace.api.query.worth import Status, Worth

MOST_PLANS = 20_000
"""Plans that a process keeps; a dashboard's panel asks the same every few seconds."""
KEPT_SECONDS = 6 * 3600.0
"""How long a piece is kept that nothing changes."""
PRESENCE = "events"
"""The metric that tells whether anything at all was received in a bucket."""


@dataclass(frozen=True)
class _Ask:
    """What one asking shares."""

    registry: Registry
    now: datetime
    whose: Principal
    max_age: float
    is_fresh: bool
    cost: Cost


@dataclass(frozen=True)
class _Planned:
    """How a metric of a question is computed: by which pieces, kept under which key."""

    plan: Plan
    pieces: list[range]
    key: str


Number = float | int
Group = tuple[str, ...]
Values = dict[Group, dict[int, Number]]
"""Values by group and number of the bucket."""
Readings = dict[Group, list[tuple[Number | None, Status, str]]]
"""By group, what each bucket shows: a value or none, its status, and the reason."""


class Answering:
    """Answers questions for a process."""

    def __init__(
        self,
        warehouse: Warehouse,
        registries: Registries,
        generations: Generations,
        answers: Answers,
        worth: Worth,
    ) -> None:
        self._warehouse = warehouse
        self._registries = registries
        self._generations = generations
        self._answers = answers
        self._worth = worth
        self._planned: OrderedDict[tuple[str, datetime], list[_Planned]] = OrderedDict()
        self._planned_for: Mapping[str, Metric] = {}

    @property
    def registry(self) -> Registry:
        """What there is to ask. Raises ``ProblemError`` (503) while that is not known."""
        return self._registries.current

    def registry_of(self, whose: Principal) -> Registry:
        """Return what somebody may ask: metrics of datasets that they may see.

        Raises ``ProblemError`` (503) while that is not known.
        """
        registry = self.registry
        if whose.datasets is None:
            return registry
        visible = {
            name: metric
            for name, metric in registry.metrics.items()
            if whose.may_see(self._worth.datasets_of(name))
        }
        return replace(registry, metrics=visible)

    def state(self, question: Question, max_age: float) -> str:
        """Return a text that changes whenever the question's answer may: what an ETag is made of.

        ``max_age`` is how old, in seconds, numbers of buckets may be that are not over.
        """
        now = datetime.now(UTC)
        digest = hashlib.blake2b(question.key.encode(), digest_size=12)
        if not self._generations.is_current:  # nobody can tell: no answer is known to hold
            digest.update(secrets.token_bytes(12))
        for asked in (question, self._compared(question, now)[0]):
            if asked is None:
                continue
            for planned in self._plans(asked, now):
                for piece in planned.pieces:
                    digest.update(self._generation(planned.plan, piece, max_age).encode())
            digest.update(self._worth.version(asked.start, asked.end).encode())
        return digest.hexdigest()

    async def answer(
        self, question: Question, whose: Principal, *, max_age: float = 0.0, is_fresh: bool = False
    ) -> Answer:
        """Return the answer; ``is_fresh`` has it computed whatever is kept.

        Raises ``ProblemError``: 503 where ClickHouse is away and nothing is kept.
        """
        now = datetime.now(UTC)
        registry = self.registry
        state = self.state(question, max_age)
        cost = Cost()
        earlier, counterparts = self._compared(question, now)
        ask = _Ask(registry, now, whose, max_age, is_fresh, cost)
        try:
            own, before, changes = await asyncio.gather(
                self._readings(ask, question),
                self._readings(ask, earlier) if earlier else _nothing(),
                self._worth.changes(question.start, question.end),
            )
        except WarehouseAwayError as error:
            raise ProblemError(
                503,
                "unavailable",
                "ClickHouse does not answer, and no answer to this question is kept.",
                retry_after=5,
            ) from error
        metrics = [
            _metric(made, own[made.metric], before.get(made.metric, {}), counterparts)
            for made in (planned.plan for planned in self._plans(question, now))
        ]
        return Answer(
            question,
            earlier,
            metrics,
            changes,
            cost,
            self._worth.complete_until,
            state,
        )

    def _compared(
        self, question: Question, now: datetime
    ) -> tuple[Question | None, Sequence[int | None]]:
        """Return the earlier question, and which of its buckets each bucket is compared with."""
        found = comparison(question, min(now, self._worth.complete_until))
        return (found.question, found.counterparts) if found else (None, ())

    def _plans(self, question: Question, now: datetime) -> list[_Planned]:
        """Return how each metric of a question is computed, in pieces."""
        registry = self.registry
        if registry.metrics is not self._planned_for:
            if registry.metrics != self._planned_for:  # a metric was defined again
                self._planned.clear()
            self._planned_for = registry.metrics
        key = (question.key, now.replace(minute=0, second=0, microsecond=0))
        found = self._planned.get(key)
        if found is None:
            pieces = _pieces(question, now)
            found = [
                _Planned(made, pieces, _key(made))
                for made in (plan(question, metric, registry) for metric in question.metrics)
            ]
            self._planned[key] = found
            if len(self._planned) > MOST_PLANS:
                self._planned.popitem(last=False)
        return found

    # Numbers.

    async def _readings(self, ask: _Ask, question: Question) -> dict[str, Readings]:
        """Return, by metric and group, what each bucket shows."""
        plans = self._plans(question, ask.now)
        presence, found = await asyncio.gather(
            self._presence(ask, question),
            asyncio.gather(*(self._values(ask, planned) for planned in plans)),
        )
        return {
            planned.plan.metric: self._judged(planned.plan, values, presence, ask.now)
            for planned, values in zip(plans, found, strict=True)
        }

    def _judged(self, made: Plan, values: Values, presence: set[int], now: datetime) -> Readings:
        """Return what each bucket of each group shows, by what its number is worth."""
        buckets, about = made.question.buckets, made.definition
        verdicts = self._worth.of(made.metric, buckets, now, made.tables)
        if not values and not made.question.group_by:
            values = {(): {}}
        readings: Readings = {}
        if about.adds_up:  # by all that ``limit`` went by, shown or withheld
            values = dict(sorted(values.items(), key=lambda one: (-sum(one[1].values()), one[0])))
        for group, known in values.items():
            shown = readings[group] = []
            for number, (status, reason) in enumerate(verdicts):
                value = known.get(number)
                if status in ("withheld", "future"):
                    shown.append((None, status, reason))
                elif value is None and not (about.adds_up and number in presence):
                    shown.append((None, "no_data" if status == "complete" else status, reason))
                else:
                    shown.append((value or 0, status, reason))
        return readings

    async def _values(self, ask: _Ask, planned: _Planned) -> Values:
        """Return one metric's values."""
        ask.cost.rollups.update(planned.plan.rollup.split("+"))
        values: Values = {}
        for rows in await asyncio.gather(
            *(self._rows(ask, planned, piece) for piece in planned.pieces)
        ):
            for number, *group, value in rows:
                values.setdefault(tuple(group), {})[number] = value
        return values

    async def _presence(self, ask: _Ask, question: Question) -> set[int]:
        """Return the buckets in which anything was received; none, where that is kept no more."""
        plain = Question(
            (PRESENCE,),
            question.start,
            question.end,
            question.interval,
            question.zone,
            sources=question.sources,
        )
        try:
            (planned,) = self._plans(plain, ask.now)
        except ProblemError:
            return set()
        values = await self._values(ask, planned)
        return {number for number, value in values.get((), {}).items() if value}

    async def _rows(self, ask: _Ask, planned: _Planned, piece: range) -> list[list[Any]]:
        """Return the rows of some buckets: the bucket's number, groups, value."""
        made = planned.plan
        buckets = made.question.buckets[piece[0] : piece[-1] + 1]
        generation = self._generation(made, piece, ask.max_age)

        async def compute() -> bytes:
            statement, parameters = made.statement(buckets)
            result = await self._warehouse.ask(statement, parameters, whose=ask.whose)
            ask.cost.rows_read += result.rows_read
            return orjson.dumps(result.rows)

        key = f"{planned.key}:{buckets[0].start:%Y%m%dT%H%M}:{buckets[-1].end:%Y%m%dT%H%M}"
        if ask.is_fresh:
            value = await compute()
            ask.cost.add("computed", datetime.now(UTC))
        else:
            kept = await self._answers.get(key, generation, compute, seconds=KEPT_SECONDS)
            ask.cost.add(kept.layer, kept.computed_at)
            value = kept.value
        return [[row[0] + piece[0], *row[1:]] for row in orjson.loads(value)]

    def _generation(self, made: Plan, piece: range, max_age: float) -> str:
        buckets = made.question.buckets
        start, end = buckets[piece[0]].start, buckets[piece[-1]].end
        if made.question.group_by:  # which groups there are depends on the range that ranks them
            ranking = made.question.ranking
            start, end = min(start, ranking.start), max(end, ranking.end)
        if max_age and end > self._worth.complete_until:
            return f"{int(time.time() / max_age)}/{max_age:g}"
        return self._generations.of(made.tables, start, end)


def _metric(
    made: Plan,
    own: Readings,
    before: Readings,
    counterparts: Sequence[int | None],
) -> MetricAnswer:
    """Put a metric's series together, with what they are compared with."""
    question, about = made.question, made.definition
    series = []
    for group, readings in own.items():
        earlier = before.get(group)
        points = [
            Point(
                bucket,
                value,
                status,
                reason,
                None if earlier is None or counterpart is None else earlier[counterpart][0],
            )
            for bucket, (value, status, reason), counterpart in itertools.zip_longest(
                question.buckets, readings, counterparts
            )
            if not (question.is_complete_only and status in ("provisional", "future"))
        ]
        series.append(
            Series(
                dict(zip(question.group_by, group, strict=True)),
                points,
                _total(about.adds_up, [point.value for point in points]),
                _total(about.adds_up, [point.compared for point in points]),
            )
        )
    if not (about.adds_up or made.has_totals):  # else they are in the order that ``limit`` goes by
        series.sort(key=lambda one: (-_largest(one), list(one.group.values())))
    return MetricAnswer(about.name, about.unit, about.kind, about.meaning, series[: question.limit])


def _pieces(question: Question, now: datetime) -> list[range]:
    """Cut a question's buckets: days that are over, the hours since, and the hour that runs.

    Groups that are limited by their totals are asked for the whole range at once.
    """
    buckets = question.buckets
    if question.group_by or len(buckets) == 1:
        return [range(len(buckets))]
    hour = now.replace(minute=0, second=0, microsecond=0)
    cuts = {0, len(buckets)}
    for bound in (hour.replace(hour=0), hour):
        cuts.add(sum(bucket.end <= bound for bucket in buckets))
    ordered = sorted(cuts)
    return [range(first, last) for first, last in itertools.pairwise(ordered)]


def _key(made: Plan) -> str:
    """Return what a plan's rows depend on, but for the buckets and what the tables hold."""
    asked = made.question
    parts = [
        made.metric, asked.interval, asked.zone, asked.group_by, filters.text(asked.filter),
        asked.sources, made.rollup, repr(made.candidates),
        # Of groups, the answer has the largest of a range, and no others.
        (asked.limit, asked.ranking.start, asked.ranking.end) if asked.group_by else None,
    ]  # fmt: skip
    digest = hashlib.blake2b(orjson.dumps(parts), digest_size=16).hexdigest()
    return f"metric:{made.metric}:{digest}"


async def _nothing() -> dict[str, Readings]:
    return {}


def _total(adds_up: bool, values: list[float | int | None]) -> float | int | None:
    known = [value for value in values if value is not None]
    return sum(known) if adds_up and known else None


def _largest(series: Series) -> float:
    return max((point.value or 0 for point in series.points), default=0)
