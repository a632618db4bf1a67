"""What the ingest benchmarks share: a stack of their own, traffic, and CPU by process."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace import waiting
from millrace.ingest import topics
from millrace.ingest.plan import plan
from millrace.ingest.worker import Share, Worker
from millrace.lab import stacks
from millrace.lab.simulate import faults
from millrace.lab.simulate.traffic import Traffic
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, kafka, postgres

RESULTS = Path(__file__).parent / "results"
SERVERS = ("kafka", "clickhouse", "postgres")


@contextmanager
def running(**extra: str) -> Iterator[Stack]:
    """Bring up a data stack in a temporary folder; ``Settings()`` resolves to it."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("terminated")
    )  # take the stack down then, too
    with (
        tempfile.TemporaryDirectory(prefix="millrace-bench-", dir="/tmp") as folder,
        stacks.running(Path(folder), with_airflow=False, **extra) as stack,
        stacks.variables(
            {
                "MILLRACE_HOME": str(stack.settings.home),
                "MILLRACE_PORT_BASE": str(stack.settings.port_base),
                **extra,
            }
        ),
    ):
        create_minute_rollup(stack.settings)
        yield stack


def await_engine(settings: Settings) -> Client:
    """Wait until an engine that was just started answers, and prepare its tables."""

    def answers() -> bool:
        try:
            clickhouse.connect(settings, database="default").close()
        except (ClickHouseError, OSError):
            return False
        return True

    waiting.until(answers, "the engine to answer", seconds=60)
    clickhouse.migrate(settings)
    return clickhouse.connect(settings)


def create_minute_rollup(settings: Settings) -> None:
    """Create a 1-minute rollup as a view on ``events``, as dbt's finest model is."""
    client = clickhouse.connect(settings)
    client.command(
        "CREATE TABLE bench_minute (minute DateTime('UTC'), event_type LowCardinality(String), "
        "country LowCardinality(String), device LowCardinality(String), events UInt64) "
        "ENGINE = SummingMergeTree ORDER BY (minute, event_type, country, device) "
        "SETTINGS non_replicated_deduplication_window = 10000"
    )
    client.command(
        "CREATE MATERIALIZED VIEW bench_minute_view TO bench_minute AS SELECT "
        "toStartOfMinute(event_time) AS minute, event_type, country, device, count() AS events "
        "FROM events GROUP BY minute, event_type, country, device"
    )
    client.close()


