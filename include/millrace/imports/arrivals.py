"""Wait until what an import sent is judged, and say what became of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import psycopg
from psycopg.rows import DictRow

from millrace import waiting
from millrace.contract import ledger
from millrace.imports.send import ImportStoppedError, Outcome
from millrace.imports.warehouse import Tally, Warehouse
from millrace.settings import Settings
from millrace.stores import postgres

STALL_SECONDS = 300.0
"""When nothing was judged for so long, waiting is given up."""


@dataclass(frozen=True)
class Fate:
    """What became of the good rows of a file.

    ``known`` were there already: from an import before, or from the file's own rows before it.
    ``missing`` never arrived in the warehouse, which is a fault to be looked into.
    """

    loaded: int
    known: int
    rejected: dict[str, Tally] = field(default_factory=dict)
    missing: int = 0


def wait(
    outcome: Outcome,
    settings: Settings,
    tell: Callable[[int, int], None] = lambda _judged, _all: None,
    *,
    stall_seconds: float = STALL_SECONDS,
) -> Fate:
    """Wait for the micro-batches that hold an import's messages, and ask what became of the rows.

    ``tell`` hears how many messages of the topic are judged, of how many that it waits for. Raises
    ``ImportStoppedError`` when nothing moves for ``stall_seconds``.
    """
    with postgres.connect(settings) as connection:
        first = _left(connection, outcome)
        left = first

        def has_moved() -> bool:
            nonlocal left
            before, left = left, _left(connection, outcome)
            return left < before

        while left:
            tell(first - left, first)
            if not waiting.poll(has_moved, seconds=stall_seconds, up_to=1):
                raise ImportStoppedError(
                    f"all rows are in Kafka, but {left:,} messages wait, and nothing was loaded "
                    f"for {stall_seconds:g} s. They are loaded as soon as ingest goes on; see "
                    "./millrace ingest status"
                )
        tell(first, first)
    return fate(outcome, settings)


def fate(outcome: Outcome, settings: Settings) -> Fate:
    """Say what became of the rows as far as they are judged."""
    if outcome.since is None:
        return Fate(0, outcome.known)
    with closing(Warehouse(settings, outcome.job.source)) as warehouse:
        told = warehouse.outcomes(outcome.number, outcome.since)
    rejected = sum(tally.rows for tally in told.rejected.values())
    good = outcome.found.good
    missing = max(0, good - outcome.known - told.arrived)
    known = max(0, good - told.loaded - rejected - missing)
    return Fate(told.loaded, known, told.rejected, missing)


def _left(connection: psycopg.Connection[DictRow], outcome: Outcome) -> int:
    """Return how many messages up to the import's last are not judged yet."""
    source = outcome.job.source
    judged = {
        row["partition"]: row["judged_offset"]
        for row in ledger.judged_positions(connection, source.source_id)
        if row["topic"] == source.topic
    }
    return sum(max(0, end - judged.get(at, 0)) for at, end in outcome.ends.items())
