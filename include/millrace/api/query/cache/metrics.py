"""What Prometheus learns of the cache."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

ANSWERS = Counter(
    "millrace_query_cache_answers", "Answers given, by where they were found.", ["layer"]
)
SHADOW_CHECKS = Counter(
    "millrace_query_cache_shadow_checks",
    "Answers from the cache that were computed again, by how they compared: equal, different (an "
    "incident), unsettled (numbers changed meanwhile), failed (could not be computed).",
    ["outcome"],
)
REDIS_FAILURES = Counter(
    "millrace_query_cache_redis_failures", "Requests that Redis refused or was too slow for."
)
PROCESS_BYTES = Gauge(
    "millrace_query_cache_process_bytes",
    "Bytes that answers take in the process.",
    multiprocess_mode="livesum",
)
