"""What reads JSON outside the gate reads it as the gate does, and changes nothing of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.contract import json_text
from millrace.rules import store
from millrace.rules.compiler import compile_gate
from tests.unit.rules.conftest import AROUND, ChdbEngine
from tests.unit.rules.fuzz import messages

UNREADABLE = {"empty_message||contract", "malformed_json||contract"}


def judged(engine: ChdbEngine, values: list[bytes]) -> list[dict[str, Any]]:
    """Return what the gate makes of messages."""
    engine.load(values)
    gate = compile_gate(store.seeded_rules(), AROUND)
    statement = gate.statement("fuzzed", claimed_at="kafka_timestamp")
    return engine.rows(f"SELECT * FROM ({statement}) ORDER BY offset")


def rewritten(value: bytes) -> bytes | None:
    """Return a message after it was read and written; nothing where it can't be read.

    One that is nested deeper than Python reads (some 900 levels; the gate, 1,023) is passed over.
    """
    try:
        return json_text.dump(json_text.read(value.decode("utf-8-sig")))
    except ValueError:
        return None
    except RecursionError:
        return value


@pytest.mark.slow
def test_a_message_that_was_read_and_written_is_the_same_to_the_gate(engine):
    values = list(messages(seed=11, count=20_000))
    made = [rewritten(value) for value in values]
    before = judged(engine, values)
    after = judged(engine, [b"" if value is None else value for value in made])
    for value, again, one, other in zip(values, made, before, after, strict=True):
        if again is None:
            assert set(one["failures"]) <= UNREADABLE, value
        else:
            assert json.dumps(one) == json.dumps(other), (value, again)
