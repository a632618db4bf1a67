"""An answer as JSON, CSV or Arrow, and the models that describe the JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
from pydantic import BaseModel, Field

from millrace.api.query.answer import Answer, MetricAnswer
from millrace.api.query.questions import Question

JSON, CSV, ARROW = (
    "application/json",
    "text/csv; charset=utf-8",
    "application/vnd.apache.arrow.stream",
)


class PointModel(BaseModel):
    """A bucket's value."""

    start: datetime
    end: datetime
    value: float | int | None = Field(description="Null where status says why there is none.")
    status: str = Field(description="complete, provisional, withheld, no_data or future.")
    reason: str | None = Field(None, description="Why it is not complete.")
    compared: float | int | None = Field(None, description="The value of the earlier period.")


class SeriesModel(BaseModel):
    """A group's points, in order."""

    group: dict[str, str]
    total: float | int | None = Field(description="The sum of its values, where they add up.")
    compared_total: float | int | None = None
    points: list[PointModel]


class MetricModel(BaseModel):
    """A metric's series, the largest first."""

    name: str
    unit: str
    kind: str = Field(description="sum: values of windows and groups add up; gauge: they do not.")
    meaning: str
    series: list[SeriesModel]


class RangeModel(BaseModel):
    """A range of time, in UTC; its end is not in it."""

    start: datetime
    end: datetime
    interval: str = Field(description="Empty: one bucket, the whole range.")
    zone: str


class ChangeModel(BaseModel):
    """Why past numbers of the range changed, and when."""

    cause: str
    detail: str
    at: datetime
    start: datetime
    end: datetime


class StatisticsModel(BaseModel):
    """What the answer took, and how fresh it is."""

    rollup: list[str] = Field(description="The rollups that it was computed from.")
    rows_read: int = Field(description="Rows that ClickHouse read for it now.")
    elapsed_ms: float
    cache: str = Field(description="process, redis, computed or stale.")
    computed_at: datetime = Field(description="When the oldest of its numbers was computed.")
    complete_until: datetime = Field(description="Up to when everything is in the numbers.")
    generation: str = Field(description="Changes when the answer does; its ETag.")


class AnswerModel(BaseModel):
    """The answer to a question."""

    metrics: list[MetricModel]
    range: RangeModel
    compared: RangeModel | None = None
    changes: list[ChangeModel]
    statistics: StatisticsModel
    next: str | None = Field(None, description="The cursor of the groups that follow.")


def as_json(answer: Answer, elapsed_seconds: float) -> bytes:
    """Return the answer as ``AnswerModel`` has it."""
    cost = answer.cost
    document: dict[str, Any] = {
        "metrics": [_metric(metric) for metric in answer.metrics],
        "range": _range(answer.question),
        "compared": None if answer.compared is None else _range(answer.compared),
        "changes": [vars(change) for change in answer.changes],
        "next": answer.following,
        "statistics": {
            "rollup": sorted(cost.rollups),
            "computed_at": cost.computed_at,
            "complete_until": answer.complete_until,
            "generation": answer.generation,
            # The last members are what ``bodies`` says again of an answer that is sent again.
            "rows_read": cost.rows_read,
            "cache": cost.layer,
            "elapsed_ms": round(elapsed_seconds * 1000, 3),
        },
    }
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def _metric(metric: MetricAnswer) -> dict[str, Any]:
    return {
        "name": metric.name,
        "unit": metric.unit,
        "kind": metric.kind,
        "meaning": metric.meaning,
        "series": [
            {
                "group": series.group,
                "total": series.total,
                "compared_total": series.compared_total,
                "points": [
                    {
                        "start": point.bucket.start,
                        "end": point.bucket.end,
                        "value": point.value,
                        "status": point.status,
                        "reason": point.reason or None,
                        "compared": point.compared,
                    }
                    for point in series.points
                ],
            }
            for series in metric.series
        ],
    }


def _range(question: Question) -> dict[str, Any]:
    return {
        "start": question.start,
        "end": question.end,
        "interval": question.interval,
        "zone": question.zone,
    }


def _rows(answer: Answer) -> Iterator[list[Any]]:
    """Yield a row for each metric, group and bucket."""
    for metric in answer.metrics:
        for series in metric.series:
            groups = [series.group[name] for name in answer.question.group_by]
            for point in series.points:
                yield [
                    metric.name,
                    point.bucket.start,
                    point.bucket.end,
                    *groups,
                    point.value,
                    point.status,
                    point.reason,
                    point.compared,
                ]


def columns(answer: Answer) -> list[str]:
    """Return the names of the columns of CSV and Arrow."""
    groups = answer.question.group_by
    return ["metric", "start", "end", *groups, "value", "status", "reason", "compared"]


def as_csv(answer: Answer) -> bytes:
    """Return the answer as a table with a header; times are ISO 8601 in UTC."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(answer))
    for row in _rows(answer):
        writer.writerow(
            f"{cell:%Y-%m-%dT%H:%M:%SZ}" if isinstance(cell, datetime) else cell for cell in row
        )
    return text.getvalue().encode()


def as_arrow(answer: Answer) -> bytes:
    """Return the answer as an Arrow stream of one batch."""
    names = columns(answer)
    time, text = pa.timestamp("s", "UTC"), pa.string()
    types = {"start": time, "end": time, "value": pa.float64(), "compared": pa.float64()}
    schema = pa.schema([(name, types.get(name, text)) for name in names])
    cells = list(zip(*_rows(answer), strict=True)) or [()] * len(names)
    arrays = [
        pa.array(
            [float(cell) if kind == pa.float64() and cell is not None else cell for cell in column],
            kind,
        )
        for column, kind in zip(cells, schema.types, strict=True)
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content
