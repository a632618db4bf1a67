"""The compiled gate and a plain-Python reference agree on arbitrary messages.

CI takes 20,000; ``FUZZ=1000000`` (with ``--timeout 7200``) takes so many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

import pytest

from millrace.rules import store
from millrace.rules.checks import Surroundings
from millrace.rules.compiler import compile_gate
from tests.unit.rules.conftest import AROUND, KAFKA_TIME, ChdbEngine
from tests.unit.rules.fuzz import messages
from tests.unit.rules.reference import judge

CHUNK = 5_000
AT = datetime.fromisoformat(KAFKA_TIME).replace(tzinfo=UTC)


def disagreements(
    engine: ChdbEngine, values: list[bytes], around: Surroundings = AROUND
) -> list[str]:
    """Return a line for each message of which gate and reference say different things."""
    engine.load(values)
    gate = compile_gate(store.seeded_rules(), around)
    statement = gate.statement("fuzzed", claimed_at="kafka_timestamp")
    rows = engine.rows(f"SELECT offset, failures FROM ({statement}) ORDER BY offset")
    assert [int(row["offset"]) for row in rows] == list(range(len(values)))  # none lost
    found = []
    for value, row in zip(values, rows, strict=True):
        expected = judge(
            value,
            kafka_time=AT,
            event_types=set(AROUND.event_types),
            max_bytes=around.message_max_bytes,
            kept_days=AROUND.events_retention_days,
        )
        if row["failures"] != expected:
            found.append(f"{value[:400]!r}\n  gate      {row['failures']}\n  reference {expected}")
    return found


def run(engine: ChdbEngine, seed: int, count: int) -> list[str]:
    """Compare ``count`` messages in chunks."""
    stream = messages(seed, count)
    found: list[str] = []
    while chunk := list(islice(stream, CHUNK)):
        found += disagreements(engine, chunk)
    return found


@pytest.mark.slow
def test_gate_and_reference_agree(engine):
    assert run(engine, seed=7, count=int(os.environ.get("FUZZ", "20000"))) == []


def giants() -> Iterator[bytes]:
    """Yield messages of 10 MB: sound, garbage, deep, of many fields, with a field that is long."""
    for filler in (b"x", b"\\u00e9", b"\xff", "\u4e2d".encode()):
        body = filler * (10_000_000 // len(filler))
        yield b'{"a":"' + body + b'"}'
        yield b'{"event":"' + body + b'","page":"' + body[:9000] + b'"}'
        yield body
    yield b"[" * 10_000_000
    yield b'{"x":' * 2_000_000
    yield b"{" + b",".join(b'"field_%d":%d' % (n, n) for n in range(500_000)) + b"}"
    yield b'{"amount":' + b"9" * 10_000_000 + b"}"


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1 << 20, 16 << 20])
def test_ten_megabytes(engine, limit):
    around = replace(AROUND, message_max_bytes=limit)
    for value in giants():
        assert disagreements(engine, [value], around) == []
