"""The gates in force: compiled after each change that they depend on, and before each load."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from millrace.ingest import plan as ingest
from millrace.rules import baselines, gate, store
from millrace.rules.gate import KeptGate
from millrace.rules.store import Connection
from millrace.settings import Settings
from millrace.stores import postgres


def change(settings: Settings, work: Callable[[Connection], None]) -> list[KeptGate]:
    """Make a change of the rules and compile the gates in one transaction; return the gates.

    Raises ``RuleError`` when the rules make no statement that runs; nothing has changed then.
    """
    with postgres.connect(settings) as connection, store.change(connection):
        work(connection)
        return gate.compile_all(connection, settings)


def compile_all(settings: Settings) -> list[KeptGate]:
    """Compile the gate of every active source, if anything that it depends on has changed."""
    with postgres.connect(settings) as connection:
        return gate.compile_all(connection, settings)


def refresh_baselines(settings: Settings, older_than: timedelta = timedelta(0)) -> list[str]:
    """Compute what is usual for the rules that ask, and compile the gates with it.

    Returns the names of the rules whose baselines were computed.
    """
    names = baselines.refresh(settings, older_than=older_than)
    compile_all(settings)
    return names


def plan(settings: Settings, run_id: str, attempt: int = 1) -> list[dict[str, Any]]:
    """Compile the gates and plan a run of ingest; return its shares, one per task."""
    compile_all(settings)
    return ingest.plan(settings, run_id, attempt)
