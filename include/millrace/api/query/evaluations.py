"""What PromQL gives for times that are over is kept for as long as their samples stay."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from typing import Any

import orjson

from millrace.api.query.cache.answers import Answers, Kept
from millrace.api.query.cache.content import SLOT_SECONDS
from millrace.api.query.cache.generations import Generations
from millrace.api.query.cache.wanted import Wanted
from millrace.api.query.prometheus import Seen, Times
from millrace.api.query.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import clickhouse

KEPT_SECONDS = 6 * 3600.0
"""How long an answer is kept that nothing changes."""
OPEN_SECONDS = 300.0
"""What ends later than so long ago changes with every load, and hardly ever is asked twice."""
EPOCH = datetime.fromtimestamp(0, UTC)


class Evaluations:
    """A process's; it belongs to the event loop that calls it."""

    def __init__(
        self, settings: Settings, generations: Generations, answers: Answers, warehouse: Warehouse
    ) -> None:
        self._generations = generations
        self._answers = answers
        self._warehouse = warehouse
        own = f"{clickhouse.database(settings)}.pipeline_metrics"
        self._tables = frozenset({own, "analytics.metrics", "analytics.metric_definitions"})

    async def rows(self, statement: str, times: Times, seen: Seen) -> Kept:
        """Return what a compiled expression gives, as JSON, a row a line.

        ``seen`` is what it was compiled for. Raises as ``Warehouse.ask`` does.
        """
        bounds = {"start": times.start, "end": times.end, "step": times.step or 1}

        async def compute() -> bytes:
            return await self._warehouse.formatted(
                statement, bounds, "JSONEachRow", whose=seen.whose
            )

        if not seen.ends_in_time or times.end / 1000 > self._generations.now() - OPEN_SECONDS:
            return Kept(await compute(), "computed", datetime.now(UTC), "")
        asked = orjson.dumps([statement, bounds])
        key = f"promql:{hashlib.blake2b(asked, digest_size=16).hexdigest()}"
        # Up to the end of the slot by which times are told apart, so that many ask of one span.
        end = math.ceil((times.end / 1000 + 1) / SLOT_SECONDS) * SLOT_SECONDS
        generation = self._generations.of(self._tables, EPOCH, datetime.fromtimestamp(end, UTC))
        wanted = Wanted(key, generation, role=seen.whose.role)
        return await self._answers.get(wanted, compute, seconds=KEPT_SECONDS, same=is_same)


def is_same(one: bytes, other: bytes) -> bool:
    """Tell whether two answers are equal, but for the order in which numbers were added up."""
    return len(one.splitlines()) == len(other.splitlines()) and all(
        _is_close(orjson.loads(row), orjson.loads(counterpart))
        for row, counterpart in zip(one.splitlines(), other.splitlines(), strict=True)
    )


def _is_close(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_close, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_close(one[key], other[key]) for key in one)
    try:
        return one == other or math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=1e-9)
    except (TypeError, ValueError):
        return False
