"""The samples that Prometheus and Millrace are both asked about, drawn by a fixed seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

START = 1_704_110_400  # 2024-01-01T12:00:00Z
MINUTES = 180


@dataclass(frozen=True)
class Sample:
    """One sample; ``at`` is in ms since 1970."""

    name: str
    labels: tuple[tuple[str, str], ...]
    at: int
    value: float


def _series(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


def samples(seed: int = 7) -> Iterator[Sample]:
    """Yield gauges, counters with resets, gaps, NaN, infinities, buckets, uneven series."""
    rng = random.Random(seed)

    def emit(
        series: tuple[str, tuple[tuple[str, str], ...]], minute: float, value: float
    ) -> Sample:
        return Sample(series[0], series[1], round((START + minute * 60) * 1000), value)

    for country in ("US", "DE", "FR", "BR"):
        for device in ("mobile", "desktop", "tablet"):
            level = rng.uniform(20, 400)
            views = _series("page_views", country=country, device=device)
            errors = _series("page_errors", country=country, device=device)
            for minute in range(MINUTES):
                if (country, device) == ("BR", "tablet") and 60 <= minute < 75:
                    continue  # gone silent for longer than the lookback
                if rng.random() < 0.03:
                    continue
                rhythm = 1 + 0.3 * math.sin(minute / 25)
                yield emit(views, minute, round(level * rhythm * rng.uniform(0.8, 1.2), 3))
                if device != "tablet":
                    yield emit(errors, minute, float(rng.randrange(0, 9)))

    for job in ("ingest", "export"):
        for worker in ("0", "1", "2"):
            total, series = 0.0, _series("handled_total", job=job, worker=worker)
            for minute in range(MINUTES):
                if rng.random() < 0.02:
                    total = 0.0  # restarted
                total += rng.randrange(0, 500)
                jitter = rng.uniform(0, 0.4) if worker == "2" else 0
                yield emit(series, minute + jitter, total)

    for partition in range(6):
        series = _series("lag", topic="events", partition=str(partition))
        value = 0.0
        for step in range(MINUTES * 4):
            value = max(0.0, value + rng.gauss(0.4, 10))
            if rng.random() < 0.9:
                yield emit(series, step / 4, round(value, 2))

    odd = _series("odd_values", kind="mixed")
    choices = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e12, -1e-12, 3.5, -7.25]
    for minute in range(0, MINUTES, 2):
        yield emit(odd, minute, rng.choice(choices))
    for kind, value in (("nan", math.nan), ("inf", math.inf), ("zero", 0.0), ("minus", -42.5)):
        for minute in range(MINUTES):
            yield emit(_series("constants", kind=kind), minute, value)

    bounds = ("0.1", "0.5", "1", "2.5", "5", "+Inf")
    for path in ("/", "/cart", "/pay"):
        counts = dict.fromkeys(bounds, 0.0)
        for minute in range(MINUTES):
            for _ in range(rng.randrange(1, 30)):
                took = rng.expovariate(1.2)
                for bound in bounds:
                    counts[bound] += took <= float(bound)
            for bound in bounds:
                yield emit(_series("took_bucket", path=path, le=bound), minute, counts[bound])

    for minute in range(MINUTES):
        yield emit(_series("target", country="US"), minute, 250.0)
        yield emit(_series("target", country="DE"), minute, 120.0)
        yield emit(_series("target", country="FR"), minute, 1000.0)
        yield emit(_series("info", country="US", region="americas", tier="1"), minute, 1.0)
        yield emit(_series("info", country="DE", region="europe", tier="2"), minute, 1.0)
        yield emit(_series("info", country="FR", region="europe", tier="1"), minute, 1.0)
        yield emit(_series("threshold"), minute, 90.0 + minute)
    yield emit(_series("once"), 100, 5.0)


def openmetrics(rows: list[Sample]) -> str:
    """Return the samples as OpenMetrics text, grouped by metric as the format demands."""
    lines = []
    for name in sorted({row.name for row in rows}):
        lines.append(f"# TYPE {name} unknown")
        for row in sorted((r for r in rows if r.name == name), key=lambda r: (r.labels, r.at)):
            inside = ",".join(f'{key}="{value}"' for key, value in row.labels)
            value = {math.inf: "+Inf", -math.inf: "-Inf"}.get(row.value, repr(row.value))
            lines.append(f"{name}{{{inside}}} {value} {row.at / 1000:.3f}")
    return "\n".join([*lines, "# EOF", ""])
