"""How long 500 alert rules take: ``./millrace bench alerts``.

Starts an engine of its own with a day of samples (50 metrics, 40 series each, one a minute), then
judges 500 rules at one minute and over an hour that was missed: once of ten shapes, each rule with
metrics and numbers of its own, and once no two of one shape, since every rule looks back a number
of seconds of its own (``offset 1s``, ``offset 2s``, …). Two things are measured beside it in the
same run: as many empty statements over the same connections (what asking costs), and all samples
read once (what the data costs). Needs no running stack.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer
from clickhouse_connect.driver.client import Client

from bench import bed
from millrace.alerts.evaluation import THREADS, Evaluator, batches
from millrace.alerts.model import Rule
from millrace.lab import engines
from millrace.settings import Settings
from millrace.stores import clickhouse

RULES = 500
METRICS, SERIES, MINUTES = 50, 40, 1440

SHAPES = (
    "{m}{o} > 900.{k}",
    "sum by (country) ({m}{o}) > 20000.{k}",
    "sum(sum_over_time({m}[5m]{o})) < 0.8{k} * sum(sum_over_time({m}[5m] offset 1h))",
    "rate({m}[10m]{o}) > 100.{k}",
    "max by (device) ({m}{o}) > 2.{k} * avg by (device) (avg_over_time({m}[1h]))",
    "absent({m}{o})",
    "topk(3, {m}{o}) > 990.{k}",
    "quantile by (country) (0.9, {m}{o}) > 950.{k}",
    "{m}{o} / on (country, device) {n} > 400.{k}",
    "sum by (country) ({m} offset 1h) > 100.{k} unless sum by (country) ({m}{o})",
)


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds something took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Run the benchmark; print and keep the result."""
    with (
        tempfile.TemporaryDirectory() as home,
        engines.running(Path(home) / "clickhouse") as engine,
    ):
        result = measure(Settings(home=Path(home), clickhouse_url=engine.settings_url))
    bed.write("alerts", result)


def rules(*, share_shapes: bool = True) -> list[Rule]:
    """Return the rules, each over one or two of the metrics."""
    return [
        Rule(f"rule_{i}", expression, "warning", "bench", "none", [])
        for i in range(RULES)
        for k in [i // len(SHAPES)]
        for expression in [
            SHAPES[i % len(SHAPES)].format(
                m=f"millrace_bench_{k % METRICS}",
                n=f"millrace_bench_{(k + 1) % METRICS}",
                k=f"{k:02}",
                o="" if share_shapes else f" offset {k + 1}s",
            )
        ]
    ]


def fill(client: Client, end: datetime) -> None:
    """Write the samples of the day before ``end``."""
    client.command(
        "INSERT INTO pipeline_metrics (timestamp, metric_name, value, dimensions) "
        "SELECT {end:DateTime('UTC')} - 60 * (number % 1440), "
        "concat('millrace_bench_', toString(intDiv(number, 57600))), rand() % 1000, "
        "map('country', concat('c', toString(intDiv(number, 1440) % 10)), "
        "'device', concat('d', toString(intDiv(number, 14400) % 4))) "
        f"FROM numbers({METRICS * SERIES * MINUTES})",
        parameters={"end": end},
    )
    client.command("OPTIMIZE TABLE pipeline_metrics FINAL")


def measure(settings: Settings) -> dict[str, Any]:
    """Fill the engine and measure. Raises ``RuntimeError`` if a rule fails."""
    client = bed.await_engine(settings)
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    fill(client, end)
    with Evaluator(settings) as evaluator:
        shared = judge(evaluator, rules(), end)
        unshared = judge(evaluator, rules(share_shapes=False), end)

    clients = [clickhouse.connect(settings) for _ in range(THREADS)]

    def ask(index: int) -> None:
        for _ in range(RULES // len(clients)):
            clients[index].query("SELECT 1")

    with ThreadPoolExecutor(len(clients)) as pool:
        empty = timed(lambda: list(pool.map(ask, range(len(clients)))))
    query = "SELECT metric_name, sum(value) FROM pipeline_metrics GROUP BY metric_name"
    whole = timed(lambda: client.query(query))
    best = "one_minute_seconds_best"
    return {
        "rules": RULES,
        "samples": METRICS * SERIES * MINUTES,
        "of_ten_shapes": shared,
        "no_two_of_one_shape": unshared,
        "no_two_of_one_shape_over_of_ten": round(unshared[best] / shared[best], 1),
        "as_many_empty_statements_seconds": round(empty, 2),
        "all_samples_read_once_seconds": round(whole, 3),
    }


def judge(evaluator: Evaluator, subjects: list[Rule], end: datetime) -> dict[str, float]:
    """Judge rules at ``end``, and at each of the sixty minutes up to it."""
    found = evaluator.evaluate(subjects, end, end)[end]  # warms connections and caches
    failed = [result.detail for result in found.values() if result.status == "error"]
    if failed:
        raise RuntimeError(f"{len(failed)} rules failed: {failed[0]}")
    one = [timed(lambda: evaluator.evaluate(subjects, end, end)) for _ in range(3)]
    hour = timed(lambda: evaluator.evaluate(subjects, end - timedelta(minutes=59), end))
    return {
        "shapes": len({rule.parsed.shape.key for rule in subjects}),
        "statements": len(batches(subjects)),
        "statements_for_sixty_minutes": len(batches(subjects, 60)),
        "series_for_which_a_rule_holds": sum(len(result.series) for result in found.values()),
        "one_minute_seconds_best": round(min(one), 2),
        "one_minute_seconds_worst": round(max(one), 2),
        "milliseconds_per_rule": round(min(one) / RULES * 1000, 1),
        "sixty_missed_minutes_seconds": round(hour, 2),
    }


if __name__ == "__main__":
    typer.run(main)
