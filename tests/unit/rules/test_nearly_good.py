"""What the ingestion API is certain of, the gate accepts: tried on events that are nearly good.

CI takes 40,000; ``NEARLY_GOOD=1000000`` (with ``--timeout 7200``) takes so many.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import msgspec
import pytest

from millrace.api.ingestion.certificate import FEW, Certificate
from millrace.rules.checks import Surroundings
from millrace.rules.compiler import compile_gate
from tests.helpers.nearly_good import EXTRA, NOW, TYPES, good, message, seeds
from tests.unit.rules.conftest import ChdbEngine

COUNT = int(os.environ.get("NEARLY_GOOD", "40000"))
CHUNK = 10_000
RULES = [*seeds(), *EXTRA]
CERTIFICATE = Certificate(RULES, TYPES, message_max_bytes=1 << 20, retention_days=90)


def reasons(engine: ChdbEngine, values: list[bytes]) -> list[list[str]]:
    """Return what the gate has against each message, received now."""
    engine.load(values)
    moment = NOW.strftime("%Y-%m-%d %H:%M:%S.%f")[:23]
    came = f"SELECT * REPLACE (toDateTime64('{moment}', 3, 'UTC') AS kafka_timestamp) FROM fuzzed"
    gate = compile_gate(RULES, Surroundings(TYPES, 1 << 20, 90))
    statement = gate.statement(f"({came})", claimed_at="kafka_timestamp")
    rows = engine.rows(f"SELECT offset, failures FROM ({statement}) ORDER BY offset")
    assert [int(row["offset"]) for row in rows] == list(range(len(values)))  # none lost
    return [row["failures"] for row in rows]


@pytest.mark.slow
def test_what_is_certain_is_accepted(engine: ChdbEngine) -> None:
    for seed in range(-(-COUNT // CHUNK)):
        rng = random.Random(20261129 + seed)
        beside = [good(rng) for _ in range(FEW)]
        made = [message(rng) for _ in range(min(CHUNK, COUNT - seed * CHUNK))]
        # As they were sent, or as an SDK's that were translated.
        asked: list[tuple[bytes | dict[str, Any], bytes]] = [
            (raw, raw) if seed % 2 else (event, msgspec.json.encode(event)) for event, raw in made
        ]
        encoded = [json.dumps(one).encode() for one in beside]
        others: list[Any] = encoded if seed % 2 else beside  # told together with it, or it alone
        users = [
            CERTIFICATE.users([*others, event], [*encoded, value], NOW)[-1]
            for event, value in asked
        ]
        told = reasons(engine, [value for _, value in asked])
        wrong = [
            (value, why)
            for user, (_, value), why in zip(users, asked, told, strict=True)
            if user and why
        ]
        assert not wrong, (seed, wrong[:5])
        accepted = sum(not why for why in told)
        assert sum(map(bool, users)) > 0.6 * accepted  # most of those need no question
