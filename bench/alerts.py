"""How long 500 alert rules take: ``python bench/alerts.py``.

Starts an engine of its own with a day of samples (50 metrics, 40 series each, one a minute), then
judges 500 rules of ten shapes at one minute and over an hour that was missed. Two things are
measured beside it in the same run: as many empty statements over the same connections (what asking
costs), and all samples read once (what the data costs). Needs no running stack.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.alerts.evaluation import Evaluator
from millrace.alerts.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse

RULES = 500
METRICS, SERIES, MINUTES = 50, 40, 1440
PORT = 27101
RESULTS = Path(__file__).parent / "results" / "alerts.json"

SHAPES = (
    "{m} > 900",
    "sum by (country) ({m}) > 20000",
    "sum(sum_over_time({m}[5m])) < 0.8 * sum(sum_over_time({m}[5m] offset 1h))",
    "rate({m}[10m]) > 100",
    "max by (device) ({m}) > 2 * avg by (device) (avg_over_time({m}[1h]))",
    "absent({m})",
    "topk(3, {m}) > 990",
    "quantile by (country) (0.9, {m}) > 950",
    "{m} / on (country, device) {n} > 400",
    "sum by (country) ({m} offset 1h) > 100 unless sum by (country) ({m})",
)


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds something took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Run the benchmark; print and keep the result."""
    with tempfile.TemporaryDirectory() as home:
        options = ["--path", f"{home}/clickhouse", "--port", str(PORT)]
        engine = subprocess.Popen([sys.executable, "-m", "millrace.stack.engine", *options])
        try:
            url = f"http://default@127.0.0.1:{PORT}/millrace"
            result = measure(Settings(home=Path(home), clickhouse_url=url))
        finally:
            engine.terminate()
            engine.wait(30)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def rules() -> list[Rule]:
    """Return the rules, each over one or two of the metrics."""
    expressions = [
        SHAPES[i % len(SHAPES)].format(
            m=f"millrace_bench_{i % METRICS}", n=f"millrace_bench_{(i + 1) % METRICS}"
        )
        for i in range(RULES)
    ]
    return [
        Rule(f"rule_{i}", expression, "warning", "bench", "none", [])
        for i, expression in enumerate(expressions)
    ]


def fill(settings: Settings, end: datetime) -> None:
    """Write the samples of the day before ``end``."""
    client = clickhouse.connect(settings)
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
    client.close()


def measure(settings: Settings) -> dict[str, float]:
    """Fill the engine and measure. Raises ``RuntimeError`` if a rule fails."""
    wait_for_engine(settings)
    clickhouse.migrate(settings)
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    fill(settings, end)
    subjects = rules()
    with Evaluator(settings) as evaluator:
        found = evaluator.evaluate(subjects, end, end)[end]  # warms connections and caches
        failed = [result.detail for result in found.values() if result.status == "error"]
        if failed:
            raise RuntimeError(f"{len(failed)} rules failed: {failed[0]}")
        one = [timed(lambda: evaluator.evaluate(subjects, end, end)) for _ in range(3)]
        hour = timed(lambda: evaluator.evaluate(subjects, end - timedelta(minutes=59), end))

    clients = [clickhouse.connect(settings) for _ in range(settings.alert_threads)]

    def ask(index: int) -> None:
        for _ in range(RULES // len(clients)):
            clients[index].query("SELECT 1")

    with ThreadPoolExecutor(len(clients)) as pool:
        empty = timed(lambda: list(pool.map(ask, range(len(clients)))))
    query = "SELECT metric_name, sum(value) FROM pipeline_metrics GROUP BY metric_name"
    whole = timed(lambda: clients[0].query(query))
    return {
        "rules": RULES,
        "samples": METRICS * SERIES * MINUTES,
        "series_for_which_a_rule_holds": sum(len(result.series) for result in found.values()),
        "one_minute_seconds_best": round(min(one), 2),
        "one_minute_seconds_worst": round(max(one), 2),
        "milliseconds_per_rule": round(min(one) / RULES * 1000, 1),
        "sixty_missed_minutes_seconds": round(hour, 2),
        "sixty_minutes_over_one": round(hour / min(one), 2),
        "as_many_empty_statements_seconds": round(empty, 2),
        "one_minute_over_empty_statements": round(min(one) / empty, 1),
        "all_samples_read_once_seconds": round(whole, 3),
    }


def wait_for_engine(settings: Settings) -> None:
    """Return when the engine answers. Raises the client's error after a minute."""
    until = time.monotonic() + 60
    while True:
        try:
            clickhouse.connect(settings, database="default").close()
        except ClickHouseError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    main()
