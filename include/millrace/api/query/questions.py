"""What people ask, read into one canonical form: equal questions are equal objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query import filters, parameters, ranges
from millrace.api.query.filters import Filter, FilterDocument
from millrace.api.query.ranges import Bucket, invalid
from millrace.api.query.registry import Metric, Registry

PARAMETERS = (
    "name", "range", "interval", "tz", "group_by", "filter", "compare", "limit", "complete_only",
)  # fmt: skip
NOT_OURS = ("format", "cursor", "max_age")
"""Parameters of the same request that say how the answer is to be given."""
MOST_METRICS, MOST_DIMENSIONS, MOST_GROUPS = 20, 4, 10_000
LONGEST_NUMBER = 9
LONGEST_FILTER = 32_768
"""In characters: values travel in the address of the statement, of which ClickHouse takes 1 MiB."""
DEFAULT_GROUPS = 100


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        metrics: Their names, as they were asked for, each once.
        start: Start of the range in UTC, aligned to the interval in the zone.
        end: Its end, which is not in it.
        interval: One of ``ranges.INTERVALS``, or empty: one bucket, the whole range.
        zone: IANA name.
        group_by: Dimensions, as they were asked for, each once.
        filter: Which rows count.
        compare: ``previous``, or how long before (``1w``); empty: with nothing.
        limit: How many groups at most, by their total over the range.
        is_complete_only: Whether unfinished buckets are left out.
        sources: The sources that the asker may see; ``None``: all.
        ranked: The range whose totals say which groups are the largest; ``None``: its own. An
            earlier period is asked for the groups of the one that it is compared with.
    """

    metrics: tuple[str, ...]
    start: datetime
    end: datetime
    interval: str = ""
    zone: str = "UTC"
    group_by: tuple[str, ...] = ()
    filter: Filter | None = None
    compare: str = ""
    limit: int = DEFAULT_GROUPS
    is_complete_only: bool = False
    sources: tuple[str, ...] | None = None
    ranked: tuple[datetime, datetime] | None = None

    @cached_property
    def key(self) -> str:
        """Its text in a cache's key: equal for equal questions, and for no others."""
        parts = [
            self.metrics, self.start.isoformat(), self.end.isoformat(), self.interval, self.zone,
            self.group_by, filters.text(self.filter), self.compare, self.limit,
            self.is_complete_only, self.sources, [one.isoformat() for one in self.ranked or ()],
        ]  # fmt: skip
        return json.dumps(parts, separators=(",", ":"))

    @property
    def ranking(self) -> Bucket:
        """The range whose totals say which groups are the largest."""
        return Bucket(*(self.ranked or (self.start, self.end)))

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        """The buckets of its range, in order."""
        return ranges.buckets(self.start, self.end, self.interval, self.zone)


@dataclass(frozen=True)
class Comparison:
    """The earlier period that a question's is compared with.

    ``counterparts`` has, for each bucket of the question, the index of the bucket of ``question``
    that it is compared with; none where it lies in the future, or where the earlier night had no
    such hour.
    """

    question: Question
    counterparts: tuple[int | None, ...]


def comparison(question: Question, until: datetime) -> Comparison | None:
    """Return what a question is compared with, if it is: of an unfinished period the same part.

    ``until`` is how far the question's own numbers go (to the minute, since rollups know no less).
    """
    if not question.compare:
        return None
    until = until.astimezone(UTC).replace(second=0, microsecond=0)
    own = [bucket for bucket in question.buckets if bucket.start < until]
    if not own:
        return None
    starts = tuple(bucket.start for bucket in own)
    moments = ranges.earlier(
        question.start,
        question.end,
        question.compare,
        question.zone,
        (*starts, own[-1].end),
    )
    end = moments[-1]
    if until < own[-1].end:
        end = min(end, moments[-2] + (until - own[-1].start))
    start = moments[0]
    if start >= end:
        return None
    ranked = (question.start, question.end) if question.group_by else None
    earlier = replace(question, start=start, end=end, compare="", ranked=ranked)
    places = {bucket.start: place for place, bucket in enumerate(earlier.buckets)}
    found = [places.pop(moment, None) for moment in moments[:-1]]
    found += [None] * (len(question.buckets) - len(own))
    return Comparison(earlier, tuple(found))


