"""What the parts of a partition tell: whether its rows changed, and of which times.

Rows lie in parts, which never change: an insert, a swap, a mutation and an expiry add parts or take
them away. So does a merge, which changes no row. Whoever watches can tell them apart: a merge's
part stands for blocks that were all there before. What can't be told is taken for a change.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

SLOT_SECONDS = 300
"""Within a partition, times are told apart by slots of this length."""
MOST_SLOTS = 288
"""A change of more slots than a day has is one of the whole partition."""


class State(NamedTuple):
    """What rows there are: a text that tells them from others, and moments by the server's clock.

    ``since``: from when on they are these. ``grown_since``: from when on rows only came, and none
    went or became another. Both are in seconds since 1970.
    """

    text: str
    since: float
    grown_since: float


@dataclass(frozen=True)
class Part:
    """An active part.

    Args:
        folder: Its table's folder, which no other table has.
        name: Its name within the folder.
        digest: Of its path and time.
        first_block: The first insert that it holds, as the table counts them.
        last_block: The last one.
        version: The last mutation that it went through, else the first block.
        first: Seconds since 1970 of its earliest row, by the column of the partition; 0: unknown.
        last: Of its latest row.
        expires: When its first row may be removed by a merge; 0: never.
    """

    folder: str
    name: str
    digest: int
    first_block: int
    last_block: int
    version: int
    first: int
    last: int
    expires: int

    @property
    def mutation(self) -> int:
        """The last mutation that it went through; 0: none."""
        return self.version if self.version != self.first_block else 0

    def holds(self, other: Part) -> bool:
        """Tell whether another part's blocks are among its own."""
        return (
            self.folder == other.folder
            and self.first_block <= other.first_block
            and other.last_block <= self.last_block
        )


