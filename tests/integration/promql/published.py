"""Published metrics of a test's own, in place of dbt's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from millrace.settings import Settings
from millrace.stores import clickhouse


@dataclass(frozen=True)
class Metric:
    """A metric, as ``analytics.metric_definitions`` describes it."""

    name: str
    grain_seconds: int = 60
    kind: str = "sum"
    meaning: str = "A number"
    unit: str = "things"
    dimensions: tuple[str, ...] = ("country", "device")
    model: str = "events"


@contextmanager
def published(metrics: Sequence[Metric], settings: Settings) -> Iterator[None]:
    """Put views of our own where dbt's are; what is written as ``published_NAME`` is in them.

    No other sample is there, in the beginning and at the end.
    """
    client = clickhouse.connect(settings)
    client.command("CREATE DATABASE IF NOT EXISTS analytics")
    is_built = client.command("EXISTS TABLE analytics.metrics")
    if is_built:
        for view in ("metrics", "metric_definitions"):
            client.command(f"RENAME TABLE analytics.{view} TO analytics.{view}_of_dbt")
    columns = {
        "metric_name": "String", "grain_seconds": "UInt32", "kind": "String",
        "meaning": "String", "unit": "String", "dimensions": "Array(String)",
        "model": "String",
    }  # fmt: skip
    definitions = ", ".join(
        f"('{m.name}', {m.grain_seconds}, '{m.kind}', '{m.meaning}', '{m.unit}', "
        f"{list(m.dimensions)}, '{m.model}')"
        for m in metrics
    )
    client.command(
        "CREATE VIEW analytics.metric_definitions AS SELECT *, true AS is_sampled FROM VALUES("
        f"'{', '.join(f'{name} {kind}' for name, kind in columns.items())}', {definitions})"
    )
    client.command(
        "CREATE VIEW analytics.metrics AS SELECT timestamp, value, dimensions, "
        "replaceOne(p.metric_name, 'published_', '') AS metric_name "
        "FROM pipeline_metrics AS p WHERE startsWith(p.metric_name, 'published_')"
    )
    client.command("TRUNCATE TABLE pipeline_metrics")
    yield
    client.command("TRUNCATE TABLE pipeline_metrics")
    for view in ("metrics", "metric_definitions"):
        client.command(f"DROP VIEW analytics.{view}")
        if is_built:
            client.command(f"RENAME TABLE analytics.{view}_of_dbt TO analytics.{view}")
    client.close()
