"""Up to when everything that Kafka received is loaded: by the ledger and Kafka, not by the clock.

Kafka is asked where its partitions end. Once the ledger has judged a partition up to there,
everything that it had received before that moment is loaded; when ingest stands still, that moment
stands still, too.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Any

MOST_MARKS = 1_000
"""Marks that are kept of a partition that lags: every second one goes when there are more."""


@dataclass
class Marks:
    """Moments that hold once a position is reached; ``through`` is the latest that holds.

    Moments are in seconds since 1970, ``-inf`` where nothing is known.
    """

    position: float = -inf
    through: float = -inf
    _waiting: list[tuple[float, float]] = field(default_factory=list)

    def add(self, position: float, moment: float) -> None:
        """Note that ``moment`` holds once ``position`` is reached."""
        if position <= self.position:
            self.through = max(self.through, moment)
            return
        bisect.insort(self._waiting, (position, moment))
        if len(self._waiting) > MOST_MARKS:
            self._waiting = self._waiting[::2]

    def reach(self, position: float) -> None:
        """Note that everything before ``position`` is done; one that was set back starts over."""
        if position < self.position:
            self.through = -inf
            self._waiting.clear()
        self.position = position
        reached = bisect.bisect(self._waiting, (position, inf))
        self.through = max([self.through, *(at for _, at in self._waiting[:reached])])
        del self._waiting[:reached]


@dataclass
class _Partition:
    """A partition of a topic's incarnation."""

    identity: tuple[str, int]
    marks: Marks = field(default_factory=Marks)


class Received:
    """What is known of every partition of the active sources."""

    def __init__(self) -> None:
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self.until = -inf
        """Everything received before it is loaded; seconds since 1970."""

    @property
    def partitions(self) -> list[tuple[str, int]]:
        """The partitions that Kafka is to be asked about: topic and number."""
        return list(self._partitions)

    def until_of(self, topic: str) -> float:
        """Return the moment before which everything that a topic received is loaded."""
        throughs = [
            one.marks.through for (name, _), one in self._partitions.items() if name == topic
        ]
        return min(throughs, default=-inf)

    def hear(self, ends: Mapping[tuple[str, int], int], at: datetime) -> None:
        """Note where partitions ended when Kafka was asked ``at`` a moment."""
        for place, end in ends.items():
            if place in self._partitions:
                self._partitions[place].marks.add(end, at.timestamp())

    def read(
        self,
        positions: Iterable[Mapping[str, Any]],
        sources: Iterable[Mapping[str, Any]],
        now: datetime,
    ) -> None:
        """Note what the ledger says: how far partitions are judged, and which sources there are.

        ``positions`` are rows of ``contract.ledger.judged_positions``; ``sources`` are active, with
        ``topic`` and ``created_at``, in seconds since 1970.
        """
        found: dict[tuple[str, int], _Partition] = {}
        begun = {source["topic"]: source["created_at"] for source in sources}
        for row in positions:
            if row["topic"] not in begun:
                continue
            place = (row["topic"], row["partition"])
            identity = (row["topic_id"], row["topic_incarnation"])
            known = self._partitions.get(place)
            if known is None or known.identity != identity:
                known = _Partition(identity)
            found[place] = known
            known.marks.reach(row["judged_offset"])
            if row["reached_at"] is not None:
                known.marks.add(row["claimed_offset"], min(row["reached_at"], now).timestamp())
        self._partitions = found
        throughs = [one.marks.through for one in found.values()]
        unplanned = begun.keys() - {topic for topic, _ in found}
        throughs += [begun[topic] for topic in unplanned]
        self.until = min(throughs, default=-inf)


def moment(seconds: float) -> datetime:
    """Return a moment (UTC); 1970 where nothing is known."""
    return datetime.fromtimestamp(max(seconds, 0.0), UTC)
