"""What Prometheus and Millrace's own query API are asked alike, and when."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from tests.integration.promql.reference import Prometheus
from tests.integration.promql.samples import START, Sample, samples

MINUTE = 60_000
BEGIN = (int(time.time()) // 3600 - 4) * 3600
"""When the samples begin: they end an hour ago at the latest."""
INSTANT = (BEGIN * 1000 + 100 * MINUTE + 500,) * 2 + (1,)
"""Off the edges of windows, where Prometheus 2 and 3 agree (tests/integration/promql)."""
RANGE = (BEGIN * 1000 + 30 * MINUTE + 500, BEGIN * 1000 + 170 * MINUTE, 7 * MINUTE + 13_000)

EXPRESSIONS = """
1 + 1
-1.5e20
vector(1e-9) / 0
"text"
time()
millrace_page_views
millrace_page_views{country="US", device=~"m.+"}
millrace_odd_values
millrace_constants
sum by (country) (millrace_page_views)
sum(millrace_page_views) by (country) / sum(millrace_page_views offset 30m) by (country)
sort_desc(sum by (country) (millrace_page_views))
sort(sum by (country) (millrace_page_views))
topk(3, millrace_page_views)
sum(rate(millrace_handled_total[5m]))
increase(millrace_handled_total{job="ingest"}[17m])
histogram_quantile(0.9, sum by (le) (rate(millrace_took_bucket[10m])))
max_over_time(sum(millrace_page_views)[30m:5m])
millrace_page_views > on (country) group_left () millrace_target
{__name__=~"millrace_page_.*", country="US"}
absent(millrace_nosuch{country="DE"})
millrace_nosuch
millrace_once
millrace_page_views{country="US"} @ end()
quantile by (country) (0.5, millrace_page_views)
scalar(millrace_threshold) * 2
label_replace(millrace_info, "where", "$1", "region", "(.*)")
millrace_page_views and on (country) millrace_target
millrace_lag{partition="0"}[2m]
max_over_time(millrace_lag{partition="0"}[10m])[20m:5m]
""".strip().splitlines()

REFUSED = [
    ("query", {"query": "sum("}, 400),
    ("query", {}, 400),
    ("query", {"query": "1", "time": "yesterday"}, 400),
    ("query", {"query": "1", "timeout": "soon"}, 400),
    ("query", {"query": "millrace_page_views * on (country) millrace_page_views"}, 422),
    ("query_range", {"query": "1", "start": "1", "end": "0", "step": "1"}, 400),
    ("query_range", {"query": "1", "start": "0", "end": "60", "step": "0"}, 400),
    ("query_range", {"query": "1", "start": "0", "end": "60", "step": "-1m"}, 400),
    ("query_range", {"query": "1", "start": "0", "end": "11001", "step": "1"}, 400),
    ("query_range", {"query": "a[5m]", "start": "0", "end": "60", "step": "15s"}, 400),
    ("query_range", {"query": '"text"', "start": "0", "end": "60", "step": "15s"}, 400),
    ("series", {}, 400),
    ("series", {"match[]": "sum(a)"}, 400),
    ("label/1nvalid/values", {}, 400),
]

PARAMETERS = {
    "query": ("sum(visits)", "sum("),
    "time": (BEGIN + 3601, "yesterday"),
    "start": (BEGIN, "yesterday"),
    "end": (BEGIN + 7200, "tomorrow"),
    "step": ("1m", "0"),
    "timeout": ("30s", "soon"),
    "limit": (1, -1),
    "lookback_delta": ("10m", "never"),
    "match[]": ("visits", "sum(visits)"),
    "metric": ("visits", "x" * 501),
    "name": ("country", "1nvalid"),
    "type": ("alert", "all"),
    "rule_name[]": ("traffic_drop", ["traffic_drop"] * 101),
}
"""What each parameter may be, and what it may not."""


def shifted() -> list[Sample]:
    """The samples as Millrace's own metrics, on whole seconds and not long ago."""
    return [
        replace(row, name=f"millrace_{row.name}", at=row.at + (BEGIN - START) * 1000)
        for row in samples()
        if row.at % 1000 == 0
    ]


def asked(prometheus: Prometheus, path: str, **parameters: Any) -> tuple[Any, Any]:
    """Return what both ways to ask give, which is the same."""
    url = f"/api/v1/{path}"
    by_get = prometheus.client.get(url, params=parameters)
    by_post = prometheus.client.post(url, data=parameters)
    assert by_post.json()["data"] == by_get.json()["data"]
    return by_get.status_code, by_get.json()
