"""What the oracle asks the warehouse: which positions it holds, and what it counts.

Positions are compared by fingerprint (how many, and the sum of their hashes, per partition), which
costs one pass and no memory however many there are; only where fingerprints differ are positions
looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.lab.verify import ledger
from millrace.lab.verify.report import Difference
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

Span = tuple[int, int, int]
"""``(partition, first offset, next offset)``."""

Fingerprint = tuple[int, int]
"""How many positions there are, and the sum of their hashes modulo 2^64."""

BLOCK = 1 << 22


def _hash(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash as ClickHouse's ``intHash64`` does (the finalizer of MurmurHash3, after a constant)."""
    mixed = numbers ^ np.uint64(0x4CF2D2BAAE6DA887)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed ^= mixed >> np.uint64(33)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(33)
    return np.asarray(mixed)


def fingerprint(ranges: Iterable[tuple[int, int]]) -> Fingerprint:
    """Return the fingerprint of every offset in half-open ranges."""
    count = total = 0
    for first, after in ranges:
        for start in range(first, after, BLOCK):
            block = np.arange(start, min(after, start + BLOCK), dtype=np.uint64)
            count += len(block)
            total += int(_hash(block).sum(dtype=np.uint64))
    return count, total % (1 << 64)


@dataclass(frozen=True)
class Misplaced:
    """A position that is not where it must be, and how often it is in each table."""

    partition: int
    offset: int
    must: int
    raw: int
    events: int
    rejected: int

    def as_difference(self, topic: str) -> Difference:
        """Say in words what is wrong with it."""
        wanted = "once" if self.must else "never"
        return Difference(
            f"{topic}/{self.partition}@{self.offset}",
            f"{wanted} in raw_events, {wanted} in events or rejected_events",
            f"raw_events {self.raw}, events {self.events}, rejected_events {self.rejected}",
        )


class Warehouse:
    """The tables that hold one topic's messages, as the oracle reads them.

    Raises ``LookupError`` when no source is registered for the topic.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self.topic = topic
        sources = ledger.rows(settings, "source", topic=topic)
        if not sources:
            raise LookupError(
                f"no row of data_sources has the topic {topic!r}, so nothing loads it; add one"
            )
        self.target: str = sources[0]["target_table"]
        self.timestamp_field: str = sources[0]["timestamp_field"]
        self.client = clickhouse.connect(settings, "operator")

    def rows(
        self,
        name: str,
        ranges: Sequence[Span] = (),
        *,
        table: str = "",
        rollup: object = None,
        **values: int | str,
    ) -> Sequence[Any]:
        """Run ``clickhouse/verify/<name>.sql`` for this topic and return its rows.

        ``table`` and ``rollup`` are for statements that serve several tables; ``values`` are bound.
        """
        statement = sql.render(
            f"clickhouse/verify/{name}.sql",
            ranges=ranges,
            target=self.target,
            table=table,
            rollup=rollup,
        )
        found = self.client.query(
            statement,
            parameters={"topic": self.topic, **values},
            settings={"max_query_size": 256 << 20},
        )
        return found.result_rows

    def fingerprints(
        self, table: str, ranges: Sequence[Span], incarnation: int
    ) -> dict[int, Fingerprint]:
        """Return the fingerprint of each partition's positions that a table holds."""
        if not ranges:
            return {}
        rows = self.rows("fingerprints", ranges, table=table, incarnation=incarnation)
        return {partition: (count, total) for partition, count, total in rows}

    def misplaced(self, ranges: Sequence[Span], incarnation: int) -> list[Misplaced]:
        """Return every position in ``ranges`` that is lost, repeated or unexplained."""
        expected: dict[int, Fingerprint] = {
            partition: fingerprint((a, b) for p, a, b in ranges if p == partition)
            for partition in {p for p, _, _ in ranges}
        }
        raw = self.fingerprints("raw_events", ranges, incarnation)
        events = self.fingerprints(self.target, ranges, incarnation)
        rejected = self.fingerprints("rejected_events", ranges, incarnation)
        suspect = set()
        for partition, wanted in expected.items():
            judged = [table.get(partition, (0, 0)) for table in (events, rejected)]
            together = (sum(c for c, _ in judged), sum(t for _, t in judged) % (1 << 64))
            if raw.get(partition, (0, 0)) != wanted or together != wanted:
                suspect.add(partition)
        doubtful = [span for span in ranges if span[0] in suspect]
        if not doubtful:
            return []
        rows = self.rows("misplaced_positions", doubtful, incarnation=incarnation)
        return [Misplaced(*map(int, row)) for row in rows]

    def repeated_event_ids(self, hours: int) -> tuple[int, list[Difference]]:
        """Return how many events there are, and those whose id is there more than once.

        Only copies claimed within ``hours`` of each other, as duplicate detection promises.
        """
        total = int(self.rows("count_events")[0][0])
        slices = 1 + total // 10_000_000
        found = []
        for number in range(slices):
            for event_id, copies, positions in self.rows(
                "repeated_event_ids", hours=hours, slices=slices, slice=number
            ):
                found.append(Difference(f"event_id {event_id}", 1, f"{copies}: {positions}"))
        return total, found
