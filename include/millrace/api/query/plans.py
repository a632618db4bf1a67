"""How a question is computed: from the cheapest rollups that are exact for it.

A rollup is exact for a stretch of time whose bounds are bounds of its windows: counted in minutes
from UTC, so a day of Berlin is made of hours, and a day of Kathmandu of five minutes. Where values
add up, a bucket may be put together from pieces: whole hours from the hours, and what is left at
its ends from minutes. Where they do not (unique users), each bucket is asked of one rollup as a
whole, and nothing is ever added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from millrace.api.http import ProblemError
from millrace.api.query import filters
from millrace.api.query.questions import Question
from millrace.api.query.ranges import Bucket
from millrace.api.query.registry import Metric, Registry, Rollup
from millrace.stores import sql

Statement = tuple[str, dict[str, Any]]
"""A SELECT, and the values that the server binds to it."""


@dataclass(frozen=True)
class Piece:
    """A bucket, or a part of one, that one rollup gives."""

    index: int
    start: int
    end: int


@dataclass(frozen=True)
class Part:
    """What of a statement one rollup gives, as the template has it. Times are in seconds."""

    rollup: Rollup
    pieces: tuple[Piece, ...]
    conditions: tuple[str, ...]

    @property
    def starts(self) -> list[int]:
        """When its pieces begin."""
        return [piece.start for piece in self.pieces]

    @property
    def indexes(self) -> list[int]:
        """The buckets that its pieces are of."""
        return [piece.index for piece in self.pieces]

    @property
    def first(self) -> int:
        """When the first piece begins."""
        return self.pieces[0].start

    @property
    def index(self) -> int:
        """The bucket that the first piece is of."""
        return self.pieces[0].index

    @property
    def step(self) -> int:
        """The length of its pieces, if they are consecutive buckets of one length, else 0."""
        step = self.pieces[0].end - self.first
        is_regular = len(self.pieces) > 1 and all(
            piece.index == self.index + number and piece.start == self.first + number * step
            for number, piece in enumerate(self.pieces)
        )
        return step if is_regular and self.pieces[-1].end - self.pieces[-1].start <= step else 0

    @property
    def runs(self) -> list[tuple[str, str]]:
        """The stretches of time that its pieces make together."""
        found: list[list[int]] = []
        for piece in self.pieces:
            if found and found[-1][1] == piece.start:
                found[-1][1] = piece.end
            else:
                found.append([piece.start, piece.end])
        return [(_text(start), _text(end)) for start, end in found]


@dataclass(frozen=True)
class Plan:
    """How one metric of a question is computed.

    Args:
        metric: Its name.
        question: What is asked.
        definition: What the registry says of the metric.
        candidates: The rollups that have what is asked for, cheapest first.
        now: When the registry was read; rows are kept for so many days before.
    """

    metric: str
    question: Question
    definition: Metric
    candidates: tuple[Rollup, ...]
    now: datetime

    @cached_property
    def rollup(self) -> str:
        """Names of the rollups that the question's buckets come from, cheapest first."""
        return "+".join(rollup.name for rollup, _pieces in self._pieces(self.question.buckets))

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """The tables whose content the values of the question depend on, views resolved."""
        used = self._pieces(self.question.buckets)
        if self.question.group_by and self.has_totals:
            used += self._pieces([self.question.ranking])
        return tuple(sorted({table for rollup, _pieces in used for table in rollup.tables}))

    @property
    def has_totals(self) -> bool:
        """Whether a group has a value over the whole range, which ``limit`` goes by."""
        return any(rollup.is_divisible for rollup in self.candidates)

    def statement(self, buckets: Sequence[Bucket]) -> Statement:
        """Return the SELECT of values: rows of a bucket's index, the groups, and the value.

        Buckets are in order and may have gaps; one without rows is not in the answer. Groups are
        those with the largest totals over the question's range. Raises ``ProblemError`` (422) where
        no rollup has a bucket's rows any more.
        """
        values: dict[str, Any] = {}
        totals = ""
        if self.question.group_by and self.has_totals:
            totals = self._totals(values)
        return self._values(buckets, values, totals), values

    @cached_property
    def spread(self) -> tuple[str, ...]:
        """The dimensions that are filtered and grouped by, where values by them can be added up.

        Empty: there are none, or what is asked can't be made of such values.
        """
        asked = self.question
        is_sum = self.definition.adds_up and all(
            rollup.is_divisible and not rollup.present for rollup in self.candidates
        )
        if not is_sum or (asked.group_by and asked.ranked):
            return ()
        return tuple(sorted({*asked.group_by, *filters.dimensions(asked.filter)}))

    def gives(self, buckets: Sequence[Bucket]) -> bool:
        """Tell whether its rollups have the rows of buckets, also of others than are asked for."""
        try:
            self._pieces(buckets)
        except ProblemError:
            return False
        return True

    def of_every_group(self, buckets: Sequence[Bucket], most: int) -> Statement:
        """Return the SELECT of whatever groups there are; of more it gives up (``too_large``)."""
        values: dict[str, Any] = {}
        statement = self._values(buckets, values, "")
        limit = f"max_rows_to_group_by = {most}, group_by_overflow_mode = 'throw'"
        return f"{statement}\nSETTINGS {limit}", values

    def samples(
        self, columns: Mapping[str, Sequence[str]], limit: int
    ) -> tuple[str, Statement] | None:
        """Return a table, and the SELECT of its newest rows that the values are of.

        ``columns`` are those to show, by the table: the base tables whose rows may be shown.
        ``None``: the values are of no such table.
        """
        rollup = next((one for one in self.candidates if one.name in columns), None)
        if rollup is None:
            return None
        values: dict[str, Any] = {}
        start, end = (int(one.timestamp()) for one in (self.question.start, self.question.end))
        statement = sql.render(
            "clickhouse/query/samples.sql",
            columns=", ".join(columns[rollup.name]),
            relation=rollup.relation,
            time=rollup.time,
            start=_text(start),
            end=_text(end),
            conditions=list(self._conditions(rollup, values)),
            limit=limit,
        )
        return rollup.name, (statement, values)

    def _totals(self, values: dict[str, Any]) -> str:
        return sql.render(
            "clickhouse/query/totals.sql",
            groups=self._groups,
            values=self._values([self.question.ranking], values, ""),
            limit=self.question.limit,
        )

    def _values(self, buckets: Sequence[Bucket], values: dict[str, Any], totals: str) -> str:
        parts = [
            Part(rollup, tuple(pieces), tuple(self._conditions(rollup, values)))
            for rollup, pieces in self._pieces(buckets)
        ]
        return sql.render(
            "clickhouse/query/values.sql",
            parts=parts,
            group_by=self.question.group_by,
            groups=self._groups,
            adds_up=self.definition.adds_up,
            totals=totals,
        )

    @property
    def _groups(self) -> str:
        return ", ".join(f"group_{place}" for place in range(len(self.question.group_by)))

    def _conditions(self, rollup: Rollup, values: dict[str, Any]) -> Iterator[str]:
        if rollup.condition:
            yield rollup.condition
        if self.question.sources is not None:
            values["sources"] = list(self.question.sources)
            yield f"{rollup.source} IN {{sources:Array(String)}}"
        if self.question.filter is not None:
            yield filters.predicate(self.question.filter, rollup.dimensions, values)

    def _pieces(self, buckets: Sequence[Bucket]) -> list[tuple[Rollup, list[Piece]]]:
        """Return what each rollup gives of the buckets, in the order of the candidates."""
        found: list[list[Piece]] = [[] for _ in self.candidates]
        for index, bucket in enumerate(buckets):
            start, end = (int(one.timestamp()) for one in (bucket.start, bucket.end))
            for place, piece in self._cut(Piece(index, start, end), 0):
                found[place].append(piece)
        return [
            (rollup, sorted(pieces, key=lambda piece: piece.start))
            for rollup, pieces in zip(self.candidates, found, strict=True)
            if pieces
        ]

    def _cut(self, piece: Piece, place: int) -> Iterator[tuple[int, Piece]]:
        """Yield the pieces that rollups from ``place`` on give of a piece."""
        for at in range(place, len(self.candidates)):
            rollup = self.candidates[at]
            grain = rollup.grain_seconds or 1
            start, end = -(-piece.start // grain) * grain, piece.end // grain * grain
            is_whole = (start, end) == (piece.start, piece.end)
            if not (is_whole or self.definition.adds_up) or start >= end:
                continue
            if not rollup.is_divisible and end - start != grain:
                continue
            if start < rollup.kept_since(self.now).timestamp():
                continue
            yield at, Piece(piece.index, start, end)
            for rest in ((piece.start, start), (end, piece.end)):
                if rest[0] < rest[1]:
                    yield from self._cut(Piece(piece.index, *rest), at + 1)
            return
        raise self._refusal(piece)

    def _refusal(self, piece: Piece) -> ProblemError:
        """Return why no rollup gives a piece."""
        fitting = [
            rollup
            for rollup in self.candidates
            if rollup.is_divisible
            and not any(bound % (rollup.grain_seconds or 1) for bound in (piece.start, piece.end))
        ]
        if fitting:
            since = min(rollup.kept_since(self.now) for rollup in fitting)
            offered = {rollup.name: _text(int(rollup.kept_since(self.now).timestamp()))
                       for rollup in self.candidates}  # fmt: skip
            return ProblemError(
                422,
                "beyond_retention",
                f"{self.metric} by these buckets and dimensions is kept since "
                f"{since:%Y-%m-%dT%H:%MZ}; the range begins at {_text(piece.start)}. A longer "
                "interval, fewer dimensions or UTC may reach further back.",
                extra={"metric": self.metric, "kept_since": offered},
            )
        finest = min((rollup.grain_seconds for rollup in self.candidates), default=0)
        return ProblemError(
            422,
            "not_exact",
            f"{self.metric} is known by windows of {finest} seconds from UTC midnight on, and "
            "these can't be put together: ask for an interval of that length, by all of its "
            "dimensions.",
            extra={"metric": self.metric, "grain_seconds": finest},
        )


def plan(question: Question, metric: str, registry: Registry) -> Plan:
    """Return how a metric of a question is computed.

    Raises ``ProblemError``: 403 where the asker may see single sources only and the metric can't
    tell them apart, 422 where no rollup is exact for what is asked, or keeps it no more.
    """
    definition = registry.metric(metric)
    wanted = {*question.group_by, *filters.dimensions(question.filter)}
    candidates = [
        rollup
        for rollup in definition.rollups
        if wanted <= set(rollup.dimensions)
        and (rollup.is_divisible or set(question.group_by) == set(rollup.dimensions))
    ]
    if not candidates:
        together = [sorted(rollup.dimensions) for rollup in definition.rollups]
        raise ProblemError(
            422,
            "unknown_dimension",
            f"No rollup of {metric} has {', '.join(sorted(wanted)) or 'all dimensions'} together. "
            f"There are: {'; '.join(', '.join(names) for names in together)}.",
            extra={"metric": metric, "dimensions": together},
        )
    if question.sources is not None:
        candidates = [rollup for rollup in candidates if rollup.source]
        if not candidates:
            telling = [one.name for one in registry.metrics.values() if _tells_sources(one)]
            raise ProblemError(
                403,
                "all_sources_needed",
                f"You may see some sources only, and {metric} (or a dimension asked for) does not "
                f"tell sources apart. These do: {', '.join(telling)}.",
                extra={"metric": metric, "metrics": telling},
            )
    found = Plan(metric, question, definition, tuple(candidates), registry.read_at)
    _ = found.tables  # refused here where no rollup gives a bucket
    return found


def _tells_sources(metric: Metric) -> bool:
    return any(rollup.source for rollup in metric.rollups)


def _text(seconds: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S}"
