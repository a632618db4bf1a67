"""A plan's buckets in pieces whose rows are kept apart, so that what is over stays in the cache."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import orjson

from millrace.api.query import filters, ranges, wide
from millrace.api.query.cache.generations import Span, span
from millrace.api.query.plans import Plan, Statement
from millrace.api.query.ranges import Bucket

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Piece:
    """Some of a question's buckets, whose rows are kept together, and under which key.

    Some may be beyond the question's range: ``first`` is the place of the first among those of the
    question, before which (and after the last of which) there are none that are asked for.
    The rows depend on what happened from ``start`` to before ``end``. ``wide_key`` is the key of
    values by which those of many filters are told (``wide``); empty: there are none.
    """

    buckets: tuple[Bucket, ...]
    first: int
    key: str
    start: datetime
    end: datetime
    wide_key: str = ""


@dataclass(frozen=True)
class Planned:
    """How a metric of a question is computed, and in which pieces."""

    plan: Plan
    pieces: list[Piece]

    @cached_property
    def spans(self) -> list[Span]:
        """Of which rows the generation tells whether a piece still holds, by piece."""
        return [span(self.plan.tables, piece.start, piece.end) for piece in self.pieces]

    def statement(self, numbers: Sequence[int]) -> Statement:
        """Return the SELECT of some of the pieces."""
        chosen = itertools.chain.from_iterable(self.pieces[number].buckets for number in numbers)
        return self.plan.statement(list(chosen))

    def wide_statement(self, number: int) -> Statement:
        """Return the SELECT of a piece's values by the dimensions that are filtered by."""
        asked = replace(self.plan.question, group_by=self.plan.spread, filter=None)
        by_all = replace(self.plan, question=asked)
        return by_all.of_every_group(self.pieces[number].buckets, wide.MOST_ROWS)

    def shape(self, number: int) -> str:
        """Return what tells how many rows a piece has by the dimensions that are filtered by."""
        piece, asked = self.pieces[number], self.plan.question
        length = (piece.end - piece.start).total_seconds() // 3600
        return f"{self.plan.metric} {self.plan.spread} {asked.interval} {length}"

    def parted(self, numbers: Sequence[int], rows: list[list[Any]]) -> list[list[list[Any]]]:
        """Return what the SELECT gave, by piece; buckets are counted from each piece's first."""
        ends = list(itertools.accumulate(len(self.pieces[number].buckets) for number in numbers))
        parts: list[list[list[Any]]] = [[] for _ in numbers]
        for index, *rest in rows:
            part = bisect.bisect_right(ends, index)
            parts[part].append([index - (ends[part - 1] if part else 0), *rest])
        return parts


def pieces(made: Plan, now: datetime) -> list[Piece]:
    """Cut a question's buckets: days that are over, the hours since, and the hour that runs.

    Groups that are limited by their totals are asked for the whole range at once. Buckets shorter
    than an hour are asked by whole hours, so that a range that slides with the clock begins no
    piece anew every few minutes.
    """
    question, key, wide_key = made.question, _key(made), _wide_key(made)
    buckets, before = question.buckets, 0
    hour = now.replace(minute=0, second=0, microsecond=0)
    if question.group_by or len(buckets) == 1:
        ordered = [0, len(buckets)]
    else:
        buckets, before = _by_whole_hours(made)
        bounds = (hour.replace(hour=0), hour)
        over = [sum(bucket.end <= bound for bucket in buckets) for bound in bounds]
        ordered = sorted({0, *over, len(buckets)})
    pieces = []
    for first, last in itertools.pairwise(ordered):
        start, end = buckets[first].start, buckets[last - 1].end
        stretch = f"{start:%Y%m%dT%H%M}:{end:%Y%m%dT%H%M}"
        is_running = end > hour and bool(made.spread)
        if question.group_by:  # which groups there are depends on the range that ranks them
            start, end = min(start, question.ranking.start), max(end, question.ranking.end)
        own, shared = f"{key}:{stretch}", f"{wide_key}:{stretch}" if is_running else ""
        pieces.append(Piece(buckets[first:last], first - before, own, start, end, shared))
    return pieces


def _by_whole_hours(made: Plan) -> tuple[tuple[Bucket, ...], int]:
    """Return a question's buckets with those of its first and last hour, and how many go before."""
    asked = made.question
    start = asked.start.replace(minute=0, second=0, microsecond=0)
    end = asked.end + (start - asked.end) % HOUR
    if (start, end) == (asked.start, asked.end):
        return asked.buckets, 0
    found = ranges.buckets(start, end, asked.interval, asked.zone)
    before = next((at for at, one in enumerate(found) if one == asked.buckets[0]), 0)
    is_same = found[before : before + len(asked.buckets)] == asked.buckets
    return (found, before) if is_same and made.gives(found) else (asked.buckets, 0)


def _key(made: Plan) -> str:
    """Return what a plan's rows depend on, but for the buckets and what the tables hold."""
    asked = made.question
    return _digest(made, [
        made.metric, asked.interval, asked.zone, asked.group_by, filters.text(asked.filter),
        asked.sources, made.rollup, repr(made.candidates),
        # Of groups, the answer has the largest of a range, and no others.
        (asked.limit, asked.ranking.start, asked.ranking.end) if asked.group_by else None,
    ])  # fmt: skip


def _wide_key(made: Plan) -> str:
    """Return what the rows of a plan's wide statement depend on."""
    asked = made.question
    return _digest(made, [
        "wide", made.metric, asked.interval, asked.zone, made.spread, asked.sources, made.rollup,
        repr(made.candidates),
    ])  # fmt: skip


def _digest(made: Plan, parts: list[Any]) -> str:
    digest = hashlib.blake2b(orjson.dumps(parts), digest_size=16).hexdigest()
    return f"metric:{made.metric}:{digest}"
