"""From a question to its answer: numbers from the cache or the warehouse, and what each is worth.

A question's range is cut into pieces, so that what is over stays in the cache while the hour that
runs changes with every load. A piece is kept under the generation of the rows that it is of, which
is read before the statement runs: it can be newer than its generation says, never older.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import orjson

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query import wide
from millrace.api.query.answer import Answer, Cost
from millrace.api.query.cache.answers import Answers
from millrace.api.query.cache.generations import Generations
from millrace.api.query.cache.wanted import Wanted
from millrace.api.query.pieces import Planned, pieces
from millrace.api.query.plans import Plan, plan
from millrace.api.query.questions import Question, comparison
from millrace.api.query.registry import Metric, Registries, Registry
from millrace.api.query.series import Group, Number, Readings, metric_answer
from millrace.api.query.warehouse import Warehouse, WarehouseAwayError
from millrace.api.query.worth import Worth

MOST_PLANS = 20_000
"""Plans that a process keeps; a dashboard's panel asks the same every few seconds."""
KEPT_SECONDS = 6 * 3600.0
"""How long a piece is kept that nothing changes."""
PRESENCE = "events"
"""The metric that tells whether anything at all was received in a bucket."""


@dataclass(frozen=True)
class _Ask:
    """What one asking shares; ``generations`` are those of the rows that were given, by key."""

    now: datetime
    whose: Principal
    max_age: float
    is_fresh: bool
    cost: Cost
    generations: dict[str, str]


@dataclass(frozen=True)
class _Plans:
    """How a question's metrics are computed, and that which tells where anything was received.

    There is none (``presence`` is empty) where it tells nothing.
    """

    metrics: list[Planned]
    presence: list[Planned]

    def __iter__(self) -> Iterator[Planned]:
        """Yield all of them."""
        yield from self.metrics
        yield from self.presence


