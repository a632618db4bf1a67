"""What ingest speaks of: ranges of offsets, micro-batches, and how it fails."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, order=True)
class Range:
    """Offsets of one partition, from ``first_offset`` up to but without ``next_offset``."""

    partition: int
    first_offset: int
    next_offset: int

    def __len__(self) -> int:
        return self.next_offset - self.first_offset


PATIENT_ATTEMPTS = 30
"""With the pauses between them, some five minutes."""


@dataclass(frozen=True)
class Batch:
    """A claimed micro-batch: at most one range per partition, claimed and replayed together.

    ``views`` is the identity of the materialized views that was noted before anything of this
    generation was published: empty if nothing was, ``None`` if nobody knows.
    """

    batch_id: int
    gate_id: int
    generation: int
    attempts: int
    claimed_at: datetime
    incarnation: int
    ranges: tuple[Range, ...]
    views: str | None = ""

    @property
    def may_wait(self) -> bool:
        """Whether a message that a server can't judge now is left to a later attempt.

        One that it can never judge, for want of memory or time, must not hold its partition for
        good: it is rejected then, with the reason, and may be replayed.
        """
        return self.attempts < PATIENT_ATTEMPTS

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that it has a range of."""
        return frozenset(r.partition for r in self.ranges)

    def token(self, source_id: str) -> str:
        """Return the deduplication token of its inserts.

        The claim's time is in it because a ledger restored from a backup gives batch numbers again.
        """
        claimed = int(self.claimed_at.timestamp() * 1000)
        return f"{source_id}:{self.batch_id}:{claimed}:{self.generation}"


@dataclass(frozen=True)
class Counts:
    """What became of a micro-batch's messages."""

    messages: int
    events: int
    rejected: int


@dataclass(frozen=True)
class StoredRange:
    """What ``raw_events`` holds of one partition of a micro-batch."""

    batch_id: int
    partition: int
    first_offset: int
    next_offset: int
    messages: int
    claimed_at: datetime


class LeaseLostError(RuntimeError):
    """Another worker owns the partitions now; this one must stop."""


class SupersededError(RuntimeError):
    """A later run has the partitions, or waits for them; this one is not needed any more."""


class PlanOutdatedError(RuntimeError):
    """The partitions are not as planned (topic changed, ledger restored); plan again."""


class IncarnationsSpentError(RuntimeError):
    """A topic was recreated or cut so often that its positions could not be told apart any more."""

    def __init__(self, topic: str, source_id: str, times: int) -> None:
        super().__init__(
            f"topic {topic} was recreated, or lost its end, once more than the {times} times that "
            f"the tables tell apart; source {source_id} is loaded no further. Make a topic of "
            "another name, load that (./millrace sources add), and switch this source off "
            f"(./millrace sources disable {source_id})"
        )


class StalledError(RuntimeError):
    """The run's time was over while something it needs was down; nothing is lost."""


class RepeatIncompleteError(RuntimeError):
    """A repeated micro-batch is not whole, although its tokens were taken for known."""


class SessionLostError(RuntimeError):
    """What was staged of a micro-batch is gone with its session; stage it again and go on."""


class RegisterLostError(RuntimeError):
    """The register of event ids was emptied (the server restarted); fill it and go on."""


def ranges_condition(ranges: Iterable[Range]) -> str:
    """Return a ClickHouse condition that holds for the positions in ``ranges``."""
    return any_of(
        f"partition = {r.partition} AND offset >= {r.first_offset} AND offset < {r.next_offset}"
        for r in ranges
    )


def any_of(conditions: Iterable[str]) -> str:
    """Return a condition that holds where one of ``conditions`` does."""
    return " OR ".join(f"({condition})" for condition in conditions) or "0"
