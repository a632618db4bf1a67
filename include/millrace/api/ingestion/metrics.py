"""What Prometheus scrapes: events by verdict, and how long requests take, over all workers."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Histogram

EVENTS = Counter(
    "millrace_ingestion_events",
    "Events acknowledged, by what was said of them.",
    ["source_id", "verdict"],
)
REQUESTS = Histogram(
    "millrace_ingestion_request_seconds",
    "Seconds from a request's first byte to its answer.",
    ["family", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

events = lru_cache(maxsize=4096)(EVENTS.labels)
requests = lru_cache(maxsize=4096)(REQUESTS.labels)
"""The counters by their labels: to look them up costs more than to count."""
