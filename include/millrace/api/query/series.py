"""A metric's series, put together of what each bucket shows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from millrace.api.query.answer import MetricAnswer, Point, Series
from millrace.api.query.plans import Plan
from millrace.api.query.worth import Status

Number = float | int
Group = tuple[str, ...]
Readings = dict[Group, list[tuple[Number | None, Status, str]]]
"""By group, what each bucket shows: a value or none, its status, and the reason."""


def metric_answer(
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


def _total(adds_up: bool, values: list[float | int | None]) -> float | int | None:
    known = [value for value in values if value is not None]
    return sum(known) if adds_up and known else None


def _largest(series: Series) -> float:
    return max((point.value or 0 for point in series.points), default=0)
