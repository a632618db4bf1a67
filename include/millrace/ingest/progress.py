"""What a worker did, for its log, the run's asset event and its caller."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.ingest.model import Counts

log = logging.getLogger(__name__)

LINE_SECONDS = 5.0


@dataclass
class Progress:
    """Totals of a worker, and a line in the log every few seconds."""

    source_id: str
    partitions: Sequence[int]
    messages: int = 0
    events: int = 0
    rejected: int = 0
    bytes: int = 0
    batches: int = 0
    lag: int = 0
    note: str = ""
    is_outdated: bool = False
    """The run ended early, since the partitions have to be planned again."""
    load_seconds: float = 0.0
    freshness_seconds: float = 0.0
    """Age of the oldest message of the last micro-batch when it became visible."""
    _started: float = field(default_factory=time.monotonic)
    _line_at: float = field(default_factory=time.monotonic)
    _line_messages: int = 0

    def loaded(self, counts: Counts, byte_count: int, messages: pa.Table, seconds: float) -> None:
        """Count a completed micro-batch."""
        self.messages += counts.messages
        self.events += counts.events
        self.rejected += counts.rejected
        self.bytes += byte_count
        self.batches += 1
        self.load_seconds += seconds
        oldest = pc.min(messages["kafka_timestamp"]).as_py()
        self.freshness_seconds = time.time() - oldest.timestamp()

    def tick(self, lag: int, trouble: str) -> None:
        """Write a line if the last is old enough."""
        self.lag = lag
        now = time.monotonic()
        if now - self._line_at < LINE_SECONDS:
            return
        rate = (self.messages - self._line_messages) / (now - self._line_at)
        log.info(
            "%s %s: %d messages, %d/s, lag %d, freshness %.2f s%s",
            self.source_id,
            compact(self.partitions),
            self.messages,
            rate,
            lag,
            self.freshness_seconds,
            f" ({trouble})" if trouble else "",
        )
        self._line_at, self._line_messages = now, self.messages

    def waiting(self, what: str) -> None:
        """Say, every few seconds, what is being waited for."""
        if time.monotonic() - self._line_at >= LINE_SECONDS:
            log.info("%s %s: waiting for %s", self.source_id, compact(self.partitions), what)
            self._line_at = time.monotonic()

    def report(self) -> None:
        """Write the last line."""
        log.info("done: %s", self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return the totals as plain values."""
        return {
            "source_id": self.source_id,
            "partitions": list(self.partitions),
            "messages": self.messages,
            "events": self.events,
            "rejected": self.rejected,
            "bytes": self.bytes,
            "batches": self.batches,
            "lag": self.lag,
            "seconds": round(time.monotonic() - self._started, 1),
            "load_seconds": round(self.load_seconds, 1),
            "note": self.note,
            "is_outdated": self.is_outdated,
        }


def compact(partitions: Sequence[int]) -> str:
    """Return partition numbers as people write them: ``0-2,5``."""
    runs: list[list[int]] = []
    for partition in sorted(partitions):
        if runs and partition == runs[-1][1] + 1:
            runs[-1][1] = partition
        else:
            runs.append([partition, partition])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
