"""What the HTTP server adds to chDB: the same queries in process and over HTTP, in one run.

    PYTHONPATH=. python bench/engine_overhead.py

Writes ``bench/results/engine_overhead.json`` and prints ratios (HTTP time over in-process time).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

ROWS = 5_000_000
TABLE = "CREATE OR REPLACE TABLE bench (id UInt64, name String) ENGINE = MergeTree ORDER BY id"
Times = dict[str, tuple[float, float]]


def timed(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of ``repeats`` calls, in milliseconds."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    times.sort()
    return statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]


def arrow_body() -> bytes:
    """Return rows as an Arrow stream of batches."""
    ids = pa.array(range(ROWS), pa.uint64())
    names = pa.array([f"name {i % 1000}" for i in range(ROWS)])
    sink = pa.BufferOutputStream()
    table = pa.table({"id": ids, "name": names})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, 200_000)
    return bytes(sink.getvalue())


def in_process(body: bytes, folder: str) -> Times:
    """Measure chDB alone, in a process that shares nothing with the server."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    child = context.Process(target=measure_handle, args=(body, folder, results))
    child.start()
    measured: Times = results.get()
    child.join()
    return measured


def measure_handle(body: bytes, folder: str, results: Any) -> None:
    """Measure one chDB handle."""
    from chdb import _chdb

    handle = _chdb.connect(folder)

    def stream() -> None:
        result = handle.send_query("SELECT id, name FROM bench", "Native")
        while (part := handle.streaming_fetch_result(result)) is not None and part.size():
            part.bytes()

    def insert() -> None:
        handle.query(TABLE, "Null")
        result = handle.send_insert("INSERT INTO bench", "ArrowStream")
        for start in range(0, len(body), 1 << 20):
            handle.insert_append(result, body[start : start + (1 << 20)])
        handle.insert_done(result)

    found = {"insert": timed(insert, 3), "stream": timed(stream, 5)}
    found["small"] = timed(lambda: handle.query("SELECT 1", "TSV").bytes(), 300)
    results.put(found)
    os._exit(0)


def over_http(body: bytes, folder: Path) -> Times:
    """Measure the same over HTTP."""
    from tests.helpers import engine as engines

    with engines.running(folder) as engine, engine.http() as client:

        def ask(sql: str) -> bytes:
            return client.post("/", content=sql).raise_for_status().content

        def stream() -> None:
            sql = "SELECT id, name FROM bench FORMAT Native"
            with client.stream("POST", "/", content=sql) as response:
                for _ in response.iter_raw(1 << 20):
                    continue

        def insert() -> None:
            ask(TABLE)
            query = {"query": "INSERT INTO bench FORMAT ArrowStream"}
            client.post("/", params=query, content=body).raise_for_status()

        found = {"insert": timed(insert, 3), "stream": timed(stream, 5)}
        found["small"] = timed(lambda: ask("SELECT 1"), 300)
        official = engine.client()
        found["small, clickhouse-connect"] = timed(lambda: official.command("SELECT 1"), 300)
        return found


def main() -> None:
    """Measure both and write the ratios."""
    body = arrow_body()
    with tempfile.TemporaryDirectory() as folder:
        direct = in_process(body, f"{folder}/direct")
        served = over_http(body, Path(folder) / "served")
    direct["small, clickhouse-connect"] = direct["small"]
    result = {
        "rows": ROWS,
        "bytes": len(body),
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "milliseconds": {
            name: {
                "in process, median": round(direct[name][0], 2),
                "over HTTP, median": round(served[name][0], 2),
                "over HTTP, p99": round(served[name][1], 2),
                "ratio": round(served[name][0] / direct[name][0], 2),
            }
            for name in served
        },
    }
    target = Path(__file__).parent / "results" / "engine_overhead.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