class QueryDocument(BaseModel):
    """A question as ``POST /v1/query`` takes it."""

    model_config = ConfigDict(extra="forbid")
    metrics: Annotated[list[str], Field(min_length=1, max_length=MOST_METRICS)]
    range: str = Field("7d", description=parameters.RANGE, max_length=100)
    interval: str = Field("", description=parameters.INTERVAL)
    tz: str = Field("UTC", description=parameters.ZONE)
    group_by: Annotated[list[str], Field(max_length=MOST_DIMENSIONS)] = []
    filter: FilterDocument | None = None
    compare: str = Field("", description=parameters.COMPARE)
    limit: int = Field(DEFAULT_GROUPS, description=parameters.LIMIT, ge=1, le=MOST_GROUPS)
    complete_only: bool = Field(False, description=parameters.COMPLETE_ONLY)
    cursor: str = Field("", description=parameters.CURSOR)
    max_age: float = Field(0, description=parameters.MAX_AGE, ge=0, le=parameters.MOST_AGE)
    format: str = Field("", description=parameters.FORMAT)

    @property
    def manner(self) -> dict[str, str]:
        """What it says of how the answer is to be given, as the parameters of a GET would."""
        return {
            name: str(getattr(self, name)) for name in NOT_OURS if name in self.model_fields_set
        }


def read_query(
    asked: Mapping[str, str], registry: Registry, now: datetime, whose: Principal
) -> Question:
    """Return the question of a GET. Raises ``ProblemError`` (400, 403, 422)."""
    unknown = sorted(set(asked) - {*PARAMETERS, *NOT_OURS})
    if unknown:
        known = ", ".join((*PARAMETERS, *NOT_OURS))
        raise invalid(unknown[0][:50], f"no such parameter. There are: {known}.")
    limit = asked.get("limit") or str(DEFAULT_GROUPS)
    if not (limit.isdecimal() and len(limit) <= LONGEST_NUMBER and 1 <= int(limit) <= MOST_GROUPS):
        raise invalid("limit", f"a number from 1 to {MOST_GROUPS}.")
    complete_only = asked.get("complete_only", "false").lower()
    if complete_only not in ("true", "false", "1", "0"):
        raise invalid("complete_only", "true or false.")
    read = filters.read(asked.get("filter", ""))
    document = QueryDocument.model_construct(
        metrics=_names(asked.get("name", "")),
        range=asked.get("range") or "7d",
        interval=asked.get("interval", ""),
        tz=asked.get("tz") or "UTC",
        group_by=_names(asked.get("group_by", "")),
        compare=asked.get("compare", ""),
        limit=int(limit),
        complete_only=complete_only in ("true", "1"),
    )
    return _question(document, read, registry, now, whose)


def read_document(
    document: QueryDocument, registry: Registry, now: datetime, whose: Principal
) -> Question:
    """Return the question of a POST. Raises ``ProblemError`` (400, 403, 422)."""
    read = None if document.filter is None else filters.of_document(document.filter)
    return _question(document, read, registry, now, whose)


def _question(
    document: QueryDocument,
    read: Filter | None,
    registry: Registry,
    now: datetime,
    whose: Principal,
) -> Question:
    names = tuple(dict.fromkeys(document.metrics))
    if not names:
        raise ProblemError(
            422,
            "unknown_metric",
            f"Say which metric: name=…. There are: {', '.join(registry.metrics)}.",
            extra={"metrics": list(registry.metrics)},
        )
    if len(filters.text(read)) > LONGEST_FILTER:
        raise invalid("filter", f"at most {LONGEST_FILTER:,} characters in all.")
    group_by = tuple(dict.fromkeys(document.group_by))
    if len(names) > MOST_METRICS or len(group_by) > MOST_DIMENSIONS:
        raise invalid(
            "name", f"at most {MOST_METRICS} metrics by {MOST_DIMENSIONS} dimensions at once."
        )
    for name in names:
        _check_dimensions(registry.metric(name), {*group_by, *filters.dimensions(read)})
    zone = ranges.read_zone(document.tz)
    start, end = ranges.read_range(document.range, document.interval, zone, now)
    interval = ranges.read_interval(document.interval, start, end)
    if interval != document.interval:
        start, end = ranges.read_range(document.range, interval, zone, now)
    question = Question(
        metrics=names,
        start=start,
        end=end,
        interval=interval,
        zone=zone,
        group_by=group_by,
        filter=read,
        compare=ranges.read_compare(document.compare),
        limit=document.limit if group_by else DEFAULT_GROUPS,
        is_complete_only=document.complete_only,
        sources=None if whose.sources is None else tuple(sorted(whose.sources)),
    )
    _ = question.buckets  # refused here if they are too many
    return question


def _check_dimensions(metric: Metric, wanted: set[str]) -> None:
    for name in sorted(wanted.difference(metric.dimensions)):
        there_are = ", ".join(metric.dimensions) or "none"
        raise ProblemError(
            422,
            "unknown_dimension",
            f"{metric.name} has no dimension {name[:100]!r}. There are: {there_are}.",
            extra={"metric": metric.name, "dimensions": list(metric.dimensions)},
        )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
