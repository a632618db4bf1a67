"""What validation costs per event, with no rule, 20 and 200 rules.

Run it with ``./millrace bench validation``. The engine runs in this process on one thread; every
variant reads the same events, in turns, and the best of its turns counts. Rates are compared with
the gate without rules (the event contract alone). Results go to bench/results/validation.json.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import uuid
from pathlib import Path

import pyarrow as pa
import typer
from chdb import _chdb

from millrace.rules import store
from millrace.rules.checks import Surroundings
from millrace.rules.compiler import compile_gate
from millrace.rules.model import Rule

EVENTS = 100_000
TURNS = 3
TYPES = ("page_view", "click", "search", "add_to_cart", "purchase")
AROUND = Surroundings(TYPES, message_max_bytes=1 << 20, events_retention_days=90)


def event(rng: random.Random) -> bytes:
    """Return an event of about 220 bytes; one in a hundred is bad."""
    made = {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "event": rng.choice(TYPES),
        "timestamp": f"2026-01-01T11:{rng.randrange(60):02}:{rng.randrange(60):02}.123Z",
        "user_id": -1 if rng.random() < 0.01 else rng.randrange(1, 100_000),
        "page": f"/product/{rng.randrange(1000)}",
        "country": rng.choice(["US", "DE", "FR"]),
        "device": rng.choice(["mobile", "desktop"]),
        "referrer": "google",
        "amount": rng.randrange(10_000) / 100,
    }
    return json.dumps(made, separators=(",", ":")).encode()


def rules(count: int) -> list[Rule]:
    """Return rules of every common kind, over nine fields, four in five for one event type."""
    configs = [
        {"check": "range", "field": "amount", "min": 0},
        {"check": "range", "field": "amount", "max": 1000000},
        {"check": "pattern", "field": "country", "pattern": "^[A-Z]{2}$"},
        {"check": "allowed_values", "field": "device", "values": ["mobile", "desktop", "tv"]},
        {"check": "length", "field": "page", "max": 2048},
        {"check": "required", "field": "page"},
        {"check": "type", "field": "referrer", "type": "string"},
        {"check": "allowed_values", "field": "referrer", "values": ["google", "bing", "direct"]},
        {"check": "condition", "then": {"field": "amount", "op": "less", "value": 1000000}},
        {"check": "length", "field": "campaign", "max": 100},
        {"check": "range", "field": "discount", "min": 0, "max": 1},
    ]
    made = []
    for number in range(count):
        config = dict(configs[number % len(configs)])
        if "max" in config:
            config["max"] = config["max"] + number  # no two rules are the same expression
        if "values" in config:
            config["values"] = [*config["values"], f"v{number}"]
        scope = None if number % 5 == 0 else TYPES[number % len(TYPES)]
        made.append(Rule(f"rule_{number}", "validation", config, event_type=scope))
    return made


def main() -> None:
    """Measure, print and write the results."""
    rng = random.Random(1)
    engine = _chdb.connect(":memory:")
    engine.query("SET max_threads = 1, max_query_size = 100000000", "TSV")
    engine.query(
        "CREATE TABLE incoming (topic String, topic_incarnation UInt8, partition UInt32, "
        "offset UInt64, kafka_timestamp DateTime64(3, 'UTC') DEFAULT '2026-01-01 12:00:00', "
        "key String, value String, headers String) ENGINE = Memory",
        "TSV",
    )
    values = [event(rng) for _ in range(EVENTS)]
    sink = pa.BufferOutputStream()
    table = pa.table({"offset": range(EVENTS), "value": values})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    insert = engine.send_insert("INSERT INTO incoming (offset, value)", "ArrowStream")
    engine.insert_append(insert, sink.getvalue().to_pybytes())
    engine.insert_done(insert)

    variants = {
        "contract only": [],
        "seeded rules": store.seeded_rules(),
        "20 rules": rules(20),
        "200 rules": rules(200),
    }
    statements = {
        name: compile_gate(made, AROUND).statement(claimed_at="kafka_timestamp")
        for name, made in variants.items()
    }
    best = dict.fromkeys(statements, float("inf"))
    for _ in range(TURNS):
        for name, statement in statements.items():
            before = resource.getrusage(resource.RUSAGE_SELF)
            engine.query(statement, "Null")
            after = resource.getrusage(resource.RUSAGE_SELF)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            best[name] = min(best[name], spent)
    base = best["contract only"]
    results = {
        name: {
            "cpu_seconds_per_million": round(spent / EVENTS * 1e6, 3),
            "events_per_cpu_second": round(EVENTS / spent),
            "rate_against_contract_only": round(base / spent, 3),
        }
        for name, spent in best.items()
    }
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    report = {"events": EVENTS, "bytes_per_event": sum(map(len, values)) // EVENTS} | results
    (folder / "validation.json").write_text(json.dumps(report, indent=2) + "\n")
    json.dump(report, sys.stdout, indent=2)
    engine.close()


if __name__ == "__main__":
    typer.run(main)
