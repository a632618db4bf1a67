"""Where alert expressions find their samples: published metrics and Millrace's own."""

from __future__ import annotations

from collections.abc import Sequence

from millrace.stores import sql
from millrace.stores.quoting import literal

OWN_PREFIX = "millrace_"
"""Metrics with this prefix are in ``pipeline_metrics``; all others are published by dbt."""

TOTAL_SUFFIX = "_total"
"""``<metric>_total`` is the counter of a summable published metric."""


class StoredSamples:
    """Samples in ClickHouse: ``analytics.metrics`` and ``pipeline_metrics``."""

    def select(self, names: Sequence[str] | None, condition: str, since: str, until: str) -> str:
        """Return the SELECT of samples that ``promql.nodes.Samples`` describes."""
        own, totals, published = [], [], []
        for name in names or ():
            if name.startswith(OWN_PREFIX):
                own.append(name)
            elif name.endswith(TOTAL_SUFFIX):
                totals.append(name.removesuffix(TOTAL_SUFFIX))
            else:
                published.append(name)
        return sql.render(
            "clickhouse/alerts/samples.sql",
            is_any=names is None,
            own=_listed(own),
            totals=_listed(totals),
            published=_listed(published),
            condition=condition,
            since=since,
            until=until,
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(literal, names))
