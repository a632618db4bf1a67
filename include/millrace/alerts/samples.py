"""Where alert expressions find their samples: published metrics and Millrace's own."""

from __future__ import annotations

import re

from millrace.alerts.promql.nodes import quote
from millrace.stores import sql

OWN_PREFIX = "millrace_"
"""Metrics with this prefix are in ``pipeline_metrics``; all others are published by dbt."""

TOTAL_SUFFIX = "_total"
"""``<metric>_total`` is the counter of a summable published metric."""


class StoredSamples:
    """Samples in ClickHouse: ``analytics.metrics`` and ``pipeline_metrics``."""

    def select(self, name: str | None, condition: str, since: str, until: str) -> str:
        """Return the SELECT of samples that ``promql.nodes.Samples`` describes."""
        base = ""
        if name is None:
            source = "both"
        elif name.startswith(OWN_PREFIX):
            source = "own"
        elif name.endswith(TOTAL_SUFFIX) and re.fullmatch(r"[a-zA-Z0-9_:]+", name):
            source, base = "total", name.removesuffix(TOTAL_SUFFIX)
        else:
            source = "published"
        return sql.render(
            "clickhouse/alerts/samples.sql",
            source=source,
            base=base,
            named=quote(name) if name is not None and source in ("published", "own") else "",
            condition=condition,
            since=since,
            until=until,
        )
