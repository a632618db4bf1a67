"""A plan's buckets in pieces whose rows are kept apart, so that what is over stays in the cache."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from millrace.api.query import filters
from millrace.api.query.plans import Plan, Statement


@dataclass(frozen=True)
class Piece:
    """Some of a question's buckets, whose rows are kept together, and under which key.

    The rows depend on what happened from ``start`` to before ``end``.
    """

    buckets: range
    key: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Planned:
    """How a metric of a question is computed, and in which pieces."""

    plan: Plan
    pieces: list[Piece]

    def statement(self, numbers: Sequence[int]) -> Statement:
        """Return the SELECT of some of the pieces."""
        buckets = self.plan.question.buckets
        chosen = itertools.chain.from_iterable(self.pieces[number].buckets for number in numbers)
        return self.plan.statement([buckets[index] for index in chosen])

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

    Groups that are limited by their totals are asked for the whole range at once.
    """
    question, key = made.question, _key(made)
    buckets = question.buckets
    if question.group_by or len(buckets) == 1:
        ordered = [0, len(buckets)]
    else:
        hour = now.replace(minute=0, second=0, microsecond=0)
        bounds = (hour.replace(hour=0), hour)
        over = [sum(bucket.end <= bound for bucket in buckets) for bound in bounds]
        ordered = sorted({0, *over, len(buckets)})
    pieces = []
    for first, last in itertools.pairwise(ordered):
        start, end = buckets[first].start, buckets[last - 1].end
        name = f"{key}:{start:%Y%m%dT%H%M}:{end:%Y%m%dT%H%M}"
        if question.group_by:  # which groups there are depends on the range that ranks them
            start, end = min(start, question.ranking.start), max(end, question.ranking.end)
        pieces.append(Piece(range(first, last), name, start, end))
    return pieces


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