def send(
    settings: Settings,
    count: int,
    *,
    seed: int,
    padding: int = 0,
    topic: str | None = None,
    with_faults: bool = True,
) -> int:
    """Send simulated traffic as fast as it goes; return its bytes.

    ``padding`` makes every event longer by so many characters, as a text of many words.
    """
    traffic = Traffic(
        seed,
        datetime.now(UTC).isoformat(),
        faults.rates({"huge": 0.0} if with_faults else {}, with_defaults=with_faults),
        message_max_bytes=settings.message_max_bytes,
        retention_days=settings.events_retention_days,
    )
    producer = kafka.producer(settings, **{"queue.buffering.max.messages": 1_000_000})
    words = " ".join(f"word{n % 977}" for n in range(padding // 6))
    extra = f',"context":"{words}"}}'.encode() if padding else b""
    sent_bytes, sent = 0, 0
    now = datetime.now(UTC)
    while sent < count:
        size = min(20_000, count - sent)
        last = int(now.timestamp() * 1000)
        chunk = traffic.chunk(last - 600_000, last, size, sent_at=now)
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            body = value[:-1] + extra if padding and value and value.endswith(b"}") else value
            sent_bytes += len(body or b"")
            while True:
                try:
                    producer.produce(topic or settings.events_topic, body, key=key)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
        sent += size
    producer.flush()
    return sent_bytes


def hold_ids(settings: Settings, count: int) -> None:
    """Have ``count`` published events of the last day, merged, and their ids in the register."""
    client = clickhouse.connect(settings)
    step = 1_000_000
    for first in range(0, count, step):
        client.command(
            "INSERT INTO events (event_id, event_time, event_type, user_id, page, country, device, "
            "received_at, ingested_at, source_id, topic, topic_incarnation, partition, offset) "
            "SELECT generateUUIDv4(), at, 'page_view', cityHash64(number) % 200000, "
            "concat('/product/', toString(number % 1000)), 'US', 'mobile', at, at, 'events', "
            "'earlier', 0, number % 6, number FROM (SELECT number, now64(3, 'UTC') - "
            "toIntervalSecond(3600 + number % 72000) AS at "
            f"FROM numbers({first}, {min(step, count - first)}))"
        )
    # Merging these events and writing them to the disk is not for the ingest that follows to pay.
    client.command("OPTIMIZE TABLE events FINAL")
    settle(client)
    os.sync()
    client.command("TRUNCATE TABLE event_id_register")
    client.close()


class DrainingWorker(Worker):
    """A worker that ends once its partitions are read to the end that they had at the start."""

    def drain(self) -> dict[str, Any]:
        """Load until there; return the totals."""
        ends = topics.offsets(self.settings, self.source.topic, self.partitions)
        self.ends = {p: high for p, (_, high) in ends.items()}
        return self.run(600).as_dict()

    def is_over(self) -> bool:
        """Tell whether the end is reached."""
        self.lease.check()
        return bool(self.positions) and all(
            self.positions[p].next_offset >= end for p, end in self.ends.items()
        )


@contextmanager
def loading(settings: Settings) -> Iterator[str]:
    """Plan, and have a process per task load until the block ends; yields the run's id.

    The block begins when the workers hold all partitions, whatever their start took.
    """
    run_id = f"bench-{time.time_ns()}"
    shares = plan(settings, run_id)
    context = multiprocessing.get_context("spawn")
    ended = context.Event()
    workers = [context.Process(target=_work, args=(share, run_id, ended)) for share in shares]
    for worker in workers:
        worker.start()
    try:
        _await_owners(settings, run_id, sum(len(share["partitions"]) for share in shares))
        yield run_id
    finally:
        ended.set()
        for worker in workers:
            worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a worker failed; see above")


def _await_owners(settings: Settings, run_id: str, partitions: int) -> None:
    query = "SELECT count(*) = %s AS is_done FROM ingest_positions WHERE owner ~ %s"
    with postgres.connect(settings) as connection:

        def all_have_one() -> bool:
            row = connection.execute(query, [partitions, f"^{run_id}/[0-9]"]).fetchone()
            return bool(row and row["is_done"])

        waiting.until(all_have_one, "the workers to own every partition", seconds=60)


def settle(client: Client) -> None:
    """Wait until what was written is merged, as it is some time later."""
    running = "SELECT count() FROM system.merges"
    waiting.until(
        lambda: client.query(running).result_rows == [(0,)], "the merges to end", seconds=300
    )


class EndableWorker(Worker):
    """A worker that ends when it is told to."""

    ended: Any = None

    def is_over(self) -> bool:
        """Tell whether it was told to end."""
        return super().is_over() or self.ended.is_set()


def _work(share: dict[str, Any], run_id: str, ended: Any) -> None:
    worker = EndableWorker(Settings(), Share.from_dict(share), run_id)
    worker.ended = ended
    worker.run(600)


def load(stack: Stack) -> dict[str, Any]:
    """Plan, and load what is in the topic with a process per task; return rates and CPU."""
    settings = stack.settings
    run_id = f"bench-{time.time_ns()}"
    began = time.monotonic()
    shares = plan(settings, run_id)
    plan_seconds = time.monotonic() - began
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(len(shares) + 1), context.Queue()
    workers = [
        context.Process(target=_load_share, args=(share, run_id, gate, results)) for share in shares
    ]
    for worker in workers:
        worker.start()
    gate.wait(60)
    before = {name: cpu_seconds(stack.pid(name)) for name in SERVERS}
    began = time.monotonic()
    done = [results.get(timeout=900) for _ in workers]
    seconds = time.monotonic() - began
    spent = {name: cpu_seconds(stack.pid(name)) - before[name] for name in SERVERS}
    for worker in workers:
        worker.join()
    messages = sum(d["messages"] for d in done)
    spent["loaders"] = sum(d["cpu"] for d in done)
    millions = max(messages, 1) / 1e6
    return {
        "messages": messages,
        "bytes": sum(d["bytes"] for d in done),
        "seconds": round(seconds, 2),
        "messages_per_second": round(messages / seconds),
        "megabytes_per_second": round(sum(d["bytes"] for d in done) / seconds / 1e6, 1),
        "batches": sum(d["batches"] for d in done),
        "plan_seconds": round(plan_seconds, 2),
        "cpu_seconds_per_million": {k: round(v / millions, 2) for k, v in spent.items()},
        "cores_used": round(sum(spent.values()) / seconds, 2),
        "loader_messages_per_core_second": round(messages / max(spent["loaders"], 1e-9)),
    }


def _load_share(share: dict[str, Any], run_id: str, gate: Any, results: Any) -> None:
    worker = DrainingWorker(Settings(), Share.from_dict(share), run_id)
    gate.wait(60)
    before = own_cpu()
    done = worker.drain()
    results.put(done | {"cpu": own_cpu() - before})


def own_cpu() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and its children."""
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def conditions() -> dict[str, Any]:
    """What the numbers were made on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_average": [round(x, 1) for x in os.getloadavg()],
        "python": platform.python_version(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
    }


def write(name: str, results: dict[str, Any]) -> None:
    """Print results and write them to ``results/<name>.json``."""
    text = json.dumps({"conditions": conditions(), **results}, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