Values = dict[Group, dict[int, Number]]
"""Values by group and number of the bucket."""


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
        self._tables = wide.Tables()
        self._planned: OrderedDict[tuple[str, datetime], _Plans] = OrderedDict()
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

        ``max_age`` is for how many seconds rows that came may be missing from it.
        """
        now = datetime.now(UTC)
        asked = self._with_compared(question, now)
        return self._state(asked, now, max_age, {}, self._versions(asked))

    def _state(
        self,
        asked: Sequence[Question],
        now: datetime,
        max_age: float,
        given: Mapping[str, str],
        versions: Sequence[str],
    ) -> str:
        """Return the text; ``given`` are generations of rows that were given, by key."""
        wanted = [
            one
            for question in asked
            for planned in self._plans(question, now)
            for one in self._wanted(planned, max_age)
        ]
        kept = self._answers.generations_kept(wanted)
        if given:
            kept = [given.get(one.key, text) for one, text in zip(wanted, kept, strict=True)]
        parts = [asked[0].key, *kept, *versions]
        if not self._generations.is_current:  # nobody can tell: no answer is known to hold
            parts.append(secrets.token_hex(12))
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest()

    def _with_compared(self, question: Question, now: datetime) -> list[Question]:
        """Return a question, and that of the earlier period where there is one."""
        earlier, _ = self._compared(question, now)
        return [question, earlier] if earlier else [question]

    def _versions(self, asked: Sequence[Question]) -> list[str]:
        return [self._worth.version(one.start, one.end) for one in asked]

    async def answer(
        self, question: Question, whose: Principal, *, max_age: float = 0.0, is_fresh: bool = False
    ) -> Answer:
        """Return the answer; ``is_fresh`` has it computed whatever is kept.

        Raises ``ProblemError``: 503 where ClickHouse is away and nothing is kept.
        """
        now = datetime.now(UTC)
        cost = Cost()
        earlier, counterparts = self._compared(question, now)
        asked = self._with_compared(question, now)
        versions = self._versions(asked)
        ask = _Ask(now, whose, max_age, is_fresh, cost, {})
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
            metric_answer(made, own[made.metric], before.get(made.metric, {}), counterparts)
            for made in (planned.plan for planned in self._plans(question, now).metrics)
        ]
        return Answer(
            question,
            earlier,
            metrics,
            changes,
            cost,
            self._worth.complete_until,
            self._state(asked, now, max_age, ask.generations, versions),
        )

    def _compared(
        self, question: Question, now: datetime
    ) -> tuple[Question | None, Sequence[int | None]]:
        """Return the earlier question, and which of its buckets each bucket is compared with."""
        found = comparison(question, min(now, self._worth.complete_until))
        return (found.question, found.counterparts) if found else (None, ())

    def _plans(self, question: Question, now: datetime) -> _Plans:
        """Return how a question is computed. Raises ``ProblemError`` (422)."""
        registry = self.registry
        if registry.metrics is not self._planned_for:
            if registry.metrics != self._planned_for:  # a metric was defined again
                self._planned.clear()
            self._planned_for = registry.metrics
        key = (question.key, now.replace(minute=0, second=0, microsecond=0))
        found = self._planned.get(key)
        if found is None:
            found = _Plans(_planned(question, registry, now), _presence(question, registry, now))
            self._planned[key] = found
            if len(self._planned) > MOST_PLANS:
                self._planned.popitem(last=False)
        return found

    # Numbers.

    async def _readings(self, ask: _Ask, question: Question) -> dict[str, Readings]:
        """Return, by metric and group, what each bucket shows."""
        plans = self._plans(question, ask.now)
        present, found = await asyncio.gather(
            asyncio.gather(*(self._values(ask, planned) for planned in plans.presence)),
            asyncio.gather(*(self._values(ask, planned) for planned in plans.metrics)),
        )
        presence = {
            number for values in present for number, value in values.get((), {}).items() if value
        }
        return {
            planned.plan.metric: self._judged(planned.plan, values, presence, ask.now)
            for planned, values in zip(plans.metrics, found, strict=True)
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

    async def _values(self, ask: _Ask, planned: Planned) -> Values:
        """Return one metric's values."""
        ask.cost.rollups.update(planned.plan.rollup.split("+"))
        values: Values = {}
        asked = range(len(planned.plan.question.buckets))
        for piece, rows in zip(planned.pieces, await self._rows(ask, planned), strict=True):
            for number, *group, value in rows:
                if piece.first + number in asked:
                    values.setdefault(tuple(group), {})[piece.first + number] = value
        return values

    async def _rows(self, ask: _Ask, planned: Planned) -> list[list[list[Any]]]:
        """Return the rows of each piece: the bucket's number in it, groups, value."""

        async def compute(numbers: Sequence[int]) -> list[bytes]:
            statement, parameters = planned.statement(numbers)
            result = await self._warehouse.ask(statement, parameters, whose=ask.whose)
            ask.cost.rows_read += result.rows_read
            return [orjson.dumps(rows) for rows in planned.parted(numbers, result.rows)]

        wanted = self._wanted(planned, ask.max_age, ask.whose.role)
        if not ask.is_fresh:
            await self._derive(ask, planned, wanted)
        if ask.is_fresh:
            values = await compute(range(len(wanted)))
            ask.cost.add("computed", datetime.now(UTC))
            ask.generations.update({one.key: str(one.generation) for one in wanted})
        else:
            kept = await self._answers.get_all(wanted, compute, seconds=KEPT_SECONDS)
            for one, found in zip(wanted, kept, strict=True):
                ask.cost.add(found.layer, found.computed_at)
                ask.generations[one.key] = found.generation
            values = [found.value for found in kept]
        return [orjson.loads(value) for value in values]

    async def _derive(self, ask: _Ask, planned: Planned, wanted: Sequence[Wanted]) -> None:
        """Have the process keep the rows of pieces that it can tell from those of many filters.

        What else is missing is asked by a statement anyway, which is not to become two; and what
        nobody else asks for costs less by itself.
        """
        missing = [at for at, one in enumerate(wanted) if not self._answers.is_kept(one)]
        for at in missing:
            shape, piece, generation = planned.shape(at), planned.pieces[at], wanted[at].generation
            if not piece.wide_key or self._tables.is_too_wide(shape):
                continue
            one = Wanted(piece.wide_key, generation, ask.max_age, ask.whose.role)
            is_shared = self._tables.is_shared(shape, piece.key)
            if not self._answers.is_kept(one) and (len(missing) > 1 or not is_shared):
                continue
            try:
                kept = await self._answers.get(
                    one, partial(self._wide, ask, planned, at), seconds=KEPT_SECONDS
                )
            except WarehouseAwayError:
                continue  # its own rows may be kept for this
            except ProblemError as error:
                if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                self._tables.note_too_wide(shape)  # its own statement may take less
                continue
            table = self._tables.table(one.key, planned.plan.spread, kept.value)
            if table is None:
                self._tables.note_too_wide(shape)
            elif kept.layer != "stale":
                rows = table.rows(planned.plan.question)
                self._answers.derive(wanted[at], orjson.dumps(rows), kept)
                ask.cost.add(kept.layer, kept.computed_at)

    async def _wide(self, ask: _Ask, planned: Planned, number: int) -> bytes:
        statement, parameters = planned.wide_statement(number)
        try:
            result = await self._warehouse.ask(statement, parameters, whose=ask.whose)
        except ValueError:  # texts that are none, which a filter may leave out
            return wide.packed([[0, None, 0]])
        ask.cost.rows_read += result.rows_read
        return wide.packed(result.rows)

    def _wanted(self, planned: Planned, max_age: float, role: str = "") -> list[Wanted]:
        """Return what the cache is asked for, by piece."""
        return [
            Wanted(piece.key, self._generations.of_span(span), max_age, role)
            for piece, span in zip(planned.pieces, planned.spans, strict=True)
        ]


def _planned(question: Question, registry: Registry, now: datetime) -> list[Planned]:
    """Return how each metric of a question is computed. Raises ``ProblemError`` (422)."""
    made = (plan(question, metric, registry) for metric in question.metrics)
    return [Planned(one, pieces(one, now)) for one in made]


def _presence(question: Question, registry: Registry, now: datetime) -> list[Planned]:
    """Return how to tell in which buckets anything was received.

    Empty: that is kept no more, or no metric is 0 where something was and nothing of it.
    """
    if not any(registry.metric(name).adds_up for name in question.metrics):
        return []
    plain = Question(
        (PRESENCE,),
        question.start,
        question.end,
        question.interval,
        question.zone,
        sources=question.sources,
    )
    try:
        return _planned(plain, registry, now)
    except ProblemError:
        return []


async def _nothing() -> dict[str, Readings]:
    return {}
