"""What Millrace says about itself: samples in ``pipeline_metrics``, where alert rules look.

Each feature's own module lists its metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from clickhouse_connect.driver.client import Client

Sample = tuple[str, float, Mapping[str, str]]
"""A metric's name (Prometheus style, unit last), its value, and its dimensions."""

COLUMNS = ("timestamp", "metric_name", "value", "dimensions")


def write(client: Client, at: datetime, samples: Iterable[Sample]) -> None:
    """Write samples that hold for a moment; of one written twice the last counts."""
    rows = [[at, name, value, dict(labels)] for name, value, labels in samples]
    if rows:
        client.insert("pipeline_metrics", rows, column_names=COLUMNS)
