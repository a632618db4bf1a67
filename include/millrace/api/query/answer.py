"""An answer: values, what each is worth, and what finding them took."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from millrace.api.query.changes import Change
from millrace.api.query.questions import Question
from millrace.api.query.ranges import Bucket
from millrace.api.query.worth import Status

_LAYERS = ("process", "redis", "computed", "stale")
"""Where a piece came from; of several, the last of these is told."""


@dataclass
class Cost:
    """What an answer took."""

    rows_read: int = 0
    rollups: set[str] = field(default_factory=set)
    layer: str = "process"
    computed_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def add(self, layer: str, computed_at: datetime) -> None:
        """Count a piece in."""
        self.layer = max(self.layer, layer, key=_LAYERS.index)
        self.computed_at = min(self.computed_at, computed_at)


@dataclass(frozen=True)
class Point:
    """A bucket's value; ``None`` where there is none, and ``status`` says why."""

    bucket: Bucket
    value: float | int | None
    status: Status
    reason: str
    compared: float | int | None = None


@dataclass(frozen=True)
class Series:
    """One group's points, and their sum where they add up."""

    group: dict[str, str]
    points: list[Point]
    total: float | int | None
    compared_total: float | int | None


@dataclass(frozen=True)
class MetricAnswer:
    """One metric's series, the largest first."""

    name: str
    unit: str
    kind: str
    meaning: str
    series: list[Series]


@dataclass(frozen=True)
class Answer:
    """The answer to a question; ``following`` is the cursor of groups that follow, if some do."""

    question: Question
    compared: Question | None
    metrics: list[MetricAnswer]
    changes: list[Change]
    cost: Cost
    complete_until: datetime
    generation: str
    following: str | None = None