@dataclass
class Partition:
    """What is known of a partition since it is watched.

    ``slots`` has the states of times that changed apart from the rest.
    """

    parts: dict[int, Part]
    state: State
    slots: dict[int, State] = field(default_factory=dict)
    first: int = 0
    last: int = 0

    @classmethod
    def seen(
        cls, parts: Iterable[Part], since: float, grown_since: float | None = None
    ) -> Partition:
        """Return a partition as it is first seen: its text says which parts it consists of.

        ``grown_since`` is when it was known that there was none of it.
        """
        found = {part.digest: part for part in parts}
        if grown_since is None or any(part.mutation for part in found.values()):
            grown_since = since
        partition = cls(found, State(_chained("", found.values()), since, grown_since))
        partition._stretch(found.values())
        return partition

    def observe(
        self, parts: Iterable[Part], merged: Sequence[Part], now: float, *, is_ordered: bool
    ) -> list[Part]:
        """Take note of the parts that there are now; return those by which rows may have changed.

        Args:
            parts: Every active part.
            merged: Parts that ceased to be active lately. Where there are any, all that did so
                since the last look are among them.
            now: The server's clock, after the parts were read.
            is_ordered: Whether blocks become visible in the order of their numbers (they do not
                where replicas commit them).
        """
        found = {part.digest: part for part in parts}
        added = [part for digest, part in found.items() if digest not in self.parts]
        gone = [part for digest, part in self.parts.items() if digest not in found]
        seen_block = max((part.last_block for part in self.parts.values()), default=0)
        new = _outermost([part for part in merged if part.first_block > seen_block])
        self.parts = found
        changed: list[Part] = []
        touched: list[Part] = []
        for part in added:
            sources = [other for other in gone if part.holds(other)]
            inserts = [other for other in new if part.holds(other)]
            if sources and _is_merge(part, [*sources, *inserts], now, is_ordered=is_ordered):
                gone = [other for other in gone if other not in sources]
                changed += [part] * bool(inserts)
                touched += inserts
            else:
                changed.append(part)
                touched.append(part)
        self._stretch(added)
        came = {part.digest for part in touched if not part.mutation}
        for part in sorted([*touched, *gone], key=lambda part: (part.first_block, part.name)):
            self._touch(part, now, is_growth=part.digest in came)
        return changed + gone

    def within(self, start: float, end: float) -> State | None:
        """Return the state of a span of time; ``None``: it has no rows."""
        if self.last and not (self.first < end and start <= self.last):
            return None
        states = {"": self.state}
        if self.slots:
            first, last = int(start // SLOT_SECONDS), int(-(-end // SLOT_SECONDS))
            within = (slot for slot in sorted(self.slots) if first <= slot < last)
            states |= {f"{slot}:": self.slots[slot] for slot in within}
        return joined(states, ",")

    def _stretch(self, parts: Iterable[Part]) -> None:
        for part in parts:
            if part.first:
                self.first = min(self.first or part.first, part.first)
                self.last = max(self.last, part.last)

    def _touch(self, part: Part, now: float, *, is_growth: bool) -> None:
        """Take note of a part that came or went: of that rows came only, or of more."""

        def after(state: State) -> State:
            grown_since = state.grown_since if is_growth else now
            return State(_chained(state.text, [part]), now, grown_since)

        slots = range(part.first // SLOT_SECONDS, part.last // SLOT_SECONDS + 1)
        if not part.first or len(slots) > MOST_SLOTS:
            self.state = after(self.state)
            return
        for slot in slots:
            self.slots[slot] = after(self.slots.get(slot, State("", 0.0, 0.0)))


@dataclass
class Table:
    """What is known of a table or a view.

    ``identity`` differs from that of another table of the name, and of this one before it was
    altered; ``since`` is when it was first known by it.
    """

    identity: str
    engine: str
    since: float
    partitions: dict[str, Partition] = field(default_factory=dict)

    @property
    def is_watched(self) -> bool:
        """Whether its rows lie in parts, or in those of what it reads."""
        return self.engine == "View" or self.engine.endswith("MergeTree")

    def observe(
        self, partition_id: str, parts: Iterable[Part], merged: Sequence[Part], now: float
    ) -> list[Part]:
        """Take note of a partition's parts; return those by which rows may have changed."""
        partition = self.partitions.get(partition_id)
        if partition is None:
            seen = self.partitions[partition_id] = Partition.seen(parts, now, self.since)
            return list(seen.parts.values())
        is_ordered = not self.engine.startswith(("Replicated", "Shared"))
        return partition.observe(parts, merged, now, is_ordered=is_ordered)

    def within(self, start: float, end: float) -> State:
        """Return the state of its rows of a span of time."""
        states = {"": State(self.identity, self.since, self.since)}
        for name in sorted(self.partitions):
            if state := self.partitions[name].within(start, end):
                states[f"{name}="] = state
        return joined(states, ";")


def joined(states: Mapping[str, State], separator: str) -> State:
    """Return the state of all together, each of whose texts has a name before it."""
    return State(
        separator.join(f"{name}{state.text}" for name, state in states.items()),
        max((state.since for state in states.values()), default=0.0),
        max((state.grown_since for state in states.values()), default=0.0),
    )


def _outermost(parts: Sequence[Part]) -> list[Part]:
    """Return the parts that no other of them holds."""
    return [
        part for part in parts if not any(other.holds(part) for other in parts if other != part)
    ]


def _is_merge(part: Part, sources: Sequence[Part], now: float, *, is_ordered: bool) -> bool:
    """Tell whether a part has the rows of others, and no more or fewer."""
    if any(source.expires and source.expires <= now for source in sources):
        return False
    if part.mutation and not all(
        source.mutation == part.mutation or source.first_block > part.mutation for source in sources
    ):
        return False
    blocks = sorted((source.first_block, source.last_block) for source in sources)
    if blocks[0][0] != part.first_block or blocks[-1][1] != part.last_block:
        return False
    # Other partitions of a table have the numbers that are missing, but not where replicas count.
    return is_ordered or all(
        after[0] == before[1] + 1 for before, after in itertools.pairwise(blocks)
    )


def _chained(before: str, parts: Iterable[Part]) -> str:
    """Return a value that says what there was, and which parts came or went since."""
    total = sum(part.digest for part in parts) & ((1 << 64) - 1)
    return blake2b(f"{before} {total:x}".encode(), digest_size=8).hexdigest()
