"""The samples in ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from clickhouse_connect.driver.client import Client
from tests.integration.promql.samples import samples

from millrace.settings import Settings
from millrace.stores import clickhouse
from millrace.stores.quoting import literal


class TestSamples:
    """Where the compiler finds them."""

    __test__ = False

    def select(self, names: Sequence[str] | None, condition: str, since: str, until: str) -> str:
        """Return the SELECT of samples that the compiler asks for."""
        named = "1" if names is None else f"name IN ({', '.join(map(literal, names))})"
        return (
            f"SELECT labels, ts, value FROM promql_samples WHERE {named} AND {condition} "
            f"AND ts >= {since} AND ts <= {until}"
        )


@contextmanager
def stored(settings: Settings) -> Iterator[Client]:
    """Hold the samples for the time of a ``with`` block."""
    client = clickhouse.connect(settings)
    client.command(
        "CREATE OR REPLACE TABLE promql_samples (name String, labels Map(String, String), "
        "ts Int64, value Float64) ENGINE = MergeTree ORDER BY (name, ts)"
    )
    rows = [
        [row.name, dict(sorted([("__name__", row.name), *row.labels])), row.at, row.value]
        for row in samples()
    ]
    client.insert("promql_samples", rows, column_names=["name", "labels", "ts", "value"])
    yield client
    client.command("DROP TABLE promql_samples")
    client.close()
