"""The real engine in this process, for statements that need no server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from chdb import _chdb

from millrace.rules import store
from millrace.rules.checks import Surroundings
from millrace.rules.compiler import compile_gate
from millrace.rules.model import Rule, validate

KAFKA_TIME = "2026-01-01 12:00:00.000"
AROUND = Surroundings(
    event_types=("click", "page_view", "purchase"),
    message_max_bytes=1 << 20,
    events_retention_days=90,
)


def rule(name: str = "tested", **config: Any) -> Rule:
    """Return a rule of a config; a transformation if it transforms."""
    kind = "transformation" if "transform" in config else "validation"
    scope = {key: config.pop(key) for key in ("event_type", "mode", "priority") if key in config}
    made = Rule(name=name, rule_type=kind, config=config, **scope)
    validate(made)
    return made


class ChdbEngine:
    """A ClickHouse engine held in this process, with the one method that a gate's trial needs."""

    def __init__(self) -> None:
        self.connection = _chdb.connect(":memory:")
        self.command("SET max_query_size = 100000000")

    def command(self, statement: str) -> str:
        """Run a statement."""
        return bytes(self.connection.query(statement, "TSV").bytes()).decode()

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return a query's rows."""
        answer = bytes(self.connection.query(statement, "JSONEachRow").bytes())
        return [json.loads(line) for line in answer.splitlines()]

    def load(self, values: list[bytes]) -> None:
        """Put messages into the table ``fuzzed``, which has ``incoming``'s columns."""
        count = len(values)
        self.command("DROP TABLE IF EXISTS fuzzed")
        self.command(
            "CREATE TABLE fuzzed (topic String, topic_incarnation UInt8, partition UInt32, "
            f"offset UInt64, kafka_timestamp DateTime64(3, 'UTC') DEFAULT '{KAFKA_TIME}', "
            "key String, value String, headers String) ENGINE = Memory"
        )
        table = pa.table({"offset": pa.array(range(count), pa.uint64()), "value": values})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        insert = self.connection.send_insert("INSERT INTO fuzzed (offset, value)", "ArrowStream")
        self.connection.insert_append(insert, sink.getvalue().to_pybytes())
        self.connection.insert_done(insert)


@pytest.fixture(scope="session")
def engine() -> Iterator[ChdbEngine]:
    held = ChdbEngine()
    held.command("SET output_format_json_quote_64bit_integers = 1")
    yield held
    held.connection.close()


Judge = Callable[..., list[dict[str, Any]]]


def messages(values: list[bytes], kafka_time: str = KAFKA_TIME) -> str:
    """Return a FROM expression with ``incoming``'s columns that yields these values."""
    literals = ", ".join(f"unhex('{value.hex()}')" for value in values)
    return (
        "(SELECT 'events' AS topic, 0::UInt8 AS topic_incarnation, 0::UInt32 AS partition, "
        f"number AS offset, toDateTime64('{kafka_time}', 3, 'UTC') AS kafka_timestamp, "
        f"'' AS key, [{literals}][number + 1] AS value, '' AS headers "
        f"FROM numbers({len(values)}))"
    )


@pytest.fixture
def judge(engine: ChdbEngine) -> Judge:
    """Put messages through the gate made of some rules (the seeded ones unless told)."""

    def run(
        *values: bytes | dict[str, Any],
        rules: list[Rule] | None = None,
        around: Surroundings = AROUND,
        kafka_time: str = KAFKA_TIME,
    ) -> list[dict]:
        encoded = [v if isinstance(v, bytes) else json.dumps(v).encode() for v in values]
        used = store.seeded_rules() if rules is None else rules
        statement = compile_gate(used, around).statement(
            messages(encoded, kafka_time), claimed_at=f"toDateTime64('{KAFKA_TIME}', 3, 'UTC')"
        )
        return engine.rows(f"SELECT * FROM ({statement}) ORDER BY offset")

    return run


@pytest.fixture
def event() -> dict[str, Any]:
    """A valid event; tests spoil copies of it."""
    return {
        "event_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
        "event": "page_view",
        "timestamp": "2026-01-01T11:59:59.5Z",
        "user_id": 123,
        "page": "/product",
        "country": "US",
        "device": "mobile",
    }
