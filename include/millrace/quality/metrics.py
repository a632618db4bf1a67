"""Quality metrics: per hour and source, against targets. Their SQL is the definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg.rows import DictRow

from millrace.contract.metrics import Sample, write
from millrace.contract.sources import Source
from millrace.quality.windows import Window
from millrace.stores import sql

TARGETS = {
    "completeness": 0.9999,
    "consistency": 1.0,
    "timeliness": 0.998,
    "uniqueness": 1.0,
    "accuracy": 0.9997,
}
"""Least share of good ones, by metric."""

MEANINGS = {
    "completeness": "messages received that became an event or were rejected",
    "consistency": "those messages that became exactly one of the two, once",
    "timeliness": "events read within a minute of reaching Kafka",
    "uniqueness": "events whose id no other event of the hour has",
    "accuracy": "sampled events whose id, user and type are the message's, save what rules change",
}
"""What each metric is the share of, for people."""

ON_TIME_SECONDS = 60
SAMPLED_EVENTS = 200_000
"""Events of an hour that accuracy reads again, about."""


@dataclass(frozen=True)
class Metric:
    """A metric of one hour and source."""

    hour: datetime
    source_id: str
    name: str
    good: int
    total: int

    @property
    def value(self) -> float:
        """The share of good ones; 1 where there were none at all."""
        return self.good / self.total if self.total else 1.0

    @property
    def is_met(self) -> bool:
        """Whether the target is reached."""
        return self.value >= TARGETS[self.name]


COMPARED = ("event_id", "user_id", "event")
"""Fields that accuracy compares, as the contract calls them in a message."""


Changed = tuple[str, str, str]
"""A source, a field of its events that rules change, and the type of event (empty: all)."""


def changed(connection: psycopg.Connection[DictRow], hour: Window) -> list[Changed]:
    """Return which of the fields that accuracy compares rules may have changed in an hour's events.

    Where a rule changes the type of event, which events another is about can't be told afterwards.
    """
    found = connection.execute(
        sql.render("postgres/quality/changed_fields.sql"),
        {"since": hour.start, "fields": list(COMPARED)},
    ).fetchall()
    unsure = {row["source_id"] for row in found if row["field"] == "event"}
    return [
        (
            row["source_id"],
            row["field"],
            "" if row["source_id"] in unsure else row["event_type"],
        )
        for row in found
    ]


def measure(
    client: Client,
    hour: Window,
    sources: Sequence[Source] = (),
    changed: Sequence[Changed] = (),
) -> list[Metric]:
    """Compute one hour's metrics.

    Args:
        client: Where events and messages are.
        hour: The hour in which Kafka got the messages.
        sources: Have the names that messages have for fields.
        changed: The fields in which an event may differ from its message.
    """
    bounds = {"start": hour.start, "end": hour.end}
    ((events,),) = client.query(
        sql.render("clickhouse/quality/count_received.sql"), parameters=bounds
    ).result_rows
    rows = client.query(
        sql.render("clickhouse/quality/metrics.sql"),
        parameters={
            **bounds,
            "on_time_seconds": ON_TIME_SECONDS,
            "sample_step": max(1, int(events) // SAMPLED_EVENTS),
            "changed": list(changed),
            "sources": [source.source_id for source in sources],
            **{
                f"{name}_keys": [source.field_names.get(name, name) for source in sources]
                for name in COMPARED
            },
        },
    ).result_rows
    return [Metric(hour.start, source, name, good, total) for source, name, good, total in rows]


def keep(client: Client, metrics: list[Metric], now: datetime) -> None:
    """Write metrics where dashboards and alerts look.

    For alerts they are ``millrace_quality_ratio`` and ``millrace_quality_target_ratio``.
    """
    if not metrics:
        return
    client.insert(
        "quality_metrics",
        [
            [m.hour, m.source_id, m.name, m.value, TARGETS[m.name], m.good, m.total, now]
            for m in metrics
        ],
        column_names=[
            "hour",
            "source_id",
            "metric",
            "value",
            "target",
            "good",
            "total",
            "computed_at",
        ],
    )
    samples: list[Sample] = []
    for metric in metrics:
        labels = {"source_id": metric.source_id, "metric": metric.name}
        samples.append(("millrace_quality_ratio", metric.value, labels))
        samples.append(("millrace_quality_target_ratio", TARGETS[metric.name], labels))
    write(client, now, samples)
